"""Holm's correction over the orderings of all tables, and what follows from it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.config.paper import load_paper
from bigain.metrics import Metric, holm
from bigain.runs.identity import describing_columns
from bigain.tables.cells import Measured, measure
from bigain.tables.differences import Difference
from bigain.tables.families import _may_be_done, corrected_of
from bigain.tables.planner import NONE, CellKey, Compose, Plan, PlannedRun, commands_of, plan_table
from bigain.tables.ranks import ranks
from bigain.tables.render import families_of_all, load_spec
from bigain.tables.sources import Sources
from bigain.tables.spec import Block
from bigain.tables.verdicts import orderings

MakePlan = Callable[..., Plan]
Runner = Callable[[RunConfig], None]
RATIOS = ("ratio=0.3", "ratio=0.5", "ratio=0.7")
ACC1 = Block(dataset="fashion_mnist", metric="acc1")


def run_some(make_plan: MakePlan, runner: Runner, number: int, *rows: str) -> None:
    """Classifications of Fashion-MNIST by some rows of a table, at ratio 0.7."""
    for cell, run in make_plan(number).runs.items():
        of_fashion = cell.place[1:3] == ("fashion_mnist", "classification")
        is_wanted = cell.row in rows and cell.column in ("", "ratio=0.7")
        if of_fashion and is_wanted and not run.finished:
            runner(run.config)


def test_a_hypothesis_in_several_tables_counts_once(
    make_plan: MakePlan, runner: Runner, compose: Compose
) -> None:
    """L-GTM against ToMe at 0.7 stands in Tables 4, 6 and 17."""
    run_some(make_plan, runner, 4, NONE, "tome", "lgtm")
    plans = {number: make_plan(number) for number in (4, 6, 17)}
    families = families_of_all(compose)
    alone = families.of(plans[4])
    assert {each.metric for each in alone} == {"acc1", "eps_error_rise"}
    assert len(alone) == 2
    found = {}
    for number, plan in plans.items():
        assert families_of_all(compose).of(plan) == alone, "whatever table is rendered"
        sources = Sources(plan, measure(plan, plan.results), load_paper(), alone)
        found[number] = [each for each in orderings(sources) if each.difference]
    assert {len(each) for each in found.values()} == {2}
    for ordering in (each for several in found.values() for each in several):
        assert ordering.difference is not None
        assert ordering.adjusted == ordering.difference.p, "each kind has one member"


def test_what_other_tables_measured_raises_p(
    make_plan: MakePlan, runner: Runner, compose: Compose
) -> None:
    run_some(make_plan, runner, 4, NONE, "tome", "lgtm")
    run_some(make_plan, runner, 7, "cached", "abm")
    plan, other = make_plan(4), make_plan(7)
    corrected = families_of_all(compose).of(plan)
    tables = [Sources(each, measure(each, each.results), load_paper()) for each in (plan, other)]
    raw = {
        each.hypothesis: each.difference.p
        for each in (ordering for sources in tables for ordering in orderings(sources))
        if each.difference and each.hypothesis and each.kind == "paper"
    }
    assert len(raw) == 4, "one in Table 4, three in Table 7"
    expected = dict(zip(raw, holm(list(raw.values())), strict=True))
    assert {key: p for key, p in corrected.items() if key.metric == "acc1"} == expected


def test_nothing_finished_is_no_family(make_plan: MakePlan, compose: Compose) -> None:
    assert families_of_all(compose).of(make_plan(4)) == {}


@pytest.mark.parametrize("number", [2, 6, 8, 15, 16, 17])
def test_no_finished_run_is_passed_over(number: int, compose: Compose) -> None:
    """A cell that is not composed would be missing in the family."""
    plan = plan_table(load_spec(number), "mini", "default", (), compose)
    commands = commands_of(plan.spec, "mini", "default", ())
    for cell, run in plan.runs.items():
        if cell.place.work in ("classification", "generation"):
            columns = {key: str(value) for key, value in describing_columns(run.config).items()}
            assert _may_be_done(cell, commands[cell], [columns]), cell
            assert not _may_be_done(cell, commands[cell], [{**columns, "operator": "other"}])


def sources_with(p_values: Mapping[str, float]) -> Sources:
    """Table 4 where L-GTM is 5 points ahead of ToMe, with these p values by ratio."""
    plan = Plan(load_spec(4), "mini", "default", (), {})
    place = plan.place(ACC1)
    cells = {(row, at): CellKey(place, row, at) for row in ("tome", "lgtm") for at in p_values}
    values = {"tome": 70.0, "lgtm": 75.0}
    runs = {
        cell: {"acc1": Metric("acc1", values[row], 100, 60, 80, "percent")}
        for (row, _), cell in cells.items()
    }
    deltas = {
        (cells["lgtm", at], cells["tome", at]): {
            "acc1": Difference(Metric("acc1", 5.0, 100, 1.0, 9.0, "points"), p)
        }
        for at, p in p_values.items()
    }
    made: Any = None
    planned = {cell: PlannedRun((), made, "/".join(cell[1:]), True, 0) for cell in runs}
    found = Sources(replace(plan, runs=planned), Measured(runs, deltas), load_paper())
    return replace(found, corrected=corrected_of([found]))


def verdicts(sources: Sources) -> list[str]:
    return [each.verdict for each in orderings(sources) if each.difference]


def marks(sources: Sources) -> set[str]:
    return {rank for cell, rank in ranks(sources, ACC1).items() if cell.row == "lgtm"}


def test_the_correction_changes_a_verdict_and_a_mark() -> None:
    alone = sources_with({"ratio=0.7": 0.02})
    assert (verdicts(alone), marks(alone)) == (["supported"], {"best"})
    three = sources_with(dict.fromkeys(RATIOS, 0.02))
    assert (verdicts(three), marks(three)) == (["inconclusive"] * 3, {"leading"})
    found = [each for each in orderings(three) if each.difference]
    assert [each.difference.p for each in found if each.difference] == [0.02] * 3
    assert [each.adjusted for each in found] == pytest.approx([0.06] * 3)
    stepwise = sources_with(dict(zip(RATIOS, (0.04, 0.001, 0.02), strict=True)))
    assert verdicts(stepwise) == ["supported"] * 3
    assert marks(stepwise) == {"best"}


def test_a_mark_never_says_more_than_the_verdict() -> None:
    alone = sources_with({"ratio=0.7": 0.02})
    others = dict.fromkeys(alone.corrected, 0.3)
    weaker = replace(alone, corrected=others)
    assert (verdicts(weaker), marks(weaker)) == (["inconclusive"], {"leading"})


def test_each_kind_is_a_family_of_its_own() -> None:
    sources = sources_with(dict.fromkeys(RATIOS, 0.02))
    (pair, *_) = sources.measured.deltas
    rise = Difference(Metric("eps_error_rise", -3.0, 100, -4.0, -2.0, "points"), 0.04)
    own = {**sources.measured.deltas[pair], "eps_error_rise": rise}
    deltas = {**sources.measured.deltas, pair: own}
    both = replace(sources, measured=replace(sources.measured, deltas=deltas))
    found = corrected_of([both])
    assert found[both.hypothesis(*pair, "eps_error_rise")] == 0.04
    assert found[both.hypothesis(*pair, "acc1")] == pytest.approx(0.06)
