import math
from collections.abc import Callable, Mapping

import pytest

from bigain.metrics import Metric
from bigain.tables.cells import Measured
from bigain.tables.differences import Difference
from bigain.tables.parts import Block, Row
from bigain.tables.planner import CellKey, Place, Plan
from bigain.tables.ranks import LEVEL, ranks
from bigain.tables.sources import Sources
from bigain.tables.spec import load_spec

NAN = math.nan
SURE, UNSURE = LEVEL / 2, LEVEL * 2
ACC1 = Block(dataset="fashion_mnist", metric="acc1")
RISE = Block(dataset="fashion_mnist", metric="eps_error_rise")


def number(name: str, value: float) -> Metric:
    return Metric(name, value, 100, NAN, NAN, "percent")


def marked(
    values: Mapping[str, float],
    p: Callable[[str, str], float],
    block: Block = ACC1,
    table: int = 12,
) -> dict[str, str]:
    """Marks of the one column of Table 12, by row."""
    plan = Plan(load_spec(table), "mini", "default", (), {})
    place = plan.place(block)
    cells = {row: CellKey(place, row, "") for row in values}
    runs = {cells[row]: {block.metric: number(block.metric, v)} for row, v in values.items()}
    deltas = {
        (cells[a], cells[b]): {
            block.metric: Difference(number("d", values[a] - values[b]), p(a, b))
        }
        for a in values
        for b in values
        if a != b
    }
    sources = Sources(plan, Measured(runs, deltas), {})
    (column,) = plan.columns
    found = ranks(sources, block, plan.rows[0], column)
    return {cell.row: rank for cell, rank in found.items()}


def test_the_best_is_the_best_where_a_test_says_so() -> None:
    found = marked({"todo": 80, "low": 90, "high": 85}, lambda *_: SURE)
    assert found == {"low": "best", "high": "second"}


@pytest.mark.parametrize("p", [UNSURE, LEVEL, NAN])
def test_without_a_test_it_only_leads(p: float) -> None:
    found = marked({"todo": 80, "low": 90, "high": 85}, lambda *_: p)
    assert found == {"low": "leading", "high": "second"}


def test_the_test_is_that_against_the_second() -> None:
    found = marked(
        {"todo": 80, "low": 90, "high": 85},
        lambda a, b: UNSURE if (a, b) == ("low", "high") else SURE,
    )
    assert found == {"low": "leading", "high": "second"}


def test_where_less_is_better_the_least_is_best() -> None:
    found = marked({"todo": 3, "low": -1, "high": 2}, lambda *_: SURE, RISE)
    assert found == {"low": "best", "high": "second"}


def test_all_that_are_level_at_the_top_lead() -> None:
    assert marked({"todo": 90, "low": 90, "high": 85}, lambda *_: SURE) == {
        "todo": "leading",
        "low": "leading",
    }
    assert set(marked({"todo": 9, "low": 9, "high": 9}, lambda *_: SURE).values()) == {"leading"}


def test_all_that_are_level_behind_the_best_are_second() -> None:
    values = {"todo": 90, "low": 85, "high": 85}
    assert marked(values, lambda *_: SURE) == {"todo": "best", "low": "second", "high": "second"}
    unsure_of_one = marked(values, lambda _, b: UNSURE if b == "high" else SURE)
    assert unsure_of_one["todo"] == "leading"


@pytest.mark.parametrize("values", [{}, {"todo": 90.0}])
def test_fewer_than_two_are_not_ranked(values: dict[str, float]) -> None:
    assert marked(values, lambda *_: SURE) == {}


def test_quantities_that_are_no_contest_are_not_ranked() -> None:
    margin = Block(dataset="fashion_mnist", metric="margin_rho")
    assert marked({"todo": 1, "low": 2}, lambda *_: SURE, margin) == {}


def test_counts_need_no_test_and_speed_ups_do() -> None:
    flops, speed = Block(metric="flops_g"), Block(metric="speedup")
    assert marked({"todo": 1, "low": 2}, lambda *_: NAN, flops)["todo"] == "best"
    assert marked({"todo": 2, "low": 1}, lambda *_: NAN, speed)["todo"] == "leading"


def test_equal_counts_are_all_the_best() -> None:
    flops = Block(metric="flops_g")
    found = marked({"todo": 1, "low": 1, "high": 2}, lambda *_: NAN, flops)
    assert found == {"todo": "best", "low": "best"}


def test_times_of_separate_runs_are_not_ranked() -> None:
    """The machine is another one an hour later; what is timed in turn is ranked instead."""
    assert marked({"todo": 1, "low": 2}, lambda *_: SURE, Block(metric="time_ms_per_step")) == {}


def test_no_acceleration_does_not_compete() -> None:
    plan = Plan(load_spec(14), "mini", "default", (), {})
    place = Place("mini_unet", "fashion_mnist", "classification")
    runs = {
        CellKey(place, row, "" if row == "none" else "small"): {"acc1": number("acc1", value)}
        for row, value in {"none": 99, "tome": 50, "lgtm": 60}.items()
    }
    sources = Sources(plan, Measured(runs, {}), {})
    found = ranks(sources, ACC1, plan.rows[0], plan.columns[0])
    assert {cell.row for cell in found} == {"tome", "lgtm"}


def test_a_table_that_compares_columns_ranks_along_its_rows() -> None:
    plan = Plan(load_spec(15), "mini", "default", (), {})
    place = plan.place(ACC1)
    values = {("factor2", "alpha=0.5"): 80, ("factor2", "alpha=0.9"): 85}
    values |= {("factor4", "alpha=0.5"): 60, ("factor4", "alpha=0.9"): 50}
    runs = {CellKey(place, *cell): {"acc1": number("acc1", v)} for cell, v in values.items()}
    sources = Sources(plan, Measured(runs, {}), {})

    def of(row: Row) -> dict[str, str]:
        found = ranks(sources, ACC1, row, plan.columns[0])
        return {cell.column: rank for cell, rank in found.items()}

    assert of(plan.rows[0]) == {"alpha=0.9": "leading", "alpha=0.5": "second"}
    assert of(plan.rows[1]) == {"alpha=0.5": "leading", "alpha=0.9": "second"}
