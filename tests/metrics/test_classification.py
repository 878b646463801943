"""The metrics of a classification run, computed by hand on few images."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from bigain.errors import UserError
from bigain.metrics.classification import (
    cantelli_bound,
    classification_metrics,
    image_errors,
    margin_ratio,
)
from bigain.metrics.intervals import Metric, mean_interval, relative_rise, wilson
from bigain.metrics.ranking import average_precision, class_ranks


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
    without_rise = by_name(classification_metrics(frame, baseline.tail(7)))
    assert "eps_error_rise" not in without_rise, "the baseline lacks an image"


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


def test_no_images_is_a_user_error() -> None:
    with pytest.raises(UserError, match="samples: has no images"):
        classification_metrics(samples().head(0))


# Images that could not be read.


def with_failures(frame: pd.DataFrame, rows: list[int]) -> pd.DataFrame:
    """As frames of finished runs have them: wrong, and empty cells."""
    failed = frame.copy()
    failed["failure"] = ["x.jpg: cut" if i in rows else None for i in range(len(frame))]
    failed["correct"] = [ok and i not in rows for i, ok in enumerate(frame["correct"])]
    failed["true_errors"] = [None if i in rows else e for i, e in enumerate(frame["true_errors"])]
    for column in ("margin_mean", "margin_variance"):
        failed.loc[failed.index[rows], column] = np.nan
    return failed


def test_images_that_failed_count_as_wrong_and_are_counted() -> None:
    whole, failed = samples(8), with_failures(samples(8), [1, 5])
    metrics = by_name(classification_metrics(failed))
    assert (metrics["acc1"].value, metrics["acc1"].n) == (50.0, 8)
    assert metrics["failed_images"].value == 2
    assert (metrics["failed_images"].n, metrics["failed_images"].unit) == (8, "images")
    rest = whole.drop(index=[1, 5])
    for name in ("eps_error", "margin_mean", "margin_variance"):
        assert metrics[name] == by_name(classification_metrics(rest))[name]
        assert metrics[name].n == 6
    assert "failed_images" not in by_name(classification_metrics(whole))


def test_the_rise_is_that_of_the_images_that_were_read() -> None:
    frame = with_failures(samples(8, rise=0.25), [2])
    metric = by_name(classification_metrics(frame, with_failures(samples(8), [2])))
    assert metric["eps_error_rise"].n == 7
    assert metric["eps_error_rise"].value == pytest.approx(25)


def test_a_run_of_which_nothing_could_be_read_has_an_accuracy_of_zero() -> None:
    frame = with_failures(samples(3), [0, 1, 2])
    metrics = by_name(classification_metrics(frame, frame))
    assert (metrics["acc1"].value, metrics["failed_images"].value) == (0, 3)
    assert math.isnan(metrics["eps_error"].value)
    assert metrics["eps_error"].n == 0
    assert "eps_error_rise" not in metrics


# Several labels per image.


def several(n: int = 30, classes: int = 6, seed: int = 0) -> pd.DataFrame:
    """Images of none, one or more classes, with all that the record of such an image has."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.1, 0.3, (n, classes))
    truth = rng.random((n, classes)) < 0.3
    scores[truth] -= 0.05
    predictions = scores.argmin(axis=1)
    ranks = class_ranks(scores, predictions)
    labels = [np.flatnonzero(row).tolist() for row in truth]
    return samples(n).assign(
        labels=pd.Series(labels),
        prediction=predictions,
        correct=truth[np.arange(n), predictions],
        scores=pd.Series(scores.tolist()),
        average_precision=[average_precision(r[t]) for r, t in zip(ranks, truth, strict=True)],
        true_errors=pd.Series([[0.1, 0.2] if own else [] for own in labels]),
    )


def test_the_precisions_are_scikit_learns() -> None:
    frame = several()
    metrics = by_name(classification_metrics(frame, samples(30)))
    assert list(metrics) == [
        *("acc1", "map_image", "map_class", "eps_error", "eps_error_rise", "margin_mean"),
        "margin_variance",
    ]
    truth = np.array([[c in own for c in range(6)] for own in frame["labels"]])
    ranks = class_ranks(frame["scores"].tolist(), frame["prediction"])
    have = truth.any(axis=1)
    image = 100 * label_ranking_average_precision_score(truth[have], -ranks[have])
    assert have.sum() < len(frame)
    assert metrics["map_image"].value == pytest.approx(image * have.mean())
    assert metrics["map_image"].n == len(frame)
    by_class = 100 * average_precision_score(truth, -ranks, average="macro")
    assert metrics["map_class"].value == pytest.approx(by_class)
    assert metrics["map_class"].n == len(frame)


def test_images_without_a_label_count_as_wrong_and_have_no_error() -> None:
    frame = several()
    bare = [not own for own in frame["labels"]]
    assert any(bare)
    assert not frame["correct"][bare].any()
    metrics = by_name(classification_metrics(frame))
    assert metrics["acc1"].n == len(frame)
    assert metrics["eps_error"].n == len(frame) - sum(bare)
    assert metrics["eps_error"].value == pytest.approx(0.15)


def test_an_image_without_a_label_counts_with_precision_0() -> None:
    frame = several()
    bare = np.array([not own for own in frame["labels"]])
    assert bare.any()
    assert (frame["average_precision"][bare] == 0).all()
    old = frame.assign(average_precision=frame["average_precision"].mask(bare))
    assert old["average_precision"].isna().any()
    new, before = (by_name(classification_metrics(each))["map_image"] for each in (frame, old))
    assert new == before
    assert new.value == pytest.approx(100 * frame["average_precision"].mean())
    assert new.value < 100 * frame["average_precision"][~bare].mean()


def test_without_scores_there_is_the_mean_over_images_alone() -> None:
    """The copy of the records that tables keep has no scores."""
    metrics = by_name(classification_metrics(several().drop(columns="scores")))
    assert "map_class" not in metrics
    assert metrics["map_image"] == by_name(classification_metrics(several()))["map_image"]


def test_an_image_that_failed_is_ranked_last() -> None:
    frame = several()
    row = next(i for i, own in enumerate(frame["labels"]) if len(own) == 1)
    failed = with_failures(frame, [row])
    failed["scores"] = [None if i == row else own for i, own in enumerate(frame["scores"])]
    failed["prediction"] = [None if i == row else own for i, own in enumerate(frame["prediction"])]
    failed["average_precision"] = [
        0.0 if i == row else own for i, own in enumerate(frame["average_precision"])
    ]
    before = by_name(classification_metrics(frame))
    after = by_name(classification_metrics(failed))
    truth = np.array([[c in own for c in range(6)] for own in frame["labels"]])
    ranks = class_ranks(frame["scores"].tolist(), frame["prediction"])
    ranks[row] = 7
    expected = 100 * average_precision_score(truth, -ranks, average="macro")
    assert after["map_class"].value == pytest.approx(expected)
    assert after["map_image"].n == before["map_image"].n
    assert after["map_image"].value < before["map_image"].value


def test_if_all_images_failed_the_precisions_are_those_of_no_ranking() -> None:
    frame = several(4)
    nothing = with_failures(frame, [0, 1, 2, 3]).assign(
        scores=None,
        prediction=None,
        average_precision=0.0,
    )
    metrics = by_name(classification_metrics(nothing))
    assert metrics["map_image"].value == 0
    assert 0 < metrics["map_class"].value <= 100


# Cantelli's bound on the margin.


def test_it_is_equation_14() -> None:
    mean, variance, trials = 0.02, 0.003, 20
    rho = variance / mean**2
    assert float(cantelli_bound(mean, variance, trials)) == pytest.approx(rho / (rho + trials))


@pytest.mark.parametrize("mean", [0.0, -0.1])
def test_without_a_positive_margin_it_promises_nothing(mean: float) -> None:
    assert cantelli_bound(mean, 0.5, 20) == 1
    assert cantelli_bound(mean, 0.0, 20) == 1


@pytest.mark.parametrize("trials", [1, 5])
def test_it_bounds_the_frequency_of_a_non_positive_mean(trials: int) -> None:
    draws = np.random.default_rng(0).exponential(1.0, (20_000, trials)) - 0.6
    frequency = (draws.mean(axis=1) <= 0).mean()
    assert 0 < frequency <= float(cantelli_bound(0.4, 1.0, trials))


def test_the_extremal_distribution_reaches_it() -> None:
    """Two values, the lower one exactly 0: Cantelli's inequality is an equality."""
    lower_share, upper = 0.2, 1.0
    mean = (1 - lower_share) * upper
    variance = lower_share * (1 - lower_share) * upper**2
    assert float(cantelli_bound(mean, variance, 1)) == pytest.approx(lower_share)


def test_the_interval_of_the_ratio_is_that_of_the_delta_method() -> None:
    """The same standard error from gradient and covariance."""
    draw = np.random.default_rng(0)
    mu, var = draw.normal(0.2, 0.05, 400), draw.gamma(4.0, 0.01, 400)
    rho, low, high = margin_ratio(mu, var)
    m, v = mu.mean(), var.mean()
    assert rho == pytest.approx(v / m**2)
    gradient = np.array([-2 * v / m**3, 1 / m**2])
    error = np.sqrt(gradient @ np.cov(mu, var) @ gradient / len(mu))
    assert high - low == pytest.approx(2 * 1.965927 * error, rel=1e-5)
    assert (low + high) / 2 == pytest.approx(rho)


def test_the_interval_of_the_ratio_covers_the_truth() -> None:
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        _, low, high = margin_ratio(draw.normal(0.2, 0.05, 100), draw.gamma(4.0, 0.01, 100))
        hits += low <= 0.04 / 0.2**2 <= high
    assert 0.92 <= hits / 400 <= 0.98
