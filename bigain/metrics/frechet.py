"""Frechet distance of two normal distributions, with an interval.

    D(a, b) = |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^(1/2) S_b S_a^(1/2))^(1/2))

(Dowson and Landau 1982; on Inception features: Heusel et al. 2017).  The trace of the root is the
sum of the square roots of the eigenvalues of A S_b A' with S_a = A' A.  That matrix is symmetric;
other implementations take the root of an unsymmetric one, which has imaginary parts.  A covariance
of n images has at most n - 1 eigenvalues that are not rounding, so no more are used.

Interval: the infinitesimal jackknife (Jaeckel 1972; Efron 1982).  D is a smooth function of the
weights of the images.  The derivative to the weight of image i of a, with c_i = x_i - m_a, is

    2 (m_a - m_b)' c_i + c_i' (I - T) c_i + constant,
    T = A^+ (A S_b A')^(1/2) A'^+  (the optimal transport from a to b).

These influences have mean 0; their standard deviation over sqrt(n) is the standard error of D.  The
reference b is held fixed, since everything is compared with the same one.  D has a bias of order
1/n, so compare at equal n.  For two runs from the same initial noises, the differences of their
influences, image by image, give a paired interval.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from bigain.metrics.intervals import mean_interval
from bigain.metrics.moments import Moments, check_features, check_same_dimension, moments_of

__all__ = [
    "FewImagesWarning",
    "FrechetResult",
    "frechet_distance",
    "frechet_with_interval",
    "warn_if_few",
]

FloatArray = NDArray[np.float64]


class FewImagesWarning(UserWarning):
    """Fewer images than features: the covariance is rank-deficient, the distance far too large."""


@dataclass(frozen=True)
class FrechetResult:
    """A Frechet distance.

    Attributes:
        value: In squared units of the features, >= 0.
        ci_low: Lower end of the 95 % interval, >= 0; NaN for fewer than two images.
        ci_high: Upper end.
        n: Number of images that were compared with the reference.
        influences: One per image, shape (n,), of mean 0; the interval is that of the mean of
            `value + influences`.

    """

    value: float
    ci_low: float
    ci_high: float
    n: int
    influences: FloatArray


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Frechet distance, >= 0.

    Raises:
        UserError: Different numbers of features.

    """
    _, _, roots = _coupling(a, b)
    return _distance(a, b, roots)


def frechet_with_interval(features: ArrayLike, reference: Moments) -> FrechetResult:
    """Distance of images with these features, shape (n, d), from the reference, with its interval.

    Warns:
        FewImagesWarning: n < d on either side.

    Raises:
        UserError: Fewer than two images, a feature that is not finite, or another d.

    """
    rows = check_features(features)
    own = moments_of(rows)
    warn_if_few(own, reference)
    factor, vectors, roots = _coupling(own, reference)
    value = _distance(own, reference, roots)
    influences = _influences(rows - own.mean, own.mean - reference.mean, factor, vectors, roots)
    low, high = mean_interval(value + influences)
    return FrechetResult(value, max(0.0, low), high, len(rows), influences)


def _coupling(a: Moments, b: Moments) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A (r, d) with S_a = A' A; eigenvectors (r, k) of A S_b A'; roots (k,) of its eigenvalues."""
    check_same_dimension(a.dimension, b.dimension)
    values, vectors = _leading(a.covariance, a.n)
    factor = np.sqrt(values)[:, None] * vectors.T
    inner = factor @ b.covariance @ factor.T
    squares, directions = _leading((inner + inner.T) / 2, b.n)
    return factor, directions, np.sqrt(squares)


def _leading(matrix: FloatArray, n: int | None) -> tuple[FloatArray, FloatArray]:
    """Positive eigenvalues of a covariance of n images, at most n - 1, and their eigenvectors."""
    values, vectors = linalg.eigh(matrix)
    kept = values > 0
    if n is not None and n - 1 < len(values):
        kept[: len(values) - (n - 1)] = False
    return values[kept], vectors[:, kept]


def _distance(a: Moments, b: Moments, roots: FloatArray) -> float:
    shift = a.mean - b.mean
    spread = np.trace(a.covariance) + np.trace(b.covariance) - 2 * roots.sum()
    return max(0.0, float(shift @ shift + spread))  # rounding may leave -1e-12 of equal sides


def _influences(
    centred: FloatArray,
    shift: FloatArray,
    factor: FloatArray,
    vectors: FloatArray,
    roots: FloatArray,
) -> FloatArray:
    # A'^+ c whitens c: the rows of A are orthogonal, their squared lengths the eigenvalues of S_a.
    # T leaves out directions in which a hardly varies: dividing by them would give noise.
    variances = np.square(factor).sum(axis=1)
    kept = variances > variances.max(initial=0.0) * len(shift) * np.finfo(np.float64).eps
    white = centred @ (factor[kept] / variances[kept, None]).T
    transported = np.square(white @ vectors[kept]) @ roots
    raw = 2 * centred @ shift + np.square(centred).sum(axis=1) - transported
    return np.asarray(raw - raw.mean())


def warn_if_few(a: Moments, b: Moments) -> None:
    """Issue a FewImagesWarning if a side is known to have fewer images than features."""
    fewest = min((side.n for side in (a, b) if side.n is not None), default=math.inf)
    if fewest < b.dimension:
        warnings.warn(
            f"n={fewest} images for {b.dimension} features: the covariance is rank-deficient and "
            f"the distance far too large; compare only at equal n, or use n >= {b.dimension}",
            FewImagesWarning,
            stacklevel=3,
        )
