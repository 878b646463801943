import pytest

import bigain
from bigain.errors import UserError
from bigain.patching.selection import SiteSelection, default_blocks, first_share


def test_lists_from_a_configuration_file_become_tuples() -> None:
    assert bigain.SiteSelection is SiteSelection
    selection = SiteSelection(stages=["mid"], levels=[1], blocks=[2])  # type: ignore[arg-type]
    assert selection == SiteSelection(("mid",), (1,), (2,))
    assert hash(selection) == hash(SiteSelection(("mid",), (1,), (2,)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": ("encoder", "middle")}, r"^sites\.stages='middle': .*encoder, mid, decoder"),
        ({"levels": (0, -1)}, r"^sites\.levels=\(0, -1\): must be integers >= 0"),
        ({"blocks": "all"}, r"^sites\.blocks='all': must be indices or 'first12'"),
        ({"levels": 0}, "sites.levels=0: must be integers"),
        ({"levels": ("0",)}, "sites.levels=.*must be integers"),
        ({"levels": (True,)}, "sites.levels=.*must be integers"),
        ({"blocks": 0}, "sites.blocks=0: must be integers"),
        ({"blocks": (0.0,)}, "sites.blocks=.*must be integers"),
        ({"stages": "encoder"}, "sites.stages='encoder': must be a tuple"),
        *[
            ({"scope": scope}, r"^scope=.*: allowed: self, self\+cross, self\+mlp, self")
            for scope in ("cross", "mlp+self", "", "self+cross+mlp+self")
        ],
    ],
)
def test_wrong_selections_are_refused_in_one_line(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        SiteSelection(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_28_blocks_take_those_of_the_reference() -> None:
    assert default_blocks(28) == (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)
    assert first_share(28) == tuple(range(12))


@pytest.mark.parametrize(("depth", "count"), [(1, 1), (2, 1), (4, 2), (7, 3), (14, 6), (56, 24)])
def test_other_depths_take_the_first_twelve_of_28(depth: int, count: int) -> None:
    assert default_blocks(depth) == first_share(depth) == tuple(range(count))
