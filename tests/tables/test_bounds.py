from pathlib import Path

import pytest

from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.tables.bounds import level_bounds
from bigain.tables.quantities import QUANTITIES

SHIPPED = (CONFIGS / "verdicts.yaml").read_text(encoding="utf-8")


def test_every_quantity_that_is_compared_has_a_bound() -> None:
    bounds = level_bounds()
    assert set(bounds) == {name for name, each in QUANTITIES.items() if each.deltas}
    assert (bounds["acc1"], bounds["best_margin"], bounds["frechet_mini"]) == (1.5, 0.02, 0.05)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("acc1: 1.5", "acc1: 0", "level.acc1"),
        ("acc1: 1.5", "acc1: -1", "level.acc1"),
        ("fid: 0.5", "fit: 0.5", "allowed and needed: .*fid"),
        ("  fid: 0.5", "  # fid: 0.5", "allowed and needed: .*fid"),
        ("level:", "levels:", "levels"),
        ("level:", "level: [", "verdicts.yaml"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "verdicts.yaml"
    path.write_text(SHIPPED.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=message) as raised:
        level_bounds(path)
    assert "\n" not in str(raised.value)
