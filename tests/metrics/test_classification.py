"""The metrics of a classification run, computed by hand on few images."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from bigain.errors import UserError
from bigain.metrics.classification import Metric, classification_metrics, image_errors
from bigain.metrics.intervals import mean_interval, wilson
from bigain.metrics.paired import relative_rise
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


def test_a_run_without_failures_does_not_speak_of_them() -> None:
    failed = with_failures(samples(4), [])
    assert classification_metrics(failed) == classification_metrics(samples(4))


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


def test_several_labels_have_two_precisions_after_the_accuracy() -> None:
    names = [metric.metric for metric in classification_metrics(several(), several())]
    assert names == [
        *("acc1", "map_image", "map_class", "eps_error", "eps_error_rise"),
        *("margin_mean", "margin_variance"),
    ]


def test_the_precisions_are_scikit_learns() -> None:
    frame = several()
    metrics = by_name(classification_metrics(frame))
    truth = np.array([[c in own for c in range(6)] for own in frame["labels"]])
    ranks = class_ranks(frame["scores"].tolist(), frame["prediction"])
    have = truth.any(axis=1)
    image = 100 * label_ranking_average_precision_score(truth[have], -ranks[have])
    assert metrics["map_image"].value == pytest.approx(image)
    assert metrics["map_image"].n == have.sum() < len(frame)
    by_class = 100 * average_precision_score(truth, -ranks, average="macro")
    assert metrics["map_class"].value == pytest.approx(by_class)
    assert metrics["map_class"].n == len(frame)


def test_the_interval_of_the_mean_over_images_is_students() -> None:
    frame = several()
    metric = by_name(classification_metrics(frame))["map_image"]
    expected = mean_interval(100 * frame["average_precision"].dropna())
    assert (metric.ci_low, metric.ci_high) == pytest.approx(expected)


def test_images_without_a_label_count_as_wrong_and_have_no_error() -> None:
    frame = several()
    bare = [not own for own in frame["labels"]]
    assert any(bare)
    assert not frame["correct"][bare].any()
    metrics = by_name(classification_metrics(frame))
    assert metrics["acc1"].n == len(frame)
    assert metrics["eps_error"].n == len(frame) - sum(bare)
    assert metrics["eps_error"].value == pytest.approx(0.15)


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
        average_precision=[0.0 if own else np.nan for own in frame["labels"]],
    )
    metrics = by_name(classification_metrics(nothing))
    assert metrics["map_image"].value == 0
    assert 0 < metrics["map_class"].value <= 100
