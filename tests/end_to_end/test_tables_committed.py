"""The committed tables and Figure 2 of the mini profile follow from committed files alone."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from bigain.cli.figures import main as draw
from bigain.cli.table import main
from bigain.tables.planner import PlannedRun

COMMITTED = Path(__file__).parents[2] / "results" / "mini"


def forbidden(runs: Sequence[PlannedRun], _settings: Sequence[str]) -> NoReturn:
    raise AssertionError(f"nothing was to be run: {runs}")


def test_every_committed_table_is_rendered_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the tables were made of stays as it is."""
    copy = tmp_path / "mini"
    shutil.copytree(COMMITTED, copy, ignore=shutil.ignore_patterns("tables"))
    monkeypatch.setenv("BIGAIN_RESULTS", str(tmp_path))
    code = main(["all", "--no-run"], launch=forbidden)
    assert code == 0
    on_demand = {".tex", ".html"}
    committed = sorted(
        path.relative_to(COMMITTED)
        for path in COMMITTED.rglob("*.*")
        if path.suffix not in on_demand
    )
    assert any(path.parts[0] == "tables" for path in committed)
    lacking = [str(path) for path in committed if not (copy / path).is_file()]
    other = [
        str(path)
        for path in committed
        if str(path) not in lacking
        and (copy / path).read_bytes() != (COMMITTED / path).read_bytes()
    ]
    assert (lacking, other) == ([], [])


def test_the_committed_figure_2_is_drawn_to_the_same_bytes(tmp_path: Path) -> None:
    assert draw(["2", "--results", str(COMMITTED.parent), "--output", str(tmp_path)]) == 0
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == ["figure2.pdf", "figure2.png", "figure2.svg"]
    for name in drawn:
        assert (tmp_path / name).read_bytes() == (COMMITTED / "figures" / name).read_bytes()
