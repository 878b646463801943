"""Precision and recall of generated images, after Kynkaanniemi et al. 2019.

A set of features stands for the union of balls around each of them that reach to its k-th nearest
neighbour in the set.  Precision is the share of generated images inside the real set's balls,
recall the share of real images inside the generated set's.  Both move with the number of images
and with the balance of the two numbers: compare at equal n.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigain.errors import UserError
from bigain.metrics.moments import check_features

__all__ = ["NEIGHBOURS", "precision_recall"]

NEIGHBOURS = 3
_BLOCK = 1024

FloatArray = NDArray[np.float64]


def precision_recall(
    features: ArrayLike, reference: ArrayLike, neighbours: int = NEIGHBOURS
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which generated images are inside the real set, and which real ones inside the generated.

    Args:
        features: Of generated images, shape (n, d).
        reference: Of real images, shape (m, d).
        neighbours: k >= 1.

    Returns:
        Shapes (n,) and (m,); their means are precision and recall.

    Raises:
        UserError: k images or fewer on a side, a feature that is not finite, or another d.

    """
    generated, real = check_features(features), check_features(reference)
    if generated.shape[1] != real.shape[1]:
        raise UserError(
            f"features: {generated.shape[1]} of one side and {real.shape[1]} of the other; "
            "allowed: both from the same extractor"
        )
    if min(len(generated), len(real)) <= neighbours:
        raise UserError(
            f"n={min(len(generated), len(real))}: precision and recall with {neighbours} "
            f"neighbours need at least {neighbours + 1} images on each side"
        )
    # Distances come from squared lengths: the closer to the origin, the less cancels.
    centre = real.mean(axis=0)
    generated, real = generated - centre, real - centre
    return _inside(generated, real, neighbours), _inside(real, generated, neighbours)


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
    """|x_i - y_j|^2 in blocks of rows; equal points are at 0 exactly."""
    y_lengths = np.square(y).sum(axis=1)
    for start in range(0, len(x), _BLOCK):
        rows = x[start : start + _BLOCK]
        lengths = np.square(rows).sum(axis=1)[:, None] + y_lengths
        squares = lengths - 2 * rows @ y.T
        squares[squares < 1e-12 * lengths] = 0.0
        yield squares
