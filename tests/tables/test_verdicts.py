import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from bigain.config.paper import PaperValue, load_paper
from bigain.metrics import Metric
from bigain.tables.cells import Measured
from bigain.tables.differences import Difference
from bigain.tables.layout import lay_out
from bigain.tables.planner import CellKey, Plan
from bigain.tables.sources import Sources
from bigain.tables.spec import load_spec
from bigain.tables.verdicts import Ordering, orderings, verdict_panels

NAN = math.nan


def sources_of(number: int, profile: str = "mini") -> Sources:
    return Sources(Plan(load_spec(number), profile, "default", (), {}), Measured(), load_paper())


def verdict(metric: str, value: float, p: float, number: int = 4) -> str:
    """Of L-GTM minus ToMe at ratio 0.7 in Table 4; the paper has 8.87 points and 0.21 of FID."""
    (found,) = (each for each in measured(metric, value, p, number) if each.difference)
    return found.verdict


def measured(metric: str, value: float, p: float, number: int = 4) -> list[Ordering]:
    sources = sources_of(number)
    blocks = sources.plan.spec.profile("mini").blocks
    block = next(block for block in blocks if block.metric == metric)
    place = sources.plan.place(block)
    pair = (CellKey(place, "lgtm", "ratio=0.7"), CellKey(place, "tome", "ratio=0.7"))
    difference = Difference(Metric(metric, value, 100, NAN, NAN, "points"), p)
    return orderings(replace(sources, measured=Measured({}, {pair: {metric: difference}})))


@pytest.mark.parametrize(
    ("metric", "value", "p", "expected"),
    [
        ("acc1", +3.0, 0.01, "supported"),
        ("acc1", -3.0, 0.01, "contradicted"),
        ("acc1", +3.0, 0.05, "open"),
        ("acc1", -3.0, 0.20, "open"),
        ("acc1", +3.0, NAN, "open"),
        # Of errors and distances less is better: the paper's L-GTM is ahead in all of them.
        ("eps_error_rise", -3.0, 0.01, "supported"),
        ("eps_error_rise", +3.0, 0.01, "contradicted"),
        ("frechet_mini", -0.1, 0.01, "supported"),
        ("frechet_mini", +0.1, 0.01, "contradicted"),
        ("frechet_mini", -0.1, 0.30, "open"),
    ],
)
def test_verdicts(metric: str, value: float, p: float, expected: str) -> None:
    assert verdict(metric, value, p) == expected


def test_what_was_not_run_has_no_verdict() -> None:
    found = orderings(sources_of(4))
    assert len(found) == 6 * 3, "three ratios of six blocks"
    assert sum(ordering.is_ours for ordering in found) == 2 * 3, "the noise error, twice"
    assert {ordering.verdict for ordering in found} == {""}
    assert all(ordering.difference is None for ordering in found)


def test_an_ordering_holds_the_papers_difference_and_who_is_ahead() -> None:
    (found,) = (each for each in measured("acc1", 1, 0.01) if each.difference)
    assert found.paper == pytest.approx(74.63 - 65.76)
    assert found.paper_says is True
    assert found.label.startswith("L-GTM minus ToMe, ratio 0.7: Top-1 accuracy, %")
    (found,) = (each for each in measured("frechet_mini", 1, 0.01) if each.difference)
    assert found.paper < 0
    assert found.paper_says is True, "less FID is better"


def test_values_that_are_level_order_nothing() -> None:
    sources = sources_of(4)
    level = PaperValue("70.0", "reported", "", "classification")
    same = dict.fromkeys(sources.paper, level)
    assert {each.paper_says for each in orderings(replace(sources, paper=same))} == {None}


def test_the_dits_generation_is_no_ordering() -> None:
    """The paper's FID of Table 5 repeats that of Table 4: it is compared with nothing."""
    titles = [ordering.label for ordering in orderings(sources_of(5))]
    assert titles
    assert not any("Frechet" in title or "FID" in title for title in titles)


def test_columns_of_table_15() -> None:
    found = orderings(sources_of(15, "paper"))
    assert len(found) == 5 * 2
    first = found[0]
    assert first.label.startswith("alpha 0.9 minus 0, factor 2: ")
    assert first.paper == pytest.approx(81.52 - 77.02)


def test_a_lost_value_orders_nothing() -> None:
    assert orderings(sources_of(14)) == []
    assert verdict_panels(sources_of(14)) == []


def test_the_panel_counts_and_lists_what_was_measured(
    make_sources: Callable[..., Sources],
) -> None:
    wanted = make_sources(4, lambda c: c.operator.settings()["ratio"] != 0.5)
    panel, ours = verdict_panels(wanted)
    assert (panel.title, ours.title) == (
        "The paper's orderings",
        "The same orderings in the noise error",
    )
    assert all("noise-prediction error" in line.label for line in ours.lines)
    assert not any("noise-prediction error" in line.label for line in panel.lines)
    verdicts = [line.cells[3].text for line in panel.lines]
    assert len(verdicts) == 8
    assert set(verdicts) <= {"supported", "contradicted", "open"}
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("supported", "contradicted", "open"))
    assert f"compares: 12, of them {counts}, 4 not run." in panel.caption
    assert panel in lay_out(wanted).panels
    for line in panel.lines:
        p, says = float(line.cells[2].text), line.cells[3].text
        assert (says == "open") == (p >= 0.05)
