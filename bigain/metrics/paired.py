"""Paired comparisons of two runs over the same images.

What all runs share, easy images and hard ones, cancels in the difference d_i = a_i - b_i of image
i; so paired comparisons separate operators whose own intervals overlap.

Means: mean d has standard error s/sqrt(n) and the interval mean d -+ t(n-1) s/sqrt(n).

Relative rise: r = mean(a)/mean(b) - 1 has, by the delta method, the standard error of the mean of
d_i - r b_i, divided by mean(b).

Accuracies: of n images g were right under a only, l under b only.  Given g + l, without a
difference g is binomial(g + l, 1/2): the exact McNemar test.  The interval of (g - l)/n is Agresti
and Min's: the textbook interval after half an image is added to each cell of the 2 x 2 table,

    (g - l)/(n + 2) -+ z sqrt(g + l + 1 - (g - l)^2/(n + 2)) / (n + 2),

which unlike that one has a width when no image changed sides.

Bootstrap: the images are drawn anew, with replacement; the percentiles of the mean of d over the
draws are the interval, and p is twice the smaller share of draws on either side of zero.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from bigain.errors import UserError
from bigain.metrics.intervals import NORMAL_QUANTILE, mean_interval

__all__ = [
    "PairedResult",
    "paired_accuracy",
    "paired_bootstrap",
    "paired_difference",
    "relative_rise",
]

_DRAWS = 10_000
_DRAWS_AT_ONCE = 250

FloatArray = NDArray[np.float64]
Values: TypeAlias = "pd.Series[Any]"
"""One value per image, indexed by image id."""


@dataclass(frozen=True)
class PairedResult:
    """An estimate over paired images.

    Attributes:
        mean: The estimate in the unit of the values; shares and relative rises as fractions.
        ci_low: Lower end of the 95 % interval; NaN where one image cannot give an interval.
        ci_high: Upper end.
        z: The estimate over its standard error; infinite if all images agree on a non-zero value.
        p: Two-sided p value of no difference.
        n: Number of images in both.

    """

    mean: float
    ci_low: float
    ci_high: float
    z: float
    p: float
    n: int


def paired_difference(a: Values, b: Values) -> PairedResult:
    """Mean of a - b over the images in both; of booleans, see `paired_accuracy`.

    Args:
        a: Value by image id.
        b: Value by image id.

    Raises:
        UserError: No image in common.
        ValueError: An image id comes twice.

    """
    if a.dtype == np.bool_ and b.dtype == np.bool_:
        return paired_accuracy(a, b)
    left, right = _aligned(a, b)
    return _mean(left - right)


def relative_rise(errors: Values, baseline: Values) -> PairedResult:
    """mean(errors)/mean(baseline) - 1 over the images in both; 0.1 is a rise by 10 %.

    Args:
        errors: Error by image id.
        baseline: Error of the reference, such as no acceleration, by image id.

    Raises:
        UserError: No image in common, or the reference has no error to rise from.
        ValueError: An image id comes twice.

    """
    left, right = _aligned(errors, baseline)
    level = float(right.mean())
    if level <= 0:
        raise UserError(f"baseline={level}: its mean error must be > 0 for a relative rise")
    rise = float(left.mean()) / level - 1
    residuals = (left - right - rise * right) / level  # of mean 0
    return _mean(rise + residuals)


def paired_accuracy(a: Values, b: Values) -> PairedResult:
    """Accuracy of a minus accuracy of b over the images in both, with the exact McNemar p.

    Args:
        a: Correct or not by image id.
        b: Correct or not by image id.

    Raises:
        UserError: No image in common.
        ValueError: An image id comes twice.

    """
    left, right = _aligned(a, b)
    n = len(left)
    gains, losses = int(((left == 1) & (right == 0)).sum()), int(((left == 0) & (right == 1)).sum())
    net, moved = gains - losses, gains + losses
    half = NORMAL_QUANTILE * math.sqrt(moved + 1 - net**2 / (n + 2)) / (n + 2)
    return PairedResult(
        mean=net / n,
        ci_low=max(net / (n + 2) - half, -1.0),
        ci_high=min(net / (n + 2) + half, 1.0),
        z=_ratio(net, math.sqrt(moved)),
        p=min(1.0, 2 * float(special.bdtr(min(gains, losses), moved, 0.5))),
        n=n,
    )


def paired_bootstrap(a: Values, b: Values, seed: int = 0) -> PairedResult:
    """Mean of a - b over the images in both, its interval and p from 10,000 bootstrap draws.

    For values whose distribution is far from normal, such as average precisions.  The same seed
    gives the same result; p is at least 1/10,000, and 1 if no image differs.

    Raises:
        UserError: No image in common.
        ValueError: An image id comes twice.

    """
    left, right = _aligned(a, b)
    differences = left - right
    n, mean = len(differences), float(differences.mean())
    generator = np.random.default_rng(seed)
    sizes = [_DRAWS_AT_ONCE] * (_DRAWS // _DRAWS_AT_ONCE)
    means = np.concatenate(
        [differences[generator.integers(0, n, (size, n))].mean(axis=1) for size in sizes]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    share = min(float((means <= 0).mean()), float((means >= 0).mean()))
    error = float(means.std(ddof=1))
    return PairedResult(
        mean, float(low), float(high), _ratio(mean, error), min(1.0, max(2 * share, 1 / _DRAWS)), n
    )


def _aligned(a: Values, b: Values) -> tuple[FloatArray, FloatArray]:
    """The values of the images in both, in the order of `a`."""
    if not (a.index.is_unique and b.index.is_unique):
        raise ValueError("an image id comes twice")
    common = a.index[a.index.isin(b.index)]
    if common.empty:
        raise UserError("the two runs have no image in common")
    return np.asarray(a.loc[common], np.float64), np.asarray(b.loc[common], np.float64)


def _mean(values: FloatArray) -> PairedResult:
    n, mean = len(values), float(values.mean())
    low, high = mean_interval(values)
    z = math.nan if n < 2 else _ratio(mean, float(values.std(ddof=1)) / math.sqrt(n))
    p = math.nan if n < 2 else 2 * float(special.stdtr(n - 1, -abs(z)))
    return PairedResult(mean, low, high, z, p, n)


def _ratio(estimate: float, error: float) -> float:
    if error > 0:
        return estimate / error
    return 0.0 if estimate == 0 else math.copysign(math.inf, estimate)
