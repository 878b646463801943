"""95 % intervals: of a share, of a mean, and of the difference of two runs over the same images.

Share: Wilson's interval contains the shares p with |k/n - p| <= z sqrt(p (1 - p) / n).  It stays
inside [0, 1] and has a width at k = 0 and k = n, unlike k/n -+ z sqrt(k (n - k) / n^3).

Mean: Student's t, mean -+ t(n-1) s / sqrt(n).

Paired comparisons use the differences d_i = a_i - b_i of the images in both runs.  What an image
adds to both runs cancels, so they separate operators whose own intervals overlap.

* Difference of means: the mean of d with Student's interval.
* Relative rise: r = mean(a) / mean(b) - 1.  By the delta method its standard error is that of the
  mean of d_i - r b_i, divided by mean(b).
* Difference of accuracies: g images are right in a only, l in b only.  p is the exact McNemar test:
  without a difference, g is binomial(g + l, 1/2).  The interval is Agresti and Min's, the textbook
  interval after adding half an image to each cell of the 2 x 2 table,

      (g - l)/(n + 2) -+ z sqrt(g + l + 1 - (g - l)^2/(n + 2)) / (n + 2),

  which has a width even when g = l = 0.
* Bootstrap: images are drawn with replacement.  The interval is given by the percentiles of the
  mean of d; p is twice the smaller share of draws on either side of zero.

Of m p values that are looked at together, some are small by chance.  Holm's step-down correction
multiplies the smallest by m, the next by m - 1, and so on, and lets none fall below one before it;
the chance of any false finding at level 0.05 then stays below 0.05, whatever depends on what.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bigain.errors import UserError

__all__ = [
    "CONFIDENCE",
    "NORMAL_QUANTILE",
    "Metric",
    "PairedResult",
    "highest_share",
    "holm",
    "mean_interval",
    "paired_accuracy",
    "paired_bootstrap",
    "paired_difference",
    "relative_rise",
    "t_quantile",
    "wilson",
]

CONFIDENCE = 0.95
NORMAL_QUANTILE = float(special.ndtri(0.5 + CONFIDENCE / 2))
"""z = 1.96 of a two-sided 95 % interval."""

_DRAWS = 10_000
_DRAWS_AT_ONCE = 250

FloatArray = NDArray[np.float64]
Values: TypeAlias = "pd.Series[Any]"
"""One value per image, indexed by image id."""


@dataclass(frozen=True)
class Metric:
    """One number of a run, as in metrics.csv.

    Attributes:
        metric: Its id (contract C2).
        value: In `unit`.
        n: Number of images behind it.
        ci_low: Lower end of the 95 % interval, NaN if there is none.
        ci_high: Upper end.
        unit: `percent`, `error` (of the task's loss), `error^2`, `ratio`, `images`,
            `evaluations`, `feature^2` (Frechet distances), `mmd^2` (KID) or `share` (in [0, 1]).

    """

    metric: str
    value: float
    n: int
    ci_low: float
    ci_high: float
    unit: str

    @property
    def is_known(self) -> bool:
        """Whether there is a number."""
        return self.n > 0 and not math.isnan(self.value)

    @classmethod
    def of_mean(cls, metric: str, values: ArrayLike, unit: str) -> "Metric":
        """Mean of values, shape (n,), with Student's interval; NaN if there are none."""
        array = np.asarray(values, np.float64)
        value = float(array.mean()) if len(array) else math.nan
        return cls(metric, value, len(array), *mean_interval(array), unit)

    @classmethod
    def of_share(cls, metric: str, successes: int, n: int, unit: str = "percent") -> "Metric":
        """`successes` of `n` images with Wilson's interval, in `percent` or as a `share`."""
        scale = 100 if unit == "percent" else 1
        low, high = wilson(successes, n)
        return cls(metric, scale * successes / n, n, scale * low, scale * high, unit)

    @classmethod
    def exact(cls, metric: str, value: float, unit: str, n: int = 1) -> "Metric":
        """A number without an interval, such as a count."""
        return cls(metric, value, n, math.nan, math.nan, unit)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Interval of a share, in [0, 1], of which `successes` of `n` were seen.

    Raises:
        ValueError: Not 0 <= successes <= n, or n = 0.

    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes={successes}, n={n}: needs n >= 1 and 0 <= successes <= n")
    share, z2 = successes / n, NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    spread = share * (1 - share) / n + z2 / (4 * n * n)
    half = NORMAL_QUANTILE * math.sqrt(spread) / (1 + z2 / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def highest_share(successes: int, n: int) -> float:
    """The one-sided 95 % Clopper-Pearson upper bound of a share, in [0, 1].

    Raises:
        ValueError: Not 0 <= successes <= n, or n = 0.

    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes={successes}, n={n}: needs n >= 1 and 0 <= successes <= n")
    if successes == n:
        return 1.0
    return float(special.betaincinv(successes + 1, n - successes, CONFIDENCE))


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """Interval of the mean of independent values, shape (n,); NaN for fewer than two."""
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        return math.nan, math.nan
    half = t_quantile(len(array)) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return float(array.mean()) - half, float(array.mean()) + half


def t_quantile(n: int) -> float:
    """Half width, in standard errors, of the interval of a mean of `n` >= 2 values."""
    return float(special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2))


@dataclass(frozen=True)
class PairedResult:
    """An estimate over paired images.

    Attributes:
        mean: The estimate in the unit of the values; shares and relative rises as fractions.
        ci_low: Lower end of the 95 % interval; NaN for a single image.
        ci_high: Upper end.
        z: The estimate over its standard error; infinite if all images agree on a non-zero value.
        p: Two-sided p value of no difference.
        n: Number of images in both runs.

    """

    mean: float
    ci_low: float
    ci_high: float
    z: float
    p: float
    n: int


def paired_difference(a: Values, b: Values) -> PairedResult:
    """Mean of a - b over the images in both; of booleans, see `paired_accuracy`.

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

    Raises:
        UserError: No image in common, or the baseline's mean error is not positive.
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
    """Accuracy of a minus accuracy of b (booleans) over the images in both, McNemar's exact p.

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
    z = _ratio(mean, float(means.std(ddof=1)))
    return PairedResult(mean, float(low), float(high), z, min(1.0, max(2 * share, 1 / _DRAWS)), n)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of a family with Holm's correction, each at its place; NaN stays NaN."""
    p = np.array(p_values, np.float64)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]  # NaN are last, and are no member
    raised = np.minimum(p[order] * np.arange(len(order), 0, -1), 1)
    p[order] = np.maximum.accumulate(raised)
    return [float(each) for each in p]


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
