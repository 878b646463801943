"""The statistics of the tables, written a second time from their definitions in docs/metrics.md.

For `scripts/recompute.py`.  Nothing of the package is imported: numpy, pandas, and scipy for the
quantiles of t and normal.  Written to be slow and plain where the package is fast.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = ["Floats", "Found", "auc", "best_wrong", "bootstrap", "counted", "exact", "frechet"]
__all__ += ["inside", "kernel_distance", "mcnemar", "mean", "mean_of", "paired", "rise", "share"]

Floats = NDArray[np.float64]
NAN = math.nan
Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Found:
    """A number with its 95 % interval, its p value and the number of images; NaN where none."""

    value: float
    low: float = NAN
    high: float = NAN
    p: float = NAN
    n: int = 1

    def times(self, scale: float) -> "Found":
        """In another unit."""
        return Found(scale * self.value, scale * self.low, scale * self.high, self.p, self.n)


def exact(value: float, n: int = 1) -> Found:
    """A number without an interval."""
    return Found(float(value), n=n)


def share(hits: ArrayLike) -> Found:
    """Of all, with the interval of Wilson: the p with |k/n - p| = z sqrt(p (1 - p) / n)."""
    array = np.asarray(hits, np.float64)
    n, k = len(array), int(array.sum())
    # (n + z^2) p^2 - (2 k + z^2) p + k^2/n = 0
    roots = np.roots([n + Z**2, -(2 * k + Z**2), k**2 / n])
    low, high = sorted(float(root.real) for root in roots)
    return Found(k / n, 0.0 if k == 0 else low, 1.0 if k == n else high, n=n)


def mean(values: Floats) -> Found:
    """With Student's interval, and the p value of 0."""
    n, value = len(values), float(np.mean(values))
    if n < 2:
        return exact(value, n)
    error = math.sqrt(float(np.sum((values - value) ** 2)) / (n - 1) / n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, n - 1)) if error else float(value == 0)
    return Found(value, value - half, value + half, p, n)


def mean_of(values: "pd.Series[float]") -> Found:
    """Of the images that have a number; it tests nothing."""
    found = mean(np.asarray(values.dropna(), np.float64))
    return Found(found.value, found.low, found.high, n=found.n)


def both(a: "pd.Series[float]", b: "pd.Series[float]") -> tuple[Floats, Floats]:
    """The values of the images in both."""
    joined = pd.concat([a, b], axis=1, join="inner").dropna()
    return joined.iloc[:, 0].to_numpy(np.float64), joined.iloc[:, 1].to_numpy(np.float64)


def paired(a: "pd.Series[float]", b: "pd.Series[float]") -> Found:
    """Mean of a - b over the images in both."""
    left, right = both(a, b)
    return mean(left - right)


def rise(a: "pd.Series[float]", b: "pd.Series[float]") -> Found:
    """mean(a) / mean(b) - 1, with the interval of the delta method."""
    left, right = both(a, b)
    ratio = float(left.mean() / right.mean())
    return mean(ratio - 1 + (left - ratio * right) / right.mean())


def mcnemar(a: "pd.Series[float]", b: "pd.Series[float]") -> Found:
    """Share of right images of a minus that of b: Agresti and Min's interval, exact p."""
    left, right = both(a, b)
    n, gained, lost = len(left), int(np.sum(left > right)), int(np.sum(left < right))
    centre = (gained - lost) / (n + 2)
    half = Z / (n + 2) * math.sqrt(gained + lost + 1 - (gained - lost) ** 2 / (n + 2))
    p = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return Found((gained - lost) / n, max(-1, centre - half), min(1, centre + half), p, n)


def bootstrap(a: "pd.Series[float]", b: "pd.Series[float]") -> Found:
    """Mean of a - b; 10,000 draws of images in 40 lots of 250, seed 0, and their percentiles."""
    left, right = both(a, b)
    values, generator = left - right, np.random.default_rng(0)
    lots = [values[generator.integers(0, len(values), (250, len(values)))] for _ in range(40)]
    draws = np.concatenate(lots).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    p = min(1.0, max(1e-4, 2 * min(np.mean(draws <= 0), np.mean(draws >= 0))))
    return Found(float(values.mean()), float(low), float(high), float(p), len(values))


# Of single trials: errors (images, trials, classes), truth (images, classes).


def counted(errors: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Mean error of the true classes of every image and trial; NaN without one, or others."""
    rows = [
        each[:, own].mean(axis=1) if own.any() and not own.all() else np.full(len(each), NAN)
        for each, own in zip(errors, truth, strict=True)
    ]
    return np.array(rows)


def best_wrong(errors: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Lowest error of a wrong class minus that of the true ones, of every image and trial."""
    lowest = [
        each[:, ~own].min(axis=1) if not own.all() else np.full(len(each), NAN)
        for each, own in zip(errors, truth, strict=True)
    ]
    return np.array(lowest) - counted(errors, truth)


def auc(errors: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Share of (trial, true class, wrong class) that the true class wins, of every image."""
    found = []
    for each, own in zip(errors, truth, strict=True):
        pairs = [
            (each[:, w] > each[:, t]) + 0.5 * (each[:, w] == each[:, t])
            for t in np.flatnonzero(own)
            for w in np.flatnonzero(~own)
        ]
        found.append(float(np.mean(pairs)) if pairs else NAN)
    return np.array(found)


# Of features: generated (n, d), real (m, d).


def frechet(generated: Floats, real: Floats) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), with S_a^(1/2) S_b S_a^(1/2)."""
    shift = generated.mean(axis=0) - real.mean(axis=0)
    a, b = np.cov(generated.T), np.cov(real.T)
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    rank = min(len(generated), len(real)) - 1  # the rest of the eigenvalues is rounding
    middle = np.linalg.eigvalsh(root @ b @ root)[-rank:]
    return float(shift @ shift + np.trace(a + b) - 2 * np.sqrt(np.maximum(middle, 0)).sum())


def kernel_distance(generated: Floats, real: Floats, seed: int) -> tuple[Found, float]:
    """KID of all pairs and its standard error, the jackknife over 20 disjoint subsets."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    sides = [side[generator.permutation(len(side))] for side in (generated, real)]
    count = min(20, *map(len, sides))
    groups = [_groups(len(side), count) for side in sides]
    kernels = {
        (i, j): (sides[i] @ sides[j].T / sides[0].shape[1] + 1) ** 3
        for i, j in ((0, 0), (1, 1), (0, 1))
    }

    def distance(left_out: int) -> float:
        kept = [group != left_out for group in groups]
        part = {(i, j): k[np.ix_(kept[i], kept[j])] for (i, j), k in kernels.items()}
        return _unequal(part[0, 0]) + _unequal(part[1, 1]) - 2 * float(part[0, 1].mean())

    value, without = distance(-1), np.array([distance(g) for g in range(count)])
    error = math.sqrt((count - 1) / count * float(np.sum((without - without.mean()) ** 2)))
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return Found(value, value - half, value + half, n=len(generated)), error


def inside(points: Floats, centres: Floats) -> NDArray[np.bool_]:
    """Whether each point lies in a ball around a centre that reaches its third nearest other."""
    radii = np.array([np.sort(_distances(each, centres))[3] for each in centres])
    return np.array([bool((_distances(each, centres) <= radii).any()) for each in points])


def _distances(point: Floats, others: Floats) -> Floats:
    return np.asarray(((others - point) ** 2).sum(axis=1))


def _groups(n: int, count: int) -> NDArray[np.int64]:
    """The subset of each of n images: consecutive, from g n / count on."""
    starts = [g * n // count for g in range(count)]
    return np.searchsorted(starts, np.arange(n), side="right") - 1


def _unequal(kernel: Floats) -> float:
    """Mean over pairs of different images."""
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))
