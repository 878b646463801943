"""When a race drops a class: the rule of this package, and two published ones beside it.

`GaussianRule` knows how errors of different trials go together (`bigain.tasks.race_model`).  After
trial k, with alive classes A, errors E of the k trials and Z, E without its mean over A,

    total[c] = a . E[:, c],   leader = the class of smallest total, of equals the first,
    tau2     = (20 + sum over c of Z_c^T S_QQ^-1 Z_c) / (20 + k (|A| - 1)),
    u[c]     = (total[c] - total[leader]) / sqrt(2 v tau2),

and classes with u > z are dropped.  Phi(-u) is the modelled chance that a dropped class would have
won, and the sum over the dropped classes bounds that of another decision as far as the model holds;
with two classes and heavy tails it does not (docs/racing.md).

`StudentRule` is the pruning of Clark and Jaini (arXiv:2303.15233): a class is dropped when a paired
Student t test says that its mean error is larger than the leader's.  `HalvingRule` keeps fixed
numbers of classes after fixed numbers of trials (successive halving).  Neither says how likely
another decision is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import torch
from scipy import special
from torch import Tensor

from bigain.tasks.race_model import RaceModel

__all__ = ["GaussianRule", "HalvingRule", "RaceRule", "StudentRule"]

_PRIOR_WEIGHT = 20.0
"""How many squared errors the image scale 1 counts for in tau2."""


class RaceRule(Protocol):
    """When a class is dropped.

    Attributes:
        order: The trials, as positions in the grid, in the order in which they are taken.
        ends: Numbers of trials after which classes may be dropped, increasing; the last is all.
        weights: Weight of each trial in the score, in the order of `order`, fp64, shape (T,).

    """

    @property
    def order(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def ends(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def weights(self) -> Tensor: ...  # noqa: D102

    def keep(self, errors: Tensor, alive: Tensor) -> tuple[Tensor, float | None]:
        """The classes that stay, and the summed chances of the dropped ones to have won.

        Args:
            errors: Of the k trials that were taken, k one of `ends`, shape (k, C).
            alive: The classes that were left, increasing.

        Returns:
            Some of `alive`, at least one; the chance is None if the rule has no model of it.

        """
        ...

    def gains(self, k: int) -> Tensor:
        """The vector a: a . E[:k, c] predicts the score of c up to a part that all classes share.

        Args:
            k: One of `ends`.

        Returns:
            fp64, shape (k,).

        """
        ...


@dataclass(frozen=True)
class GaussianRule:
    """Drop a class when its modelled chance to win is small.

    Attributes:
        model: What part of the trials says about the score.
        z: Threshold of u, > 0; infinite: no class is dropped.
        minimum: Trials that all classes take, at least 1.
        looks: Numbers of trials, increasing, after which classes may be dropped; None: from
            `minimum` on after each.

    """

    model: RaceModel
    z: float
    minimum: int
    looks: tuple[int, ...] | None

    @property
    def order(self) -> tuple[int, ...]:
        """That of the model."""
        return self.model.order

    @property
    def weights(self) -> Tensor:
        """Those of the model."""
        return self.model.weights[list(self.order)]

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The looks, and all trials."""
        trials = len(self.order)
        looks = range(self.minimum, trials) if self.looks is None else self.looks
        return (*(k for k in looks if k < trials), trials)

    def keep(self, errors: Tensor, alive: Tensor) -> tuple[Tensor, float]:
        """Those with u of at most z; see `RaceRule`."""
        own, look = errors[:, alive].double(), self._looks[len(errors)]
        if look.left <= 0:  # all trials are taken
            return alive, 0.0
        centred = own - own.mean(dim=1, keepdim=True)
        distance = float((centred * (look.precision @ centred)).sum())
        scale = (_PRIOR_WEIGHT + distance) / (_PRIOR_WEIGHT + len(errors) * (len(alive) - 1))
        total = look.gains @ centred
        u = (total - total.min()) / math.sqrt(2 * look.left * scale)
        drops = u > self.z
        return alive[~drops], float(torch.special.ndtr(-u[drops]).sum())

    def gains(self, k: int) -> Tensor:
        """The best prediction under the model."""
        return self._looks[k].gains

    @cached_property
    def _looks(self) -> Mapping[int, "_Look"]:
        return {k: _Look.of(self.model, k) for k in self.ends}


@dataclass(frozen=True)
class StudentRule:
    """Drop a class when its errors are significantly larger than the leader's, in pairs.

    The leader has the smallest mean over the trials so far, of equals the first.  With k trials and
    the differences d of a class to the leader, it is dropped if
    mean(d) / (std(d) / sqrt(k)) exceeds the quantile 1 - p of Student's t with k - 1 degrees of
    freedom.  Looks are not corrected for, as published.

    Attributes:
        order: The trials in the order in which they are taken.
        p: Level of the one-sided test, in (0, 0.5).
        minimum: Trials that all classes take, at least 2.

    """

    order: tuple[int, ...]
    p: float
    minimum: int

    @property
    def ends(self) -> tuple[int, ...]:
        """All numbers of trials from `minimum` on."""
        return tuple(range(min(self.minimum, len(self.order)), len(self.order) + 1))

    @property
    def weights(self) -> Tensor:
        """Ones."""
        return _ones(len(self.order))

    def keep(self, errors: Tensor, alive: Tensor) -> tuple[Tensor, None]:
        """Those whose t does not exceed the quantile; see `RaceRule`."""
        own, k = errors[:, alive].double(), len(errors)
        leader = int(own.mean(dim=0).argmin())
        differences = own - own[:, leader : leader + 1]
        t = differences.mean(dim=0) / (differences.std(dim=0) / math.sqrt(k))  # of the leader: NaN
        return alive[~(t > special.stdtrit(k - 1, 1 - self.p))], None

    def gains(self, k: int) -> Tensor:
        """The mean so far for all trials."""
        return _mean_of(k, len(self.order))


@dataclass(frozen=True)
class HalvingRule:
    """Keep fixed numbers of classes after fixed numbers of trials.

    Attributes:
        trials: Number of trials of the grid.
        stages: (number of trials, classes kept), the first increasing and less than `trials`, the
            second decreasing; after all trials one class is kept.

    """

    trials: int
    stages: tuple[tuple[int, int], ...]

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Each stage takes its trials evenly from those that are left."""
        left, taken = list(range(self.trials)), []
        for before, end in pairwise((0, *self.ends)):
            number = end - before
            places = [(2 * i + 1) * len(left) // (2 * number) for i in range(number)]
            taken += [left[place] for place in places]
            left = [trial for trial in left if trial not in taken]
        return tuple(taken)

    @property
    def ends(self) -> tuple[int, ...]:
        """The ends of the stages, and all trials."""
        return (*(end for end, _ in self.stages), self.trials)

    @property
    def weights(self) -> Tensor:
        """Ones."""
        return _ones(self.trials)

    def keep(self, errors: Tensor, alive: Tensor) -> tuple[Tensor, None]:
        """Those of smallest sum, of equals the first; see `RaceRule`."""
        ranked = errors[:, alive].double().sum(dim=0).argsort(stable=True)
        kept = {**dict(self.stages), self.trials: 1}[len(errors)]
        return alive[ranked[:kept]].sort().values, None

    def gains(self, k: int) -> Tensor:
        """The mean so far for all trials."""
        return _mean_of(k, self.trials)


@dataclass(frozen=True)
class _Look:
    """What the model says after k trials."""

    gains: Tensor
    left: float
    precision: Tensor

    @classmethod
    def of(cls, model: RaceModel, k: int) -> "_Look":
        return cls(model.gains(k), model.left(k), model.precision(k))


def _ones(trials: int) -> Tensor:
    return torch.ones(trials, dtype=torch.float64)


def _mean_of(k: int, trials: int) -> Tensor:
    return torch.full((k,), trials / k, dtype=torch.float64)
