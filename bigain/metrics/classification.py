"""Metrics of a classification run: accuracy, error of the true class, margins.

Accuracy is what users want.  It resolves little, because errors common to all classes cancel in the
argmin.  The noise-prediction error of the true class does move: every
operator sees the same (image, t, eps), so its rise over the baseline is paired (protocol 1).

Images with any number of labels (COCO): a prediction is correct if it is one of them, and two
average precisions are added (`bigain.metrics.ranking`).

An image without a label counts as wrong in acc1 and as 0 in map_image, as in the paper's released
code.  An unreadable image counts as wrong in acc1 and as ranked last in the precisions; errors and
margins are means over the other images.  `failed_images` counts them.

Margins (Appendix A): D_s = l(x, c'; s) - l(x, c*; s), the loss of a distractor c' minus that of the
true class c*, has mean mu and variance sigma^2 over S independent trials.  If mu > 0, the
probability that c' still wins is at most

    rho / (rho + S),   rho = sigma^2 / mu^2     (Cantelli's inequality, Eq. 14).
"""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bigain.errors import UserError
from bigain.metrics.intervals import Metric, mean_interval, relative_rise
from bigain.metrics.ranking import class_ranks, mean_class_precision

__all__ = [
    "cantelli_bound",
    "classification_metrics",
    "image_errors",
    "image_precisions",
    "margin_ratio",
]


def classification_metrics(
    samples: pd.DataFrame, baseline: pd.DataFrame | None = None
) -> list[Metric]:
    """acc1, eps_error, eps_error_rise, margin_mean, margin_variance, in this order.

    In a race there are no errors and margins (`bigain.tasks.racing`): acc1, evaluations,
    race_spent, if its rule has a model, and race_agreement, if images were audited.  With several
    labels per image, map_image and map_class follow acc1 (the latter only if `samples` has the
    scores of all classes); if images failed, failed_images comes last.

    Args:
        samples: One row per image: image_id, correct, true_errors, margin_mean, margin_variance;
            with several labels also labels and average_precision, and scores and prediction for
            map_class; failure, if there is one; of a race evaluations, spent, and if images were
            audited prediction and full_prediction.
        baseline: The same images without an operator, possibly more of them.  There is no
            eps_error_rise without a baseline or if it lacks an image.

    Raises:
        UserError: No images.

    """
    if samples.empty:
        raise UserError("samples: has no images, so there is nothing to measure")
    accuracy = Metric.of_share("acc1", int(samples["correct"].sum()), len(samples))
    decisions = [accuracy, *_precisions(samples)]
    if "evaluations" in samples:
        return [*decisions, *_of_race(samples), *_failures(samples)]
    errors = image_errors(samples)
    metrics = [*decisions, Metric.of_mean("eps_error", errors, "error")]
    if baseline is not None and samples["image_id"].isin(baseline["image_id"]).all():
        metrics += _rise(errors, image_errors(baseline))
    # A single trial has no variance, so NaN is left out here; a NaN error is a fault and stays in
    # eps_error.
    return [
        *metrics,
        Metric.of_mean("margin_mean", samples["margin_mean"].dropna(), "error"),
        Metric.of_mean("margin_variance", samples["margin_variance"].dropna(), "error^2"),
        *_failures(samples),
    ]


def image_errors(samples: pd.DataFrame) -> "pd.Series[float]":
    """Error of the true class by image id: mean of `true_errors` over the first-stage timesteps.

    `true_errors` are lists, or JSON texts of lists as in samples.csv; with several true classes
    they are means over these.  Images without a true class and unreadable images are left out.
    """
    errors = samples.set_index("image_id")["true_errors"]
    means = {i: float(np.mean(_numbers(own))) for i, own in errors.items() if _is_measured(own)}
    index = pd.Index(list(means), dtype=errors.index.dtype, name="image_id")
    return pd.Series(list(means.values()), index=index, dtype=np.float64, name="eps_error")


def image_precisions(samples: pd.DataFrame) -> "pd.Series[float]":
    """Average precision of every image by image id, a fraction; 0 for an image without a class.

    Older records have NaN there.
    """
    return samples.set_index("image_id")["average_precision"].astype(np.float64).fillna(0.0)


def cantelli_bound(mean: ArrayLike, variance: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """Upper bound of P(mean of D over `trials` trials <= 0), elementwise, in [0, 1].

    Args:
        mean: mu, any shape; the bound is 1 where mu is not positive.
        variance: sigma^2 >= 0 of one trial, broadcastable.
        trials: S >= 1, broadcastable.

    """
    mu, var = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    squared = np.asarray(trials, np.float64) * mu**2
    with np.errstate(invalid="ignore", divide="ignore"):
        bound = var / (var + squared)
    return np.where(mu > 0, bound, np.where(np.isnan(mu), np.nan, 1.0))


def margin_ratio(means: ArrayLike, variances: ArrayLike) -> tuple[float, float, float]:
    """Rho of all images, mean of sigma^2 over squared mean of mu, with its 95 % interval.

    With v = mean of sigma^2 and m = mean of mu, the delta method gives image i the influence
    (sigma_i^2 - v) / m^2 - 2 v (mu_i - m) / m^3.

    Args:
        means: mu of each image, shape (n,), n >= 1, no NaN.
        variances: sigma^2 of each image, shape (n,).

    """
    mu, var = np.asarray(means, np.float64), np.asarray(variances, np.float64)
    m, v = mu.mean(), var.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = v / m**2
        influence = (var - v) / m**2 - 2 * v * (mu - m) / m**3
    low, high = mean_interval(ratio + influence)
    return float(ratio), low, high


def _precisions(samples: pd.DataFrame) -> list[Metric]:
    """map_image, and map_class if all scores are there; none with one label per image."""
    if "average_precision" not in samples:
        return []
    image = Metric.of_mean("map_image", 100 * image_precisions(samples), "percent")
    if not {"scores", "labels", "prediction"} <= set(samples):
        return [image]
    ranks, truth = _ranks_and_truth(samples)
    value, low, high = (100 * each for each in mean_class_precision(ranks, truth))
    return [image, Metric("map_class", value, len(samples), low, high, "percent")]


def _ranks_and_truth(samples: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rank of every class in every image, and whether it is true there, both (n, C)."""
    read = np.array([_is_measured(scores) for scores in samples["scores"]])
    scores = np.array([_numbers(own) for own in samples["scores"][read]])
    labels = [json.loads(own) if isinstance(own, str) else own for own in samples["labels"]]
    classes = scores.shape[1] if read.any() else 1 + max(max(own, default=0) for own in labels)
    ranks = np.full((len(samples), classes), classes + 1)
    truth = np.zeros((len(samples), classes), np.bool_)
    if read.any():
        ranks[read] = class_ranks(scores, samples["prediction"][read])
    for row, own in enumerate(labels):
        truth[row, own] = True
    return ranks, truth


def _of_race(samples: pd.DataFrame) -> list[Metric]:
    """What the race took and what it may cost, over the images that could be read.

    `agreement` is the share of the audited images that the full grid decides alike.
    """
    read = samples.dropna(subset=["evaluations"])
    metrics = [Metric.of_mean("evaluations", read["evaluations"], "evaluations")]
    if read["spent"].notna().any():
        metrics.append(Metric.of_mean("race_spent", 100 * read["spent"], "percent"))
    if "full_prediction" not in read:
        return metrics
    audited = read.dropna(subset=["full_prediction"])
    agree = int((audited["prediction"] == audited["full_prediction"]).sum())
    return [*metrics, Metric.of_share("race_agreement", agree, len(audited))]


def _failures(samples: pd.DataFrame) -> list[Metric]:
    failed = int(samples["failure"].notna().sum()) if "failure" in samples else 0
    return [Metric.exact("failed_images", failed, "images", len(samples))] if failed else []


def _rise(errors: "pd.Series[float]", baseline: "pd.Series[float]") -> list[Metric]:
    if not errors.index.isin(baseline.index).any():
        return []
    rise = relative_rise(errors, baseline)
    value, low, high = 100 * rise.mean, 100 * rise.ci_low, 100 * rise.ci_high
    return [Metric("eps_error_rise", value, rise.n, low, high, "percent")]


def _is_measured(numbers: object) -> bool:
    """Whether a cell is a non-empty list of numbers; cells of unreadable images are not."""
    return isinstance(numbers, str | list) and len(numbers) > 0 and numbers != "[]"


def _numbers(errors: str | Sequence[float]) -> NDArray[np.float64]:
    return np.array(json.loads(errors) if isinstance(errors, str) else errors, np.float64)
