import csv
import io
from collections.abc import Callable

import pytest

from bigain.config import RunConfig
from bigain.tables.layout import Sources
from bigain.tables.tidy import COLUMNS, render_csv

MakeSources = Callable[..., Sources]


def read(sources: Sources) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render_csv(sources))))


def only_tome_at_most_half(config: RunConfig) -> bool:
    return config.operator.name == "tome" and config.operator.settings()["ratio"] != 0.7


def test_golden(make_sources: MakeSources, golden: Callable[[str, str], None]) -> None:
    golden("table05.csv", render_csv(make_sources(5)))


def test_columns(make_sources: MakeSources) -> None:
    text = render_csv(make_sources(4, lambda _: False))
    assert tuple(text.splitlines()[0].split(",")) == COLUMNS


def test_every_cell_of_a_finished_run(make_sources: MakeSources) -> None:
    rows = [row for row in read(make_sources(4)) if row["source"] == "measured"]
    tome = [row for row in rows if (row["row"], row["setting"]) == ("tome", "ratio=0.7")]
    assert [row["metric"] for row in tome] == [
        "acc1", "eps_error", "eps_error_rise", "margin_mean", "margin_variance", "margin_rho",
        "margin_bound", "acc1_to_none",
    ]  # fmt: skip
    for row in tome:
        assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"])
        assert row["n"] == "30"
        assert (row["backbone"], row["dataset"], row["run_id"]) == (
            "mini_unet",
            "fashion_mnist",
            "run03",
        )


def test_differences_name_the_rival(make_sources: MakeSources) -> None:
    rows = [row for row in read(make_sources(4)) if row["source"] == "measured" and row["versus"]]
    assert {(row["row"], row["versus"], row["metric"]) for row in rows} == {
        ("lgtm", "tome", "delta_acc1"),
        ("lgtm", "tome", "delta_eps_error_rise"),
    }
    assert len(rows) == 2 * 3


def test_missing_cells_are_there_and_empty(make_sources: MakeSources) -> None:
    rows = [r for r in read(make_sources(4, only_tome_at_most_half)) if r["source"] == "measured"]
    empty = [row for row in rows if not row["value"]]
    assert {(row["row"], row["setting"]) for row in empty if row["metric"] == "acc1"} == {
        ("none", ""),
        ("tome", "ratio=0.7"),
        ("lgtm", "ratio=0.3"),
        ("lgtm", "ratio=0.5"),
        ("lgtm", "ratio=0.7"),
    }
    assert all(row["run_id"] for row in empty)


def test_no_acceleration_has_no_rise(make_sources: MakeSources) -> None:
    rows = read(make_sources(4, lambda _: False))
    none = [row["metric"] for row in rows if row["row"] == "none"]
    assert none == ["acc1", "margin_mean", "margin_variance", "margin_rho", "margin_bound"]


@pytest.mark.parametrize(
    ("grid", "count"), [("default", 5 * (1 + 3 * 3)), ("full", 5 * (1 + 7 * 3))]
)
def test_the_papers_values_of_the_grid(make_sources: MakeSources, grid: str, count: int) -> None:
    """Five blocks, each with no acceleration, two methods and their difference per ratio."""
    rows = [r for r in read(make_sources(4, lambda _: False, grid=grid)) if r["source"] == "paper"]
    assert len(rows) == count
    (cell,) = (
        row
        for row in rows
        if (row["dataset"], row["method"], row["setting"], row["metric"])
        == ("pets", "lgtm", "ratio=0.5", "delta_acc1")
    )
    assert (cell["value"], cell["versus"], cell["backbone"]) == ("5.42", "tome", "sd20")


def test_generation_is_not_in_it(make_sources: MakeSources) -> None:
    assert {row["task"] for row in read(make_sources(5, lambda _: False))} == {"classification"}
