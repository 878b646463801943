"""Kernel distance (KID): the unbiased squared maximum mean discrepancy of two sets of features.

With the kernel k(x, y) = (x'y/d + 1)^3 (Binkowski et al. 2018),

    MMD^2 = mean of k(x_i, x_j), i != j, + mean of k(y_i, y_j), i != j, - 2 mean of k(x_i, y_j),

whose expectation does not depend on the numbers of images, and which may be negative.  It is
usually averaged over random subsets of 1,000 images; all pairs at once have the same expectation
and the smallest variance, so they are taken here.  Its standard error is the jackknife over
disjoint random subsets: each is left out of both sides once.  The spread of overlapping subsets,
which others print, only tells how much their draw matters.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigain.errors import UserError
from bigain.metrics.intervals import t_quantile
from bigain.metrics.moments import check_features

__all__ = ["MOST_IMAGES", "KidResult", "kernel_distance"]

MOST_IMAGES = 10_000
"""Per side; of more, a seeded choice is taken: the pairs of 50,000 would take hours on a CPU."""
_FEWEST_IMAGES = 4

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class KidResult:
    """A kernel distance.

    Attributes:
        value: Squared MMD; its expectation is >= 0, itself may be below.
        error: Standard error of it.
        ci_low: Lower end of the 95 % interval.
        ci_high: Upper end.
        n: Number of images that were compared with the reference.
        subsets: Number of subsets that the error comes from.

    """

    value: float
    error: float
    ci_low: float
    ci_high: float
    n: int
    subsets: int


def kernel_distance(
    features: ArrayLike, reference: ArrayLike, subsets: int = 20, seed: int = 0
) -> KidResult:
    """Kernel distance of two sets of features, shapes (n, d) and (m, d).

    Args:
        features: Of the images to judge.
        reference: Of the images to compare with.
        subsets: That each side is cut into for the standard error, >= 3; fewer of fewer images.
        seed: Of the cut, and of the choice among more than `MOST_IMAGES`.

    Raises:
        UserError: Fewer than four images or three subsets, a feature that is not finite, or
            another d.

    """
    if subsets < 3:
        raise UserError(f"subsets={subsets}: allowed: 3 or more")
    generator = np.random.Generator(np.random.Philox(key=seed))
    x, y = (_shuffled(check_features(f), generator) for f in (features, reference))
    if x.shape[1] != y.shape[1]:
        raise UserError(
            f"features: {x.shape[1]} of one side and {y.shape[1]} of the other; allowed: both from "
            "the same extractor"
        )
    fewest = min(len(x), len(y))
    if fewest < _FEWEST_IMAGES:
        raise UserError(f"n={fewest}: KID needs at least {_FEWEST_IMAGES} images on each side")
    count = min(subsets, fewest)
    value, left_out = _all_and_left_out(x, y, count)
    error = math.sqrt((count - 1) / count * np.square(left_out - left_out.mean()).sum())
    half = t_quantile(count) * error
    return KidResult(value, error, value - half, value + half, len(x), count)


def _shuffled(rows: FloatArray, generator: np.random.Generator) -> FloatArray:
    return rows[generator.permutation(len(rows))[:MOST_IMAGES]]


def _all_and_left_out(x: FloatArray, y: FloatArray, count: int) -> tuple[float, FloatArray]:
    """Squared MMD of everything, and without each of `count` subsets of consecutive rows."""
    total, left_out = 0.0, np.zeros(count)
    for a, b, factor in ((x, x, 1.0), (y, y, 1.0), (x, y, -2.0)):
        sums, pairs = _between_subsets(a, b, count, distinct=a is b)
        total += factor * sums.sum() / pairs.sum()
        left_out += factor * _without_each(sums) / _without_each(pairs)
    return float(total), left_out


def _between_subsets(
    x: FloatArray, y: FloatArray, count: int, distinct: bool
) -> tuple[FloatArray, FloatArray]:
    """Sums of the kernel between subset g of x and h of y, and numbers of pairs, (count, count).

    With `distinct`, x is y, and an image with itself is no pair.
    """
    starts_x, starts_y = (np.arange(count) * len(rows) // count for rows in (x, y))
    sizes_x, sizes_y = (np.diff(s, append=len(r)) for s, r in ((starts_x, x), (starts_y, y)))
    sums = np.empty((count, count))
    for g, rows in enumerate(np.split(x, starts_x[1:])):
        kernel = (rows @ y.T / x.shape[1] + 1) ** 3
        sums[g] = np.add.reduceat(kernel.sum(axis=0), starts_y)
        if distinct:
            sums[g, g] -= ((np.square(rows).sum(axis=1) / x.shape[1] + 1) ** 3).sum()
    pairs = np.outer(sizes_x, sizes_y) - (np.diag(sizes_x) if distinct else 0)
    return sums, pairs.astype(np.float64)


def _without_each(table: FloatArray) -> FloatArray:
    """Sum of `table` (n, n) without row and column g, for each g."""
    rest: FloatArray = table.sum() - table.sum(axis=0) - table.sum(axis=1) + np.diag(table)
    return rest
