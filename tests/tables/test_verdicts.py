import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bigain.config.paper import PaperValue, load_paper
from bigain.metrics import Metric
from bigain.tables.cells import Measured
from bigain.tables.differences import Difference
from bigain.tables.layout import lay_out
from bigain.tables.planner import CellKey, Place, Plan, PlannedRun
from bigain.tables.ranks import LEVEL, ranks
from bigain.tables.render import load_spec
from bigain.tables.sources import Sources
from bigain.tables.spec import Block, Row
from bigain.tables.verdicts import VERDICTS, Ordering, orderings, verdict_panels

NAN = math.nan

SURE, UNSURE = LEVEL / 10, LEVEL * 2
ACC1 = Block(dataset="fashion_mnist", metric="acc1")
RISE = Block(dataset="fashion_mnist", metric="eps_error_rise")


def sources_of(number: int, profile: str = "mini") -> Sources:
    return Sources(Plan(load_spec(number), profile, "default", (), {}), Measured(), load_paper())


def with_runs(sources: Sources) -> Sources:
    """With a planned run for each cell that was measured; its id is that of the cell."""
    cells = {cell for pair in sources.measured.deltas for cell in pair}
    made: Any = None
    runs = {cell: PlannedRun((), made, "/".join(cell[1:]), True, 0) for cell in cells}
    return replace(sources, plan=replace(sources.plan, runs=runs))


def verdict(metric: str, value: float, p: float, number: int = 4, half: float = NAN) -> str:
    """Of L-GTM minus ToMe at ratio 0.7 in Table 4; the paper has 8.87 points and 0.21 of FID."""
    found = measured(metric, value, p, number, half)
    (one,) = (each for each in found if each.difference)
    return one.verdict


def measured(
    metric: str, value: float, p: float, number: int = 4, half: float = NAN
) -> list[Ordering]:
    """`half`: half the width of the interval."""
    sources = sources_of(number)
    blocks = sources.plan.spec.profile("mini").blocks
    block = next(block for block in blocks if block.metric == metric)
    place = sources.plan.place(block)
    pair = (CellKey(place, "lgtm", "ratio=0.7"), CellKey(place, "tome", "ratio=0.7"))
    difference = Difference(Metric(metric, value, 100, value - half, value + half, "points"), p)
    known = Measured(
        {cell: {metric: difference.metric} for cell in pair}, {pair: {metric: difference}}
    )
    return orderings(with_runs(replace(sources, measured=known)))


@pytest.mark.parametrize(
    ("metric", "value", "p", "expected"),
    [
        ("acc1", +3.0, 0.01, "supported"),
        ("acc1", -3.0, 0.01, "contradicted"),
        ("acc1", +3.0, 0.05, "inconclusive"),
        ("acc1", -3.0, 0.20, "inconclusive"),
        ("acc1", +3.0, NAN, "inconclusive"),
        # Of errors and distances less is better: the paper's L-GTM is ahead in all of them.
        ("eps_error_rise", -3.0, 0.01, "supported"),
        ("eps_error_rise", +3.0, 0.01, "contradicted"),
        ("frechet_mini", -0.1, 0.01, "supported"),
        ("frechet_mini", +0.1, 0.01, "contradicted"),
        ("frechet_mini", -0.1, 0.30, "inconclusive"),
    ],
)
def test_verdicts(metric: str, value: float, p: float, expected: str) -> None:
    assert verdict(metric, value, p) == expected


@pytest.mark.parametrize(
    ("metric", "value", "half", "p", "expected"),
    [
        # The deltas are 1.5 points, 0.05 and 0.02 sigma_t.
        ("acc1", 0.0, 1.4, 0.99, "level"),
        ("acc1", 1.0, 0.4, 1e-9, "level"),
        ("acc1", -1.0, 0.4, 1e-9, "level"),
        ("acc1", 1.0, 0.6, 1e-9, "supported"),
        ("acc1", -1.0, 0.6, 1e-9, "contradicted"),
        ("acc1", 0.0, 1.6, 0.99, "inconclusive"),
        ("frechet_mini", 0.01, 0.03, 0.5, "level"),
        ("frechet_mini", 0.01, 0.05, 0.5, "inconclusive"),
        ("best_margin", 0.005, 0.01, 0.3, "level"),
        ("best_margin", 0.03, 0.015, 1e-4, "supported"),
        ("best_margin", -0.03, 0.015, 1e-4, "contradicted"),
    ],
)
def test_an_interval_inside_of_delta_is_level_whatever_p_is(
    metric: str, value: float, half: float, p: float, expected: str
) -> None:
    assert verdict(metric, value, p, half=half) == expected


@pytest.mark.parametrize(
    ("metric", "value", "half", "excludes"),
    [
        ("acc1", 8.0, 1.0, False),  # the paper's difference is 8.87
        ("acc1", 8.0, 0.5, True),
        ("acc1", 0.0, 0.1, True),
        ("acc1", 8.0, NAN, None),
        ("map_image", 2.0, 1.0, False),  # 2.37
        ("map_image", 1.0, 1.0, True),
        ("frechet_mini", -0.1, 0.1, None),  # not in units of FID
        ("eps_error_rise", 8.0, 1.0, None),
        ("best_margin", 8.0, 1.0, None),
    ],
)
def test_the_papers_size_is_excluded_in_its_own_unit_alone(
    metric: str, value: float, half: float, excludes: bool | None
) -> None:
    (found,) = (each for each in measured(metric, value, 0.01, half=half) if each.difference)
    assert found.paper == pytest.approx({"acc1": 8.87, "map_image": 2.37}.get(metric, found.paper))
    assert found.excludes_paper is excludes


def test_what_was_not_run_has_no_verdict() -> None:
    found = orderings(sources_of(4))
    assert len(found) == 6 * 3, "three ratios of six blocks"
    assert [each.kind for each in found].count("noise error") == 2 * 3, "on two datasets"
    assert {ordering.verdict for ordering in found} == {""}
    assert all(ordering.difference is None for ordering in found)


def test_an_ordering_holds_the_papers_difference_and_who_is_ahead() -> None:
    (found,) = (each for each in measured("acc1", 1, 0.01) if each.difference)
    assert found.paper == pytest.approx(74.63 - 65.76)
    assert found.paper_says is True
    assert (found.label, found.place) == ("L-GTM minus ToMe, ratio 0.7", "accuracy, Fashion-MNIST")
    (found,) = (each for each in measured("frechet_mini", 1, 0.01) if each.difference)
    assert found.paper < 0
    assert found.paper_says is True, "less FID is better"


def test_a_re_creation_has_no_ordering_though_the_paper_names_its_method() -> None:
    rows = {row.id: row for row in load_spec(1).rows}
    assert rows["masks_by_t"].method == rows["dip_go"].method
    names = {each.label for each in orderings(sources_of(1))}
    assert names == {"L-GTM minus ToMe", "L-GTM minus SiTo", "IE-KVD minus ToDo"}


def test_values_that_are_level_order_nothing() -> None:
    sources = sources_of(4)
    level = PaperValue("70.0", "reported", "", "classification")
    same = dict.fromkeys(sources.paper, level)
    assert {each.paper_says for each in orderings(replace(sources, paper=same))} == {None}


def test_the_dits_generation_is_no_ordering() -> None:
    """The paper's FID of Table 5 repeats that of Table 4: it is compared with nothing."""
    places = [ordering.place for ordering in orderings(sources_of(5))]
    assert places
    assert not any("Frechet" in place or "FID" in place for place in places)


def test_columns_of_table_15() -> None:
    found = orderings(sources_of(15, "paper"))
    assert len(found) == 5 * 2
    first = found[0]
    assert first.label == "alpha 0.9 minus 0, factor 2"
    assert first.paper == pytest.approx(81.52 - 77.02)


def test_a_lost_value_orders_nothing() -> None:
    assert orderings(sources_of(14)) == []
    assert list(verdict_panels(sources_of(14))) == []


def test_the_panel_counts_and_lists_what_was_measured(
    make_sources: Callable[..., Sources],
) -> None:
    wanted = make_sources(4, lambda c: c.operator.settings()["ratio"] != 0.5)
    panel, ours = verdict_panels(wanted)
    assert all("noise error" in line.cells[0].text for line in ours.lines)
    assert not any("noise error" in line.cells[0].text for line in panel.lines)
    verdicts = [line.cells[5].text for line in panel.lines]
    assert len(verdicts) == 8
    assert set(verdicts) <= set(VERDICTS)
    counts = [12, *(verdicts.count(each) for each in VERDICTS), 4]
    assert list(map(int, re.findall(r"\d+", panel.caption))) == counts
    assert panel in lay_out(wanted).findings
    for line in panel.lines:
        p, adjusted = (float(cell.text) for cell in line.cells[3:5])
        assert p <= adjusted
        if line.cells[5].text != "level":
            assert (line.cells[5].text == "inconclusive") == (adjusted >= 0.05)


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
    found = ranks(with_runs(Sources(plan, Measured(runs, deltas), {})), block)
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
    lost = Block(dataset="fashion_mnist", metric="acc1_drop")
    assert marked({"todo": 1, "low": 2}, lambda *_: SURE, lost) == {}


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
    found = ranks(sources, ACC1)
    assert {cell.row for cell in found} == {"tome", "lgtm"}


def test_a_table_that_compares_columns_ranks_along_its_rows() -> None:
    plan = Plan(load_spec(15), "mini", "default", (), {})
    place = plan.place(ACC1)
    values = {("factor2", "alpha=0.5"): 80, ("factor2", "alpha=0.9"): 85}
    values |= {("factor4", "alpha=0.5"): 60, ("factor4", "alpha=0.9"): 50}
    runs = {CellKey(place, *cell): {"acc1": number("acc1", v)} for cell, v in values.items()}
    sources = Sources(plan, Measured(runs, {}), {})

    def of(row: Row) -> dict[str, str]:
        found = ranks(sources, ACC1)
        return {cell.column: rank for cell, rank in found.items() if cell.row == row.id}

    assert of(plan.rows[0]) == {"alpha=0.9": "leading", "alpha=0.5": "second"}
    assert of(plan.rows[1]) == {"alpha=0.5": "leading", "alpha=0.9": "second"}
