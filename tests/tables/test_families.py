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
from bigain.tables.families import Corrected, _may_be_done, corrected_of, holm_of_planned
from bigain.tables.planner import NONE, CellKey, Compose, Plan, PlannedRun, commands_of, plan_table
from bigain.tables.ranks import ranks
from bigain.tables.render import families_of_all, load_spec
from bigain.tables.sources import Hypothesis, Sources
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
    found = {}
    for number, plan in plans.items():
        assert families_of_all(compose).of(plan) == alone, "whatever table is rendered"
        sources = Sources(plan, measure(plan, plan.results), load_paper(), alone)
        found[number] = [each for each in orderings(sources) if each.difference]
    assert {len(each) for each in found.values()} == {2}
    every = [each for several in found.values() for each in several]
    measured = {each.hypothesis: each for each in every if each.hypothesis}
    assert {each.metric for each in measured} == {"acc1", "eps_error_rise"}
    for each in measured.values():
        assert each.difference is not None
        size = family_size(alone, each.kind)
        assert each.adjusted == pytest.approx(min(1.0, size * each.difference.p))


def family_size(corrected: Corrected, kind: str) -> int:
    """How many hypotheses are in the family of a kind, measured or not."""
    own = {"margin": {"best_margin"}, "noise error": {"eps_error_rise", "eps_rise_equal"}}
    others = set.union(*own.values())
    return sum(
        each.metric in own[kind] if kind in own else each.metric not in others for each in corrected
    )


def test_a_run_that_finishes_leaves_its_family_as_large(
    make_plan: MakePlan, runner: Runner, compose: Compose
) -> None:
    """What is planned counts with p = 1 from the start, so p rises no further."""
    run_some(make_plan, runner, 4, NONE, "tome", "lgtm")
    before = families_of_all(compose).of(make_plan(4))
    run_some(make_plan, runner, 7, "cached", "abm")
    after = families_of_all(compose).of(make_plan(4))
    for kind in ("paper", "margin", "noise error"):
        assert family_size(before, kind) == family_size(after, kind) > 0
    plans = [make_plan(number) for number in (4, 7)]
    tables = [Sources(each, measure(each, each.results), load_paper()) for each in plans]
    raw = {
        each.hypothesis: each.difference.p
        for each in (ordering for sources in tables for ordering in orderings(sources))
        if each.difference and each.hypothesis and each.kind == "paper"
    }
    assert len(raw) == 4, "one in Table 4, three in Table 7"
    missing = family_size(after, "paper") - len(raw)
    expected = dict(zip(raw, holm([*raw.values(), *[1.0] * missing]), strict=False))
    assert {key: after[key] for key in raw} == expected
    others = {key: p for key, p in after.items() if key.metric == "acc1" and key not in raw}
    assert set(others.values()) == {1.0}


def test_what_is_planned_and_not_measured_has_a_p_of_one() -> None:
    first, second, third = (Hypothesis(frozenset({"a", each}), "acc1") for each in "bcd")
    found = holm_of_planned({"paper": {first: 0.02}}, {"paper": {second, third}})
    assert found == {first: pytest.approx(0.06), second: 1.0, third: 1.0}
    done = holm_of_planned({"paper": {first: 0.02, second: 0.9}}, {"paper": {second, third}})
    assert done[first] == found[first]


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
