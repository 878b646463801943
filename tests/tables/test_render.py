from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.tables.document import Document
from bigain.tables.formats import render_markdown
from bigain.tables.planner import Compose, Plan
from bigain.tables.render import (
    FORMATS,
    Table,
    families_of_all,
    load_table,
    plan_of,
    render_table,
    write_table,
)

MakePlan = Callable[..., Plan]


@pytest.mark.parametrize("number", [12, 13])
@pytest.mark.parametrize(
    ("profile", "grid", "message"),
    [("papr", "default", "profile=papr: allowed: mini, paper"), ("mini", "ful", "grid=ful: all")],
)
def test_profiles_and_grids_of_both_kinds(
    compose: Compose, number: int, profile: str, grid: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan_of(load_table(number), profile, grid, (), compose)


def test_rendering_publishes_what_it_was_made_of(
    make_plan: MakePlan, runner: Callable[[RunConfig], None], compose: Compose, tmp_path: Path
) -> None:
    for run in make_plan(16).distinct():
        runner(run.config)
    plan = make_plan(16)
    table = render_table(plan.spec, "mini", plan, compose, families_of_all(compose))
    assert table.document.number == 16
    published = {path.name for path in (tmp_path / "mini" / "samples").iterdir()}
    assert published == {f"{run.run_id}.csv.gz" for run in plan.distinct()}
    assert "class_agreement" in (tmp_path / "mini" / "runs.csv").read_text()


def test_files_on_demand_and_an_equal_one_is_left_alone(tmp_path: Path) -> None:
    table = Table(Document(4, "Title", "", ()), "a,b\n")
    assert {path.name for path in write_table(table, tmp_path)} == {"table04.md", "table04.csv"}
    paths = write_table(table, tmp_path, FORMATS)
    assert {path.suffix for path in paths} == {".md", ".csv", ".tex", ".html"}
    assert (tmp_path / "table04.csv").read_text() == "a,b\n"
    assert (tmp_path / "table04.md").read_text() == render_markdown(table.document)
    before = [path.stat().st_ino for path in paths]
    write_table(table, tmp_path, FORMATS)
    assert [path.stat().st_ino for path in paths] == before
    write_table(Table(table.document, "a,c\n"), tmp_path)
    assert (tmp_path / "table04.csv").read_text() == "a,c\n"
