"""Two sets of features compared without a normal distribution: KID, precision and recall.

Kernel distance (KID, Binkowski et al. 2018): the unbiased squared maximum mean discrepancy with the
kernel k(x, y) = (x'y/d + 1)^3,

    MMD^2 = mean of k(x_i, x_j), i != j, + mean of k(y_i, y_j), i != j, - 2 mean of k(x_i, y_j).

Its expectation does not depend on the numbers of images; the value may be negative.  Others average
it over random subsets of 1,000 images.  All pairs at once have the same expectation and the
smallest variance, so they are taken here.  The standard error is the jackknife over disjoint random
subsets, each left out of both sides once.  (The spread of overlapping subsets, which others print,
only shows how much their draw matters.)

Precision and recall (Kynkaanniemi et al. 2019): a set of features is represented by a ball around
each of them that reaches to its k-th nearest neighbour in the set.  Precision is the share of
generated images inside the balls of the real set, recall the share of real images inside the balls
of the generated set.  Both depend on the numbers of images: compare them at equal n.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigain.errors import UserError
from bigain.metrics.intervals import t_quantile
from bigain.metrics.moments import check_features, check_same_dimension

__all__ = ["MOST_IMAGES", "NEIGHBOURS", "KidResult", "kernel_distance", "precision_recall"]

MOST_IMAGES = 10_000
"""Per side; a seeded choice is taken of more, since pairs of 50,000 take hours on a CPU."""

NEIGHBOURS = 3
"""k of precision and recall."""

_FEWEST_IMAGES = 4
_BLOCK = 1024

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class KidResult:
    """A kernel distance.

    Attributes:
        value: Squared MMD; its expectation is >= 0, the value may be negative.
        error: Its standard error.
        ci_low: Lower end of the 95 % interval.
        ci_high: Upper end.
        n: Number of images that were compared with the reference.
        subsets: Number of subsets that the error is computed from.

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
        features: Features of the generated images.
        reference: Features of the real images.
        subsets: Subsets of each side for the standard error, >= 3; at most one per image.
        seed: Seed of the subsets, and of the choice among more than `MOST_IMAGES`.

    Raises:
        UserError: Fewer than four images or three subsets, a feature that is not finite, or
            another d.

    """
    if subsets < 3:
        raise UserError(f"subsets={subsets}: allowed: 3 or more")
    generator = np.random.Generator(np.random.Philox(key=seed))
    x, y = (_shuffled(check_features(f), generator) for f in (features, reference))
    check_same_dimension(x.shape[1], y.shape[1])
    fewest = min(len(x), len(y))
    if fewest < _FEWEST_IMAGES:
        raise UserError(f"n={fewest}: KID needs at least {_FEWEST_IMAGES} images on each side")
    count = min(subsets, fewest)
    value, left_out = _all_and_left_out(x, y, count)
    error = math.sqrt((count - 1) / count * np.square(left_out - left_out.mean()).sum())
    half = t_quantile(count) * error
    return KidResult(value, error, value - half, value + half, len(x), count)


def precision_recall(
    features: ArrayLike, reference: ArrayLike, neighbours: int = NEIGHBOURS
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which generated images are inside the real set, and which real ones inside the generated.

    Args:
        features: Features of the generated images, shape (n, d).
        reference: Features of the real images, shape (m, d).
        neighbours: k >= 1.

    Returns:
        Shapes (n,) and (m,); their means are precision and recall.

    Raises:
        UserError: k images or fewer on a side, a feature that is not finite, or another d.

    """
    generated, real = check_features(features), check_features(reference)
    check_same_dimension(generated.shape[1], real.shape[1])
    fewest = min(len(generated), len(real))
    if fewest <= neighbours:
        raise UserError(
            f"n={fewest}: precision and recall with {neighbours} neighbours need at least "
            f"{neighbours + 1} images on each side"
        )
    # Distances are computed from squared lengths, which cancel less near the origin.
    centre = real.mean(axis=0)
    generated, real = generated - centre, real - centre
    return _inside(generated, real, neighbours), _inside(real, generated, neighbours)


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

    With `distinct`, x is y, and an image is not paired with itself.
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


def _inside(points: FloatArray, centres: FloatArray, neighbours: int) -> NDArray[np.bool_]:
    """Whether each point lies in a ball of `centres`; shape (points,)."""
    radii = np.concatenate(
        [
            # A centre is its own nearest neighbour, at distance 0.
            np.partition(block, neighbours, axis=1)[:, neighbours]
            for block in _squared_distances(centres, centres)
        ]
    )
    return np.concatenate(
        [(block <= radii).any(axis=1) for block in _squared_distances(points, centres)]
    )


def _squared_distances(x: FloatArray, y: FloatArray) -> Iterator[FloatArray]:
    """|x_i - y_j|^2 in blocks of rows; exactly 0 for equal points."""
    y_lengths = np.square(y).sum(axis=1)
    for start in range(0, len(x), _BLOCK):
        rows = x[start : start + _BLOCK]
        lengths = np.square(rows).sum(axis=1)[:, None] + y_lengths
        squares = lengths - 2 * rows @ y.T
        squares[squares < 1e-12 * lengths] = 0.0
        yield squares
