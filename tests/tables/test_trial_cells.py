"""Statistics of single trials in tables, of runs that keep the errors of their first stage."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bigain.config.paper import load_paper
from bigain.metrics import paired_accuracy, paired_difference, relative_rise
from bigain.metrics.trials import Trials
from bigain.runs.compare import compare_runs
from bigain.tables.cells import measure
from bigain.tables.differences import Difference
from bigain.tables.layout import lay_out
from bigain.tables.planner import NONE, CellKey, Compose, Place, Plan, plan_table
from bigain.tables.render import load_spec
from bigain.tables.sources import Sources
from bigain.tables.spec import Block
from bigain.tables.trial_cells import trial_differences, trial_metrics, trial_values

PLACE = Place("mini_unet", "fashion_mnist", "classification")
TIMESTEPS = np.array([125, 325, 525, 725, 925])


def trials(seed: int, harm: float, images: int = 20) -> Trials:
    """Errors of 10 classes that an operator raises by `harm`; the same images and trials."""
    shared, own = np.random.default_rng(0), np.random.default_rng(seed)
    truth = np.zeros((images, 10), np.bool_)
    truth[np.arange(images), np.arange(images) % 10] = True
    errors = shared.uniform(0.1, 0.2, (images, 5, 1)) + shared.normal(0, 0.01, (images, 5, 10))
    errors = errors - 0.02 * truth[:, None, :] + harm * own.uniform(0, 1, errors.shape)
    return Trials(np.arange(images), TIMESTEPS, errors, truth)


BASE, TOME, LGTM = trials(1, 0.0), trials(2, 0.02), trials(3, 0.05)
SCALE = BASE.scale
NONE_VALUES, TOME_VALUES, LGTM_VALUES = (trial_values(each, SCALE) for each in (BASE, TOME, LGTM))


def test_a_run_has_its_margin_auc_and_first_stage() -> None:
    found = trial_metrics(TOME_VALUES, None)
    assert set(found) == {"best_margin", "pairwise_auc", "acc1_first"}
    margins = TOME.mean_margins(SCALE)
    assert found["best_margin"].value == pytest.approx(margins.mean())
    assert (found["best_margin"].unit, found["best_margin"].n) == ("sigma_t", 20)
    assert found["pairwise_auc"].value == pytest.approx(100 * TOME.pairwise_auc().mean())
    assert found["acc1_first"].value == pytest.approx(100 * TOME.is_right().mean())
    assert found["acc1_first"].ci_low < found["acc1_first"].value <= found["acc1_first"].ci_high


def test_against_the_baseline_there_are_differences_and_rises_by_thirds() -> None:
    found = trial_metrics(TOME_VALUES, NONE_VALUES)
    rises = ("eps_rise_equal", "eps_rise_low", "eps_rise_mid", "eps_rise_high")
    assert set(rises) < set(found)
    expected = relative_rise(TOME.noise_errors(SCALE, "low"), BASE.noise_errors(SCALE, "low"))
    low = found["eps_rise_low"]
    assert (low.value, low.ci_low) == pytest.approx((100 * expected.mean, 100 * expected.ci_low))
    paired = paired_difference(TOME.mean_margins(SCALE), BASE.mean_margins(SCALE))
    assert found["best_margin_to_none"].value == pytest.approx(paired.mean)
    assert found["best_margin_to_none"].ci_high == pytest.approx(paired.ci_high)
    assert found["pairwise_auc_to_none"].unit == found["acc1_first_to_none"].unit == "points"


def test_two_runs_are_paired_image_by_image() -> None:
    found = trial_differences(LGTM_VALUES, TOME_VALUES, NONE_VALUES)
    margin = paired_difference(LGTM.mean_margins(SCALE), TOME.mean_margins(SCALE))
    assert found["best_margin"].p == margin.p
    assert found["best_margin"].metric.value == pytest.approx(margin.mean)
    first = paired_accuracy(LGTM.is_right(), TOME.is_right())
    assert found["acc1_first"].p == first.p
    base, own, other = (each.noise_errors(SCALE) for each in (BASE, LGTM, TOME))
    shifted = relative_rise(base + own - other, base)
    assert found["eps_rise_equal"].metric.value == pytest.approx(100 * shifted.mean)
    assert found["eps_rise_equal"].metric.unit == "points"


def test_without_the_errors_of_the_baseline_there_is_no_scale() -> None:
    own, other = trial_values(LGTM, None), trial_values(TOME, None)
    assert set(trial_metrics(own, None)) == {"pairwise_auc", "acc1_first"}
    assert set(trial_differences(own, other, None)) == {"pairwise_auc", "acc1_first"}


def made(
    make_plan: Callable[..., Plan], run: Callable[..., None], number: int, *rows: str
) -> Sources:
    """A table of which some rows at ratio 0.7 have runs with errors."""
    for cell, planned in make_plan(number).runs.items():
        if cell.place == PLACE and cell.row in rows and cell.column in ("", "ratio=0.7"):
            run(planned.config, with_errors=True)
    plan = make_plan(number)
    return Sources(plan, measure(plan, plan.results), load_paper())


def test_a_table_shows_them_where_runs_have_errors(
    make_plan: Callable[..., Plan], runner: Callable[..., None]
) -> None:
    sources = made(make_plan, runner, 4, NONE, "tome", "lgtm")
    shown = {block.metric for block in sources.blocks if block.dataset == "fashion_mnist"}
    assert {"best_margin", "pairwise_auc", "acc1_first", "eps_rise_equal", "eps_rise_low"} <= shown
    document = lay_out(sources)
    titles = [panel.title for panel in document.findings]
    assert [title.rpartition(" in the ")[2] for title in titles[1:]] == [
        "margin, the primary endpoint",
        "noise error",
    ]
    (margin,) = (panel for panel in document.panels if panel.title.startswith("Best-wrong"))
    labels = [line.label for line in margin.lines]
    assert labels == [
        *("ToMe", "· minus the baseline", "L-GTM (BiGain)", "· minus the baseline"),
        "L-GTM minus ToMe",
    ]
    cells = {line.label: [cell.text for cell in line.cells] for line in margin.lines}
    assert cells["ToMe"][1:3] == ["—", "—"], "ratios that did not run"
    assert "[" in cells["L-GTM minus ToMe"][3]


def test_one_run_without_errors_has_dashes(
    make_plan: Callable[..., Plan], runner: Callable[..., None], tmp_path: Path
) -> None:
    sources = made(make_plan, runner, 4, NONE, "tome")
    for cell, planned in make_plan(4).runs.items():
        if cell == CellKey(PLACE, "lgtm", "ratio=0.7"):
            runner(planned.config)
    plan = make_plan(4)
    mixed = replace(sources, plan=plan, measured=measure(plan, tmp_path))
    lgtm, tome = (CellKey(PLACE, row, "ratio=0.7") for row in ("lgtm", "tome"))
    assert mixed.metric(lgtm, "acc1") is not None
    assert mixed.metric(lgtm, "best_margin") is None
    assert mixed.metric(tome, "best_margin") is not None
    assert mixed.difference(lgtm, tome, "best_margin") is None
    assert isinstance(mixed.difference(lgtm, tome, "acc1"), Difference)


def test_a_quantity_in_units_of_the_baseline_needs_its_run(compose: Compose) -> None:
    """Table 8 prints no baseline, but sigma_t is the baseline's."""
    spec = load_spec(8)
    for metric, needed in (("best_margin", True), ("acc1", False)):
        blocks = (Block(dataset="fashion_mnist", metric=metric),)
        profile = spec.profile("mini").model_copy(update={"blocks": blocks})
        own = spec.model_copy(update={"profiles": {"mini": profile}})
        plan = plan_table(own, "mini", "default", (), compose)
        assert (CellKey(PLACE, NONE) in plan.runs) is needed


def test_tables_and_compare_agree(
    make_plan: Callable[..., Plan], runner: Callable[..., None]
) -> None:
    sources = made(make_plan, runner, 4, NONE, "tome", "lgtm")
    none, tome, lgtm = (
        CellKey(PLACE, row, column)
        for row, column in ((NONE, ""), ("tome", "ratio=0.7"), ("lgtm", "ratio=0.7"))
    )
    ids = {cell: sources.plan.runs[cell].run_id for cell in (none, tome, lgtm)}
    own = compare_runs(sources.plan.results, ids[tome], ids[none]).differences
    table = sources.measured.runs[tome]
    for name in ("best_margin", "pairwise_auc", "acc1_first"):
        shown = table[f"{name}_to_none"]
        assert shown.value == pytest.approx(own[name].scale * own[name].result.mean), name
        assert shown.ci_low == pytest.approx(own[name].scale * own[name].result.ci_low), name
    for name in ("eps_rise_equal", "eps_rise_low", "eps_rise_mid", "eps_rise_high"):
        assert table[name].value == pytest.approx(100 * own[name].result.mean), name
    rival = compare_runs(sources.plan.results, ids[lgtm], ids[tome]).differences
    for name in ("best_margin", "pairwise_auc", "acc1_first", "acc1"):
        found = sources.difference(lgtm, tome, name)
        assert found is not None
        assert found.p == pytest.approx(rival[name].result.p), name
