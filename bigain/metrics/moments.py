"""Mean and covariance of features, streamed in float64.

Rows are collected into chunks of a fixed size.  The mean and the scatter (sum of squared
deviations) of a chunk are merged into those of all earlier rows (Chan, Golub, LeVeque 1983), so
that no large mean is squared.  The result depends only on the rows and their order: the same bits
for any batch size, and the two-pass result up to rounding.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigain.errors import UserError

__all__ = [
    "Moments",
    "StreamedMoments",
    "check_features",
    "check_same_dimension",
    "moments_of",
]

_CHUNK = 256


@dataclass(frozen=True)
class Moments:
    """A normal distribution fitted to features.

    Attributes:
        mean: Shape (d,), float64.
        covariance: Shape (d, d), float64, with n - 1 in the denominator.
        n: Number of images; None if unknown, as in files of other programs.

    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    n: int | None

    @property
    def dimension(self) -> int:
        """d, the number of features."""
        return len(self.mean)


class StreamedMoments:
    """Moments of rows that arrive in pieces."""

    def __init__(self, dimension: int) -> None:
        self._chunk = np.empty((_CHUNK, dimension))
        self._filled = 0
        self._count = 0
        self._mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    def update(self, features: ArrayLike) -> None:
        """Add rows, shape (k, d) with any k.

        Raises:
            UserError: A feature is NaN or infinite.
            ValueError: Not two-dimensional, or another d.

        """
        rest = check_features(features, self._chunk.shape[1])
        while len(rest):
            taken = rest[: _CHUNK - self._filled]
            self._chunk[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rest = rest[len(taken) :]
            if self._filled == _CHUNK:
                self._count, self._mean, self._scatter = self._merged()
                self._filled = 0

    def result(self) -> Moments:
        """Moments of all rows so far; more may follow.

        Raises:
            UserError: Fewer than two rows.

        """
        count, mean, scatter = self._merged()
        if count < 2:
            raise UserError(f"n={count}: a covariance needs at least 2 images")
        return Moments(mean.copy(), scatter / (count - 1), count)

    def _merged(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Count, mean and scatter of all rows so far, those of the open chunk included."""
        if not self._filled:
            return self._count, self._mean, self._scatter
        rows = self._chunk[: self._filled]
        mean = rows.mean(axis=0)
        centred = rows - mean
        count = self._count + len(rows)
        shift = mean - self._mean
        weight = self._count * len(rows) / count
        scatter = self._scatter + centred.T @ centred + weight * np.outer(shift, shift)
        return count, self._mean + shift * (len(rows) / count), scatter


def moments_of(features: ArrayLike) -> Moments:
    """Moments of all rows of one array, shape (n, d).

    Raises:
        UserError: Fewer than two rows, or a feature that is NaN or infinite.

    """
    rows = check_features(features)
    stream = StreamedMoments(rows.shape[1])
    stream.update(rows)
    return stream.result()


def check_features(features: ArrayLike, dimension: int | None = None) -> NDArray[np.float64]:
    """`features` as float64 of shape (n, d).

    Raises:
        UserError: A feature is NaN or infinite; the message names the first such row.
        ValueError: Not two-dimensional, or d is not `dimension`.

    """
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or dimension not in {None, rows.shape[1]}:
        raise ValueError(f"features of shape {rows.shape}; allowed: (n, {dimension or 'd'})")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(broken):
        raise UserError(
            f"features: {len(broken)} of {len(rows)} images have a feature that is NaN or "
            f"infinite, the first at position {broken[0]}; allowed: finite numbers"
        )
    return rows


def check_same_dimension(a: int, b: int) -> None:
    """Raise UserError if two sides have different numbers of features."""
    if a != b:
        raise UserError(
            f"features: {a} on one side and {b} on the other; allowed: both from the same extractor"
        )
