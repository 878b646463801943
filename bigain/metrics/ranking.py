"""Average precision of a ranking of classes, over images and over classes.

The classes of an image are ranked 1, 2, ..., C: first the staged winner, then the others by
ascending mean error (finalists have more trials than the rest).  Ties go to the lower class index.

map_image, the paper's (Eq. 26): with the true classes of an image at ranks r_1 < ... < r_m,

    AP = (1/m) sum_i i / r_i,       averaged over all images,

and AP = 0 for an image without a class, as in the paper's released code.

map_class ("macro"): for each class, the images are ordered by the rank of that class, and

    AP = sum_k (R_k - R_{k-1}) P_k,     averaged over the classes that have an image,

where P_k and R_k are the precision and recall of the images in which the class has rank k or
better; images of equal rank form one step, as in scikit-learn.  Images are ordered by rank, not by
error, because the level of the errors says more about the image than about its classes.

The interval of map_class is the percentile bootstrap over images, with a fixed seed.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from bigain.metrics.intervals import CONFIDENCE

__all__ = ["average_precision", "class_ranks", "mean_class_precision"]

RESAMPLES = 1000
_SEED = 20261128
_CHUNK = 50
"""Resamples in memory at once."""


def class_ranks(scores: ArrayLike, predictions: ArrayLike) -> NDArray[np.int64]:
    """Rank 1..C of every class in every image.

    Args:
        scores: Mean error of each class, lower is better, shape (n, C), finite.
        predictions: The staged winner of each image, shape (n,).

    Returns:
        Ranks, shape (n, C).

    """
    errors = np.array(scores, np.float64)
    rows = np.arange(len(errors))
    errors[rows, np.asarray(predictions, np.int64)] = -np.inf
    order = errors.argsort(axis=1, kind="stable")
    ranks = np.empty_like(order)
    ranks[rows[:, None], order] = np.arange(1, errors.shape[1] + 1)
    return ranks


def average_precision(ranks: Sequence[int]) -> float:
    """AP of one image whose true classes have these `ranks` (any order); 0 if it has none."""
    if not len(ranks):
        return 0.0
    ordered = np.sort(np.asarray(ranks, np.float64))
    return float((np.arange(1, len(ordered) + 1) / ordered).mean())


def mean_class_precision(ranks: ArrayLike, truth: ArrayLike) -> tuple[float, float, float]:
    """map_class as a fraction, with the ends of its 95 % interval.

    Args:
        ranks: Rank of every class in every image, >= 1, shape (n, C); C + 1 for an image that
            could not be classified.
        truth: Whether each image has each class, shape (n, C).

    Returns:
        Value, lower and upper end; NaN if no image has a class, the ends also if n < 2.

    """
    counts = _Counts(np.asarray(ranks, np.int64), np.asarray(truth, np.bool_))
    n = len(counts.truth)
    value = float(counts.mean_precision(np.ones((1, n)))[0])
    if n < 2 or math.isnan(value):
        return value, math.nan, math.nan
    generator = np.random.Generator(np.random.Philox(key=_SEED))
    drawn = [
        counts.mean_precision(generator.multinomial(n, np.full(n, 1 / n), size=_CHUNK))
        for _ in range(RESAMPLES // _CHUNK)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(np.concatenate(drawn), [tail, 1 - tail])
    return value, float(low), float(high)


class _Counts:
    """Numbers of images, and of images that have the class, at each (class, rank)."""

    def __init__(self, ranks: NDArray[np.int64], truth: NDArray[np.bool_]) -> None:
        self.truth = truth
        n, self._classes = ranks.shape
        self._ranks = self._classes + 1
        columns = np.arange(self._classes) * self._ranks + ranks - 1
        shape = (self._classes * self._ranks, n)
        image = np.broadcast_to(np.arange(n)[:, None], ranks.shape)
        self._all = _ones(columns.ravel(), image.ravel(), shape)
        self._true = _ones(columns[truth], image[truth], shape)

    def mean_precision(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Mean AP over classes for each row of image weights (B, n), shape (B,)."""
        places = (-1, self._classes, self._ranks)
        true = np.asarray(self._true @ weights.T).T.reshape(places)
        seen = np.asarray(self._all @ weights.T).T.reshape(places).cumsum(axis=2)
        hits = true.cumsum(axis=2)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(seen > 0, hits / seen, 0.0)
            each = (true * precision).sum(axis=2) / hits[:, :, -1]
        have = hits[:, :, -1] > 0
        total = np.where(have, each, 0.0).sum(axis=1)
        number = have.sum(axis=1)
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _ones(
    rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]
) -> "sparse.csr_array[np.float64]":
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
