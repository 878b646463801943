"""What a classification run is worth: accuracy, error of the true class, margins.

Accuracy is what users want; on small backbones it hardly moves, because errors common to all
classes cancel in the argmin.  The noise-prediction error of the true class does move: every
operator sees the same (image, t, eps), so its rise over no acceleration is paired (protocol 1).
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
        unit: `percent`, `error` (of the task's loss), `error^2`, `feature^2` (Frechet distances),
            `mmd^2` (KID) or `share` (in [0, 1]).

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

    Args:
        samples: One row per image: image_id, correct, true_errors, margin_mean, margin_variance.
        baseline: The same images without acceleration, possibly more of them; without it, or if it
            lacks an image, there is no eps_error_rise.

    Raises:
        UserError: No images.

    """
    if samples.empty:
        raise UserError("samples: has no images, so there is nothing to measure")
    metrics = [_accuracy(samples), _mean("eps_error", image_errors(samples), "error")]
    if baseline is not None and samples["image_id"].isin(baseline["image_id"]).all():
        metrics.append(_rise(samples, baseline))
    # The variance of a single trial does not exist; an error that does not exist is a fault, so
    # NaN there shows up in eps_error.
    return [
        *metrics,
        _mean("margin_mean", samples["margin_mean"].dropna(), "error"),
        _mean("margin_variance", samples["margin_variance"].dropna(), "error^2"),
    ]


def image_errors(samples: pd.DataFrame) -> "pd.Series[float]":
    """Error of the true class by image id: mean of `true_errors` over the first-stage timesteps.

    `true_errors` are lists, or JSON texts of lists as in samples.csv.
    """
    means = [float(np.mean(_numbers(errors))) for errors in samples["true_errors"]]
    return pd.Series(means, index=samples["image_id"], dtype=np.float64, name="eps_error")


def _accuracy(samples: pd.DataFrame) -> Metric:
    successes, n = int(samples["correct"].sum()), len(samples)
    low, high = wilson(successes, n)
    value = 100 * successes / n
    return Metric("acc1", value, n, 100 * low, 100 * high, "percent")


def _rise(samples: pd.DataFrame, baseline: pd.DataFrame) -> Metric:
    rise = relative_rise(image_errors(samples), image_errors(baseline))
    value, low, high = 100 * rise.mean, 100 * rise.ci_low, 100 * rise.ci_high
    return Metric("eps_error_rise", value, rise.n, low, high, "percent")


def _mean(name: str, column: "pd.Series[float]", unit: str) -> Metric:
    values = np.asarray(column, np.float64)
    value = float(values.mean()) if len(values) else math.nan
    low, high = mean_interval(values)
    return Metric(name, value, len(values), low, high, unit)


def _numbers(errors: str | Sequence[float]) -> NDArray[np.float64]:
    return np.array(json.loads(errors) if isinstance(errors, str) else errors, np.float64)
