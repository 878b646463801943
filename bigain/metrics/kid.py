"""Kernel distance (KID): the unbiased squared maximum mean discrepancy of two sets of features.

With k(x, y) = (x'y/d + 1)^3 and m images on each side (Binkowski et al. 2018),

    MMD^2 = mean of k(x_i, x_j), i != j, + mean of k(y_i, y_j), i != j, - 2 mean of k(x_i, y_j),

whose expectation does not depend on m, and which may be negative.  KID is its mean over subsets of
m images.  Here the subsets are disjoint, so their values are independent and the standard error of
their mean is that of KID; the usual overlapping ones only tell how much the draw of subsets
matters.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigain.errors import UserError
from bigain.metrics.intervals import mean_interval
from bigain.metrics.moments import check_features

__all__ = ["KidResult", "kid", "squared_mmd"]

_LARGEST_SUBSET = 1000
_FEWEST_SUBSETS = 10


@dataclass(frozen=True)
class KidResult:
    """A kernel distance.

    Attributes:
        value: Mean over subsets; its expectation is >= 0, itself may be below.
        error: Standard error of it, NaN for one subset.
        ci_low: Lower end of the 95 % interval.
        ci_high: Upper end.
        n: Number of images on each side that entered.
        subsets: Number of subsets.

    """

    value: float
    error: float
    ci_low: float
    ci_high: float
    n: int
    subsets: int


def kid(
    features: ArrayLike, reference: ArrayLike, subset_size: int | None = None, seed: int = 0
) -> KidResult:
    """Kernel distance of two sets of features, shapes (n, d) and (m, d).

    Args:
        features: Of the images to judge.
        reference: Of the images to compare with.
        subset_size: Images per subset and side, >= 2; None takes 1,000, or what gives ten subsets.
        seed: Of the draw of subsets.

    Raises:
        UserError: Fewer images than a subset needs, a feature that is not finite, or another d.

    """
    left = check_features(features)
    right = check_features(reference)
    if left.shape[1] != right.shape[1]:
        raise UserError(
            f"features: {left.shape[1]} of one side and {right.shape[1]} of the other; allowed: "
            "both from the same extractor"
        )
    fewest = min(len(left), len(right))
    size = subset_size or max(2, min(_LARGEST_SUBSET, fewest // _FEWEST_SUBSETS))
    if not 2 <= size <= fewest:
        raise UserError(f"subset_size={size}: allowed: 2 to {fewest}, the number of images")
    generator = np.random.Generator(np.random.Philox(key=seed))
    pairs = zip(_subsets(left, size, generator), _subsets(right, size, generator), strict=False)
    values = np.array([squared_mmd(x, y) for x, y in pairs])
    low, high = mean_interval(values)
    error = math.nan if len(values) < 2 else float(values.std(ddof=1)) / math.sqrt(len(values))
    return KidResult(float(values.mean()), error, low, high, size * len(values), len(values))


def squared_mmd(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Unbiased squared MMD of x (n, d) and y (m, d) under the cubic kernel."""
    return (
        _mean_off_diagonal(_kernel(x, x))
        + _mean_off_diagonal(_kernel(y, y))
        - 2 * float(_kernel(x, y).mean())
    )


def _subsets(
    rows: NDArray[np.float64], size: int, generator: np.random.Generator
) -> list[NDArray[np.float64]]:
    order = generator.permutation(len(rows))
    return [rows[order[i : i + size]] for i in range(0, len(rows) - size + 1, size)]


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _mean_off_diagonal(kernel: NDArray[np.float64]) -> float:
    n = len(kernel)
    return float(kernel.sum() - np.trace(kernel)) / (n * (n - 1))
