"""What a part of the trials says about the sum of all: the mathematics of `GaussianRule`.

The errors of a class at the T trials of an image are taken as normal, around a mean that all
classes share, with covariance S.  Given the trials Q of a class, its sum over all trials with the
weights w has

    mean a . E[Q], up to the shared part,   a = S_QQ^-1 b,   b = S_Q,: w,
    variance v(Q) = w^T S w - b^T S_QQ^-1 b.

The weights are ones, as the classifier has them, or 1 / sqrt(S_tt): then every trial counts alike,
however far the errors of the classes spread there, and the score is another one.

S is learned without labels from images outside the evaluation (`RaceModel.learned`), and whether it
holds is measured on images that it was not learned from (`fit_ratios`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["FIT_TRIALS", "RIDGE", "WEIGHTS", "RaceModel", "Weigh", "covariance", "fit_ratios"]
__all__ += ["greedy_order", "held_out_fit", "spread_order"]

RIDGE = 1e-3
"""What is added to the diagonal of S, relative to it."""

FIT_TRIALS = (2, 5, 10)
"""Numbers of trials after which the fit is measured."""

Weigh = Callable[[Tensor], Tensor]
"""S, shape (T, T) -> weights of the trials, shape (T,)."""

WEIGHTS: Mapping[str, Weigh] = {
    "ones": lambda s: torch.ones_like(s.diagonal()),
    "spread": lambda s: s.diagonal().rsqrt(),
}
"""Values of `task.race.weights`."""

_PARTS = 10
"""Into which images are divided, to measure the fit on those that S was not learned from."""


def covariance(errors: Tensor) -> Tensor:
    """S, with its ridge: fp64, shape (T, T).

    Args:
        errors: All errors of n images, shape (n, T, C), C >= 2; the classes of the images may be
            others, but each image has C of them.

    """
    centred = _centred(errors)
    images, trials, classes = centred.shape
    flat = centred.transpose(0, 1).reshape(trials, images * classes)
    s = flat @ flat.T / (images * (classes - 1))
    return s + RIDGE * torch.diag(s.diagonal())


def greedy_order(s: Tensor, weights: Tensor) -> tuple[int, ...]:
    """The trials in an order in which they can be taken.

    Next is always the one that leaves the least variance of the weighted sum; of equals the first.

    Args:
        s: S in the order of the grid, fp64, shape (T, T), positive definite.
        weights: Shape (T,).

    """
    rest = s.clone()  # the covariance given the trials that were taken
    left = list(range(len(rest)))
    taken = []
    while left:
        explained = (rest[left] @ weights).square() / rest.diagonal()[left]
        trial = left.pop(int(explained.argmax()))
        rest = rest - torch.outer(rest[:, trial], rest[trial]) / rest[trial, trial]
        rest[trial], rest[:, trial] = 0.0, 0.0
        taken.append(trial)
    return tuple(taken)


def spread_order(s: Tensor) -> tuple[int, ...]:
    """The trials by falling variance over the classes, of equals the first; see `greedy_order`."""
    return tuple(s.diagonal().argsort(descending=True, stable=True).tolist())


@dataclass(frozen=True)
class RaceModel:
    """Order and covariance of a race, and what follows from them; all in fp64.

    Attributes:
        s: S in the order of the grid, shape (T, T), positive definite.
        weights: Of the trials in the score, in the order of the grid, shape (T,).
        order: The trials in the order in which they are taken.

    """

    s: Tensor
    weights: Tensor
    order: tuple[int, ...]

    @classmethod
    def learned(cls, errors: Tensor, weigh: Weigh) -> "RaceModel":
        """S of all images, and the weights and the order that it gives.

        The order is partly the best one by accident, so with few images v is too small; how much is
        seen on images that are held out (`held_out_fit`).

        Args:
            errors: Shape (n, T, C), n >= 1, C >= 2; see `covariance`.
            weigh: One of `WEIGHTS`.

        """
        s = covariance(errors)
        weights = weigh(s)
        return cls(s, weights, greedy_order(s, weights))

    def gains(self, k: int) -> Tensor:
        """The vector a after the first k trials of the order, shape (k,)."""
        gains: Tensor = torch.linalg.solve(self._known(k), self._ordered[:k] @ self._weights)
        return gains

    def left(self, k: int) -> float:
        """The variance v of the score after the first k trials of the order; 0 after all."""
        known, unseen = self._known(k), self._ordered[:k, k:]
        rest = self._ordered[k:, k:] - unseen.T @ torch.linalg.solve(known, unseen)
        return float(self._weights[k:] @ rest @ self._weights[k:])

    def precision(self, k: int) -> Tensor:
        """The inverse of S_QQ after the first k trials of the order, shape (k, k)."""
        inverse: Tensor = torch.linalg.inv(self._known(k))
        return inverse

    @cached_property
    def _ordered(self) -> Tensor:
        order = list(self.order)
        return self.s[order][:, order]

    @cached_property
    def _weights(self) -> Tensor:
        return self.weights[list(self.order)]

    def _known(self, k: int) -> Tensor:
        return self._ordered[:k, :k]


def fit_ratios(model: RaceModel, errors: Tensor) -> dict[int, float]:
    """Number of trials -> observed variance of what is unseen, relative to the predicted one.

    1 is a perfect fit; above it a race drops classes more easily than it knows.

    Args:
        model: Learned from other images.
        errors: All errors of n images, shape (n, T, C), trials in the order of the grid.

    """
    grid = _centred(errors)
    scores, centred = torch.einsum("t,ntc->nc", model.weights, grid), grid[:, list(model.order)]
    images, trials, classes = centred.shape
    ratios = {}
    for k in (k for k in FIT_TRIALS if k < trials):
        predicted = torch.einsum("k,nkc->nc", model.gains(k), centred[:, :k])
        observed = (scores - predicted).square().sum() / (images * (classes - 1))
        ratios[k] = float(observed) / model.left(k)
    return ratios


def held_out_fit(errors: Tensor, weigh: Weigh) -> Mapping[int, float]:
    """`fit_ratios` of each tenth of the images under the model of the others; the mean.

    Args:
        errors: Shape (n, T, C), n >= 10.
        weigh: One of `WEIGHTS`.

    """
    part = torch.arange(len(errors)) % _PARTS
    folds = [
        fit_ratios(RaceModel.learned(errors[part != fold], weigh), errors[part == fold])
        for fold in range(_PARTS)
    ]
    return {k: sum(each[k] for each in folds) / _PARTS for k in folds[0]}


def _centred(errors: Tensor) -> Tensor:
    """Errors (n, T, C) in fp64 without what all classes of an image share at a trial."""
    exact = errors.double()
    return exact - exact.mean(dim=2, keepdim=True)
