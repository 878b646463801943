from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.metrics import image_errors, wilson
from bigain.tables.cells import TO_NONE, delta_metrics, measure, run_metrics
from bigain.tables.planner import Plan


def frame(correct: list[int], errors: list[float], first: int = 0) -> pd.DataFrame:
    n = len(correct)
    return pd.DataFrame(
        {
            "position": range(n),
            "image_id": range(first, first + n),
            "correct": [bool(c) for c in correct],
            "true_errors": [[e, e + 0.2] for e in errors],
            "margin_mean": np.linspace(0.01, 0.03, n),
            "margin_variance": np.linspace(0.1, 0.2, n),
        }
    )


ALONE = {"acc1", "eps_error", "margin_mean", "margin_variance", "margin_rho", "margin_bound"}
NONE_RUN = frame([1, 1, 1, 0], [0.1, 0.2, 0.3, 0.4])
TOME = frame([1, 0, 1, 0], [0.2, 0.4, 0.3, 0.5])
LGTM = frame([1, 1, 0, 1], [0.15, 0.35, 0.4, 0.45])


def test_accuracy_has_a_wilson_interval_and_n() -> None:
    acc1 = run_metrics(NONE_RUN, None)["acc1"]
    low, high = wilson(3, 4)
    assert (acc1.value, acc1.n) == (75.0, 4)
    assert (acc1.ci_low, acc1.ci_high) == pytest.approx((100 * low, 100 * high))


def test_without_a_baseline_nothing_is_compared() -> None:
    assert set(run_metrics(TOME, None)) == ALONE


def test_the_difference_to_no_acceleration_is_in_points() -> None:
    metric = run_metrics(TOME, NONE_RUN)[TO_NONE]
    assert (metric.value, metric.n, metric.unit) == (-25.0, 4, "percent")
    assert metric.ci_low < -25 < metric.ci_high


def test_the_rise_is_relative_to_the_mean_error_without_acceleration() -> None:
    rise = run_metrics(TOME, NONE_RUN)["eps_error_rise"]
    assert rise.value == pytest.approx(100 * (0.35 - 0.25) / 0.35)
    assert rise.ci_low < rise.value < rise.ci_high


def test_rho_and_the_bound_of_the_margin() -> None:
    metrics = run_metrics(TOME, None)
    rho, bound = metrics["margin_rho"], metrics["margin_bound"]
    assert rho.value == pytest.approx(0.15 / 0.02**2)
    assert bound.value == pytest.approx(100 * rho.value / (rho.value + 2)), "two trials"
    assert bound.ci_high == pytest.approx(100 * rho.ci_high / (rho.ci_high + 2))
    assert 0 <= bound.ci_low < bound.value < bound.ci_high < 100
    assert (rho.n, rho.unit, bound.n, bound.unit) == (4, "ratio", 4, "percent")


def test_a_margin_that_is_not_positive_promises_nothing() -> None:
    worse = TOME.assign(margin_mean=-TOME["margin_mean"])
    assert run_metrics(worse, None)["margin_bound"].value == 100


def test_margins_of_a_single_trial_have_no_ratio() -> None:
    single = TOME.assign(margin_variance=np.nan)
    assert {"margin_rho", "margin_bound"}.isdisjoint(run_metrics(single, None))


def test_rows_are_compared_in_points_of_accuracy() -> None:
    delta = delta_metrics(LGTM, TOME, NONE_RUN)["acc1"]
    assert (delta.value, delta.n) == (25.0, 4)
    assert -100 <= delta.ci_low < 25 < delta.ci_high <= 100


def test_the_difference_of_two_rises_adds_up() -> None:
    ours = run_metrics(LGTM, NONE_RUN)["eps_error_rise"].value
    rival = run_metrics(TOME, NONE_RUN)["eps_error_rise"].value
    delta = delta_metrics(LGTM, TOME, NONE_RUN)["eps_error_rise"]
    assert delta.value == pytest.approx(ours - rival)


def test_the_interval_of_the_difference_is_paired() -> None:
    """Delta method by hand: standard error of d_i - r b_i over the mean baseline."""
    d = (image_errors(LGTM) - image_errors(TOME)).to_numpy()
    b = image_errors(NONE_RUN).to_numpy()
    r = d.mean() / b.mean()
    se = (d - r * b).std(ddof=1) / 2 / b.mean()
    delta = delta_metrics(LGTM, TOME, NONE_RUN)["eps_error_rise"]
    assert (delta.ci_high - delta.ci_low) / 2 == pytest.approx(100 * 3.182446 * se, rel=1e-5)


def test_a_row_against_itself_is_zero() -> None:
    metrics = delta_metrics(TOME, TOME, NONE_RUN)
    rise = metrics["eps_error_rise"]
    assert (rise.value, rise.ci_low, rise.ci_high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert metrics["acc1"].value == 0


def test_rows_without_a_baseline_differ_in_accuracy_only() -> None:
    assert set(delta_metrics(LGTM, TOME, None)) == {"acc1"}


def test_precisions_are_compared_image_by_image() -> None:
    """An image without a label has none, and is left out."""
    precise = [frame_with(TOME, [0.5, 0.2, np.nan, 0.9]), frame_with(LGTM, [0.6, 0.4, np.nan, 0.9])]
    delta = delta_metrics(precise[1], precise[0], NONE_RUN)["map_image"]
    assert delta.value == pytest.approx(10.0)
    assert (delta.n, delta.unit) == (3, "percent")
    half = 4.302653 * np.std([10, 20, 0], ddof=1) / np.sqrt(3)
    assert [delta.ci_low, delta.ci_high] == pytest.approx([10 - half, 10 + half])
    assert "map_image" not in delta_metrics(precise[1], TOME, NONE_RUN)


def frame_with(frame: pd.DataFrame, precisions: list[float]) -> pd.DataFrame:
    return frame.assign(average_precision=precisions)


def test_nothing_measured(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    measured = measure(make_plan(4), tmp_path)
    assert not measured.runs
    assert not measured.deltas


def test_cells_of_a_table(
    make_plan: Callable[..., Plan], runner: Callable[[RunConfig], None], tmp_path: Path
) -> None:
    """A cell without a run is absent; a comparison needs both of its rows."""
    for cell, run in make_plan(4).runs.items():
        if cell[1:] in {("none", ""), ("tome", "ratio=0.3"), ("tome", "ratio=0.7")} or (
            cell[1] == "lgtm" and cell[2] != "ratio=0.3"
        ):
            runner(run.config)
    measured = measure(make_plan(4), tmp_path)
    assert {cell[1:] for cell in measured.runs} == {
        ("none", ""),
        ("tome", "ratio=0.3"),
        ("tome", "ratio=0.7"),
        ("lgtm", "ratio=0.5"),
        ("lgtm", "ratio=0.7"),
    }
    assert set(measured.deltas) == {("fashion_mnist", "lgtm", "tome", "ratio=0.7")}
    assert TO_NONE not in measured.runs["fashion_mnist", "none", ""]
    assert "eps_error_rise" not in measured.runs["fashion_mnist", "none", ""]


def test_without_the_baseline_only_values(
    make_plan: Callable[..., Plan], runner: Callable[[RunConfig], None], tmp_path: Path
) -> None:
    runner(make_plan(4).runs["fashion_mnist", "tome", "ratio=0.3"].config)
    (metrics,) = measure(make_plan(4), tmp_path).runs.values()
    assert set(metrics) == ALONE


def test_runs_over_other_images_are_not_compared(
    make_plan: Callable[..., Plan], runner: Callable[[RunConfig], None], tmp_path: Path
) -> None:
    for run in make_plan(4).distinct()[:2]:
        runner(run.config)
    path = tmp_path / "runs" / make_plan(4).distinct()[1].run_id / "samples.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match=r"do not cover the same images of fashion_mnist"):
        measure(make_plan(4), tmp_path)
