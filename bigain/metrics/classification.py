"""What a classification run is worth: accuracy, error of the true class, margins.

Accuracy is what users want; on small backbones it hardly moves, because errors common to all
classes cancel in the argmin.  The noise-prediction error of the true class does move: every
operator sees the same (image, t, eps), so its rise over no acceleration is paired (protocol 1).

Where images have any number of classes (COCO), a prediction counts if it is one of them, and two
average precisions join (`bigain.metrics.ranking`).

An image that could not be read stays in acc1 as wrong, and in the precisions as ranked last; errors
and margins, which it does not have, are means over the others.  `failed_images` counts them.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bigain.errors import UserError
from bigain.metrics.intervals import mean_interval, wilson
from bigain.metrics.paired import relative_rise
from bigain.metrics.ranking import class_ranks, mean_class_precision

__all__ = ["Metric", "classification_metrics", "image_errors"]


@dataclass(frozen=True)
class Metric:
    """One number of a run, as in metrics.csv.

    Attributes:
        metric: Its id (contract C2).
        value: In `unit`.
        n: Number of images behind it.
        ci_low: Lower end of the 95 % interval, NaN if there is none.
        ci_high: Upper end.
        unit: `percent`, `error` (of the task's loss), `error^2`, `ratio`, `images`, `feature^2`
            (Frechet distances), `mmd^2` (KID) or `share` (in [0, 1]).

    """

    metric: str
    value: float
    n: int
    ci_low: float
    ci_high: float
    unit: str


def classification_metrics(
    samples: pd.DataFrame, baseline: pd.DataFrame | None = None
) -> list[Metric]:
    """acc1, eps_error, eps_error_rise, margin_mean, margin_variance, in this order.

    With several labels per image map_image and map_class follow acc1 (the latter only if `samples`
    has the scores of all classes); if images failed, failed_images comes last.

    Args:
        samples: One row per image: image_id, correct, true_errors, margin_mean, margin_variance;
            with several labels also labels and average_precision, and scores and prediction for
            map_class; failure, if there is one.
        baseline: The same images without acceleration, possibly more of them; without it, or if it
            lacks an image, there is no eps_error_rise.

    Raises:
        UserError: No images.

    """
    if samples.empty:
        raise UserError("samples: has no images, so there is nothing to measure")
    errors = image_errors(samples)
    metrics = [_accuracy(samples), *_precisions(samples), _mean("eps_error", errors, "error")]
    if baseline is not None and samples["image_id"].isin(baseline["image_id"]).all():
        metrics += _rise(errors, image_errors(baseline))
    # The variance of a single trial does not exist; an error that does not exist is a fault, so
    # NaN there shows up in eps_error.
    return [
        *metrics,
        _mean("margin_mean", samples["margin_mean"].dropna(), "error"),
        _mean("margin_variance", samples["margin_variance"].dropna(), "error^2"),
        *_failures(samples),
    ]


def image_errors(samples: pd.DataFrame) -> "pd.Series[float]":
    """Error of the true class by image id: mean of `true_errors` over the first-stage timesteps.

    `true_errors` are lists, or JSON texts of lists as in samples.csv; of several true classes the
    mean.  Images without a true class, and those that could not be read, are left out.
    """
    errors = samples.set_index("image_id")["true_errors"]
    means = {i: float(np.mean(_numbers(own))) for i, own in errors.items() if _is_measured(own)}
    index = pd.Index(list(means), dtype=errors.index.dtype, name="image_id")
    return pd.Series(list(means.values()), index=index, dtype=np.float64, name="eps_error")


def _accuracy(samples: pd.DataFrame) -> Metric:
    successes, n = int(samples["correct"].sum()), len(samples)
    low, high = wilson(successes, n)
    value = 100 * successes / n
    return Metric("acc1", value, n, 100 * low, 100 * high, "percent")


def _precisions(samples: pd.DataFrame) -> list[Metric]:
    """map_image, and map_class if all scores are there; none with one label per image."""
    if "average_precision" not in samples:
        return []
    image = _mean("map_image", 100 * samples["average_precision"].dropna(), "percent")
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


def _failures(samples: pd.DataFrame) -> list[Metric]:
    failed = int(samples["failure"].notna().sum()) if "failure" in samples else 0
    whole = (len(samples), math.nan, math.nan, "images")
    return [Metric("failed_images", failed, *whole)] if failed else []


def _rise(errors: "pd.Series[float]", baseline: "pd.Series[float]") -> list[Metric]:
    if not errors.index.isin(baseline.index).any():
        return []
    rise = relative_rise(errors, baseline)
    value, low, high = 100 * rise.mean, 100 * rise.ci_low, 100 * rise.ci_high
    return [Metric("eps_error_rise", value, rise.n, low, high, "percent")]


def _mean(name: str, column: "pd.Series[float]", unit: str) -> Metric:
    values = np.asarray(column, np.float64)
    value = float(values.mean()) if len(values) else math.nan
    low, high = mean_interval(values)
    return Metric(name, value, len(values), low, high, unit)


def _is_measured(numbers: object) -> bool:
    """Whether a cell holds a list of numbers: not one of an image that was not read, nor empty."""
    return isinstance(numbers, str | list) and len(numbers) > 0 and numbers != "[]"


def _numbers(errors: str | Sequence[float]) -> NDArray[np.float64]:
    return np.array(json.loads(errors) if isinstance(errors, str) else errors, np.float64)
