"""The metrics of a classification run, computed by hand on few images."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from bigain.errors import UserError
from bigain.metrics.classification import Metric, classification_metrics, image_errors
from bigain.metrics.intervals import mean_interval, wilson
from bigain.metrics.paired import relative_rise


def samples(n: int = 8, rise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    errors = rng.uniform(0.1, 0.3, (n, 5)) * (1 + rise)
    return pd.DataFrame(
        {
            "image_id": range(100, 100 + n),
            "correct": [i % 4 != 0 for i in range(n)],
            "true_errors": errors.tolist(),
            "margin_mean": rng.normal(0.01, 0.01, n),
            "margin_variance": rng.uniform(0.001, 0.002, n),
        }
    )


def with_errors(frame: pd.DataFrame, row: int, errors: list[float | None]) -> pd.DataFrame:
    lists = list(frame["true_errors"])
    lists[row] = errors
    return frame.assign(true_errors=lists)


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    assert len({metric.metric for metric in metrics}) == len(metrics)
    return {metric.metric: metric for metric in metrics}


def test_the_metrics_and_their_order() -> None:
    alone = [metric.metric for metric in classification_metrics(samples())]
    assert alone == ["acc1", "eps_error", "margin_mean", "margin_variance"]
    paired = [metric.metric for metric in classification_metrics(samples(), samples())]
    assert paired == ["acc1", "eps_error", "eps_error_rise", "margin_mean", "margin_variance"]


def test_accuracy_is_in_percent_with_wilson_interval() -> None:
    metric = by_name(classification_metrics(samples(8)))["acc1"]
    low, high = wilson(6, 8)
    assert metric == Metric("acc1", 75.0, 8, 100 * low, 100 * high, "percent")


def test_error_is_the_mean_over_images_of_the_mean_over_trials() -> None:
    frame = samples()
    frame["true_errors"] = [[0.1, 0.3], [0.2]] * 4  # images weigh the same, not trials
    metric = by_name(classification_metrics(frame))["eps_error"]
    assert metric.value == pytest.approx(0.2)
    assert (metric.n, metric.unit) == (8, "error")
    varied = samples()
    metric = by_name(classification_metrics(varied))["eps_error"]
    expected = mean_interval([np.mean(errors) for errors in varied["true_errors"]])
    assert (metric.ci_low, metric.ci_high) == pytest.approx(expected)


def test_rise_is_paired_and_in_percent() -> None:
    baseline = samples(8)
    frame = with_errors(samples(8, rise=0.25), 0, [0.9] * 5)
    metric = by_name(classification_metrics(frame, baseline))["eps_error_rise"]
    expected = relative_rise(image_errors(frame), image_errors(baseline))
    assert metric.value == pytest.approx(100 * expected.mean)
    assert (metric.ci_low, metric.ci_high) == pytest.approx(
        (100 * expected.ci_low, 100 * expected.ci_high)
    )
    assert (metric.n, metric.unit) == (8, "percent")


def test_baseline_may_have_more_images_in_another_order() -> None:
    baseline = samples(8)
    frame = samples(8, rise=0.5).head(5)
    metric = by_name(classification_metrics(frame, baseline[::-1]))["eps_error_rise"]
    assert metric.n == 5
    assert metric.value == pytest.approx(50.0)


def test_no_rise_if_the_baseline_lacks_an_image() -> None:
    metrics = classification_metrics(samples(8), samples(8).tail(7))
    assert "eps_error_rise" not in by_name(metrics)


def test_margins_are_means_over_images() -> None:
    frame = samples()
    metrics = by_name(classification_metrics(frame))
    for name in ("margin_mean", "margin_variance"):
        assert metrics[name].value == pytest.approx(frame[name].mean())
        assert metrics[name].ci_low < metrics[name].value < metrics[name].ci_high
    assert metrics["margin_variance"].unit == "error^2"


def test_a_single_trial_has_no_variance() -> None:
    frame = samples()
    frame["margin_variance"] = np.nan
    metric = by_name(classification_metrics(frame))["margin_variance"]
    assert metric.n == 0
    assert math.isnan(metric.value)
    assert math.isnan(metric.ci_low)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_diverged_error_shows_instead_of_being_left_out(missing: float | None) -> None:
    frame = with_errors(samples(), 3, [0.1, missing])
    metric = by_name(classification_metrics(frame))["eps_error"]
    assert metric.n == 8
    assert math.isnan(metric.value)


def test_errors_may_be_json_as_in_the_csv() -> None:
    frame = samples()
    text = frame.assign(true_errors=[json.dumps(errors) for errors in frame["true_errors"]])
    assert classification_metrics(text) == classification_metrics(frame)


def test_errors_by_image_are_indexed_by_image() -> None:
    errors = image_errors(samples(3))
    assert list(errors.index) == [100, 101, 102]
    assert errors.dtype == np.float64
    assert errors[101] == pytest.approx(np.mean(samples(3)["true_errors"][1]))


def test_one_image_has_values_without_intervals_of_means() -> None:
    metrics = by_name(classification_metrics(samples(1), samples(1)))
    assert metrics["acc1"].ci_high > metrics["acc1"].ci_low
    assert math.isnan(metrics["eps_error"].ci_low)
    assert metrics["eps_error_rise"].value == 0


def test_no_images_is_a_user_error() -> None:
    with pytest.raises(UserError, match="samples: has no images"):
        classification_metrics(samples().head(0))
