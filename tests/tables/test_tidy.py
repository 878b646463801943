import csv
import io
from collections.abc import Callable

import pytest

from bigain.config import RunConfig
from bigain.tables.document import Cell, Document, Line, Panel
from bigain.tables.sources import Sources
from bigain.tables.tidy import render_csv, render_static_csv

MakeSources = Callable[..., Sources]


def read(sources: Sources) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render_csv(sources))))


def only_tome_at_most_half(config: RunConfig) -> bool:
    return config.operator.name == "tome" and config.operator.settings()["ratio"] != 0.7


def test_golden(make_sources: MakeSources, golden: Callable[[str, str], None]) -> None:
    golden("table12.csv", render_csv(make_sources(12)))


def measured(sources: Sources, task: str = "classification") -> list[dict[str, str]]:
    rows = read(sources)
    return [
        row
        for row in rows
        if row["source"] == "measured"
        and row["task"] == task
        and row["dataset"] != "fashion_mosaic"
    ]


def test_every_cell_of_a_finished_run(make_sources: MakeSources) -> None:
    sources = make_sources(4)
    rows = measured(sources)
    tome = [r for r in rows if (r["row"], r["setting"], r["versus"]) == ("tome", "ratio=0.7", "")]
    assert [row["metric"] for row in tome] == [
        "acc1", "eps_error", "eps_error_rise", "acc1_to_none", "acc1_drop",
    ]  # fmt: skip
    for row in tome:
        assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"])
        assert (row["n"], row["p"]) == ("30", "")
        assert (row["backbone"], row["dataset"]) == ("mini_unet", "fashion_mnist")
        assert row["run_id"] in {run.run_id for run in sources.plan.distinct()}
    drawn = [r for r in measured(sources, "generation") if r["row"] == "tome" and not r["versus"]]
    assert {row["metric"] for row in drawn} == {"frechet_mini", "class_agreement"}


def test_what_is_doubted_of_the_papers_values_stands_beside_them(make_sources: MakeSources) -> None:
    paper = [row for row in read(make_sources(4, lambda _: False)) if row["source"] == "paper"]
    means = {row["note"] for row in paper if (row["dataset"], row["metric"]) == ("coco2017", "map")}
    assert all("macro (per class)" in note for note in means)
    assert any("reported" in note for note in means)
    sure = [
        r
        for r in paper
        if (r["dataset"], r["metric"]) == ("pets", "acc1") and "0.5" in r["setting"]
    ]
    assert {row["note"] for row in sure} <= {"reported", "derived"}


def test_differences_name_the_rival_and_have_a_p_value(make_sources: MakeSources) -> None:
    rows = [row for row in measured(make_sources(4)) if row["versus"]]
    assert {(row["row"], row["versus"]) for row in rows} == {("lgtm", "tome")}
    paired = {"delta_acc1", "delta_eps_error_rise"}
    assert paired <= {row["metric"] for row in rows}
    names = {(r["row"], r["setting"]): r["run_id"] for r in measured(make_sources(4))}
    for row in rows:
        assert row["run_id"] == names["lgtm", row["setting"]]
        assert row["versus_run_id"] == names["tome", row["setting"]]
        assert bool(row["p"]) == (row["metric"] in paired), row["metric"]
    assert all(0 <= float(row["p"]) <= 1 for row in rows if row["p"])


def test_differences_of_columns_are_those_that_the_table_names(make_sources: MakeSources) -> None:
    rows = [row for row in measured(make_sources(15)) if row["versus"]]
    assert {row["versus"] for row in rows} == {
        "alpha=0", "alpha=0.5", "alpha=0.8", "alpha=1", "alpha=1.2",
    }  # fmt: skip
    assert {row["setting"] for row in rows} == {"alpha=0.9;factor=2", "alpha=0.9;factor=4"}
    assert {row["method"] for row in rows} == {"ie_kvd"}


def test_missing_cells_are_there_and_empty(make_sources: MakeSources) -> None:
    rows = measured(make_sources(4, only_tome_at_most_half))
    empty = [row for row in rows if not row["value"]]
    assert {(row["row"], row["setting"]) for row in empty if row["metric"] == "acc1"} == {
        ("none", ""),
        ("tome", "ratio=0.7"),
        ("lgtm", "ratio=0.3"),
        ("lgtm", "ratio=0.5"),
        ("lgtm", "ratio=0.7"),
    }
    assert all(row["run_id"] for row in empty)


def test_the_baseline_has_no_comparison_with_itself(make_sources: MakeSources) -> None:
    rows = measured(make_sources(4, lambda _: False))
    none = [row["metric"] for row in rows if row["row"] == "none"]
    assert none == ["acc1"]
    timed = measured(make_sources(18, lambda _: False), "time")
    assert [row["metric"] for row in timed if row["row"] == "none"] == ["time_ms_per_step"]


def test_all_values_of_the_paper(make_sources: MakeSources) -> None:
    """Of the whole table, whatever the grid."""
    sources = make_sources(4, lambda _: False)
    rows = [row for row in read(sources) if row["source"] == "paper"]
    assert len(rows) == len([key for key in sources.paper if key.table == 4])
    (cell,) = (
        row
        for row in rows
        if (row["dataset"], row["method"], row["setting"], row["metric"])
        == ("pets", "lgtm", "ratio=0.5", "delta_acc1")
    )
    assert (cell["value"], cell["versus"], cell["backbone"]) == ("5.42", "tome", "sd20")
    assert cell["note"].startswith("reported")


def test_a_table_without_runs_is_its_panels() -> None:
    line = Line("measured", "a, b", (Cell("1"), Cell("||x||")))
    text = render_static_csv(Document(13, "T", "", (Panel("Scores", ("x", "y"), (line,)),)))
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"table": "13", "panel": "Scores", "line": "a, b", "column": "x", "value": "1"},
        {"table": "13", "panel": "Scores", "line": "a, b", "column": "y", "value": "||x||"},
    ]


@pytest.mark.parametrize("number", [4, 17])
def test_no_distance_of_the_small_extractor_is_called_fid(
    make_sources: MakeSources, number: int
) -> None:
    rows = [row for row in read(make_sources(number)) if row["source"] == "measured"]
    names = {row["metric"] for row in rows}
    assert "delta_frechet_mini" in names
    assert not [name for name in names if name.removeprefix("delta_") == "fid"]
