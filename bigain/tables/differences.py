"""The difference of two runs of a table, image by image, in units that tables print."""

import math
from dataclasses import dataclass

import pandas as pd

from bigain.metrics import (
    Metric,
    PairedResult,
    image_errors,
    image_precisions,
    paired_accuracy,
    paired_bootstrap,
    paired_difference,
    relative_rise,
)

__all__ = [
    "Difference",
    "accuracy_difference",
    "paired_differences",
    "plain_difference",
    "points",
    "scaled",
]


@dataclass(frozen=True)
class Difference:
    """First minus second.

    Attributes:
        metric: The difference as a number with its interval.
        p: Two-sided p value of no difference; NaN where nothing pairs the two.

    """

    metric: Metric
    p: float = math.nan


def paired_differences(
    work: str, row: pd.DataFrame, versus: pd.DataFrame, none: pd.DataFrame | None
) -> dict[str, Difference]:
    """`row` minus `versus` by metric id, as far as their records pair them.

    Classification: acc1 (McNemar) and with several labels map_image (bootstrap), in points, and
    with the baseline `none` the rise of the error.  Generation: the Frechet distance under both its
    names, and class_agreement in points.
    """
    if work == "classification":
        return _of_classification(row, versus, none)
    if work == "generation":
        return _of_generation(row, versus)
    return {}


def accuracy_difference(name: str, a: pd.DataFrame, b: pd.DataFrame) -> Difference:
    """Share of correct images of `a` minus that of `b`, in points."""
    return points(name, paired_accuracy(*(f.set_index("image_id")["correct"] for f in (a, b))))


def plain_difference(name: str, row: Metric, versus: Metric) -> Difference:
    """Of two numbers that nothing pairs: no interval."""
    value = row.value - versus.value
    return Difference(
        Metric(name, value, min(row.n, versus.n), math.nan, math.nan, _difference_unit(row.unit))
    )


def _of_classification(
    row: pd.DataFrame, versus: pd.DataFrame, none: pd.DataFrame | None
) -> dict[str, Difference]:
    found = {"acc1": accuracy_difference("acc1", row, versus)}
    if "average_precision" in row and "average_precision" in versus:
        precisions = paired_bootstrap(image_precisions(row), image_precisions(versus))
        found["map_image"] = points("map_image", precisions)
    if none is not None:
        base = image_errors(none)
        shifted = base + image_errors(row) - image_errors(versus)
        found["eps_error_rise"] = points("eps_error_rise", relative_rise(shifted, base))
    return found


def _of_generation(row: pd.DataFrame, versus: pd.DataFrame) -> dict[str, Difference]:
    if len(row) != len(versus):
        return {}
    values = (frame.set_index("image_id")["frechet_value"] for frame in (row, versus))
    distance = paired_difference(*values)
    found = {
        name: Difference(scaled(name, distance, 1.0, "feature^2"), distance.p)
        for name in ("fid", "frechet_mini")
    }
    if "correct" in row and "correct" in versus:
        found["class_agreement"] = accuracy_difference("class_agreement", row, versus)
    return found


def points(name: str, result: PairedResult) -> Difference:
    """A difference of shares, in points."""
    return Difference(scaled(name, result, 100.0, "points"), result.p)


def scaled(name: str, result: PairedResult, scale: float, unit: str) -> Metric:
    """`scale` times a paired result."""
    value, low, high = (scale * each for each in (result.mean, result.ci_low, result.ci_high))
    return Metric(name, value, result.n, low, high, unit)


def _difference_unit(unit: str) -> str:
    return "points" if unit == "percent" else unit
