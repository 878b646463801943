"""A race of the classes over the trials: the decision of all trials from fewer evaluations.

All classes take the first trials.  Then a class is dropped as soon as its chance to still have the
smallest sum over all trials is small, by the normal model of `bigain.tasks.race_model`; the race
ends with one class.  After trial k, with alive classes A and errors E of the k trials,

    total[c] = a . E[:, c],   leader = the class of smallest total, of equals the first,
    tau2     = (20 + sum over c of Z_c^T S_QQ^-1 Z_c) / (20 + k (|A| - 1)),
    u[c]     = (total[c] - total[leader]) / sqrt(2 v tau2),

where Z is E without its mean over A.  Classes with u > z are dropped.  After the last trial the
class with the smallest sum wins.  Phi(-u) is the modelled chance that a dropped class would have
won, and `spent`, the sum over the dropped classes, bounds that of another decision as far as the
model holds; with two classes and heavy tails it does not (docs/racing.md).

A keyed share of the images is audited: dropped classes take their remaining trials after the
decision, so it can be compared with that of the full grid.
"""

import hashlib
import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bigain.tasks.protocol import Decision, Ledger, Round, StagedProtocol
from bigain.tasks.race_model import RaceModel

__all__ = ["RaceRule", "RacingProtocol", "grid_of"]

_PRIOR_WEIGHT = 20.0
"""How many squared errors the image scale 1 counts for in tau2."""


def grid_of(trials: int) -> tuple[int, ...]:
    """The timesteps of the full grid: those of the staged protocol that ends with `trials`."""
    return StagedProtocol((trials,), (1,)).timesteps


@dataclass(frozen=True)
class RaceRule:
    """When a class is dropped.

    Attributes:
        z: Threshold of u, > 0; infinite: no class is dropped.
        minimum: Trials that all classes take, at least 1.
        looks: Numbers of trials, increasing, after which classes may be dropped; None: from
            `minimum` on after each.
        audit: Share of the images that take the full grid after their decision, in [0, 1].

    """

    z: float
    minimum: int
    looks: tuple[int, ...] | None
    audit: float

    def ends(self, trials: int) -> tuple[int, ...]:
        """Numbers of trials after which something is decided; the last is all of them."""
        looks = range(self.minimum, trials) if self.looks is None else self.looks
        return (*(k for k in looks if k < trials), trials)


@dataclass(frozen=True)
class RacingProtocol:
    """The race as an `Allocation`; its trials are in the order of the model.

    Attributes:
        model: What part of the trials says about the sum of all.
        rule: When a class is dropped.
        seed: Decides, with the image, which images are audited.

    """

    model: RaceModel
    rule: RaceRule
    seed: int

    @cached_property
    def timesteps(self) -> tuple[int, ...]:
        """Timestep of each trial, in the order of the model."""
        grid = grid_of(len(self.model.s))
        return tuple(grid[trial] for trial in self.model.order)

    @property
    def first_stage(self) -> int:
        """Number of trials that all classes take."""
        return self._looks[0].end

    def rounds(self, image_id: int, errors: Tensor) -> Generator[Round, None, Decision]:
        """One round for each look, over the classes that are left; see `Allocation`."""
        classes, trials = errors.shape[1], len(self.timesteps)
        taken = torch.zeros(classes, dtype=torch.int64)
        alive, spent, count, done = torch.arange(classes), 0.0, 0, 0
        for look in self._looks:
            yield Round(range(done, look.end), tuple(alive.tolist()))
            count, done = count + 1, look.end
            taken[alive] = done
            alive, chance = look.keep(errors[:done], alive, self.rule.z)
            spent += chance
            if len(alive) == 1:
                break
        sums = errors[:done, alive].double().sum(dim=0)
        winner = int(alive[int(sums.argmin())])
        scores = self._scores(errors, taken, winner)
        ledger = Ledger(int(taken.sum()), spent, count)
        if not _is_audited(self.seed, image_id, self.rule.audit):
            return Decision(winner, scores, ledger)
        for k in sorted(set(taken.tolist()) - {trials}):
            yield Round(range(k, trials), tuple((taken == k).nonzero()[:, 0].tolist()))
        full = int(errors.double().sum(dim=0).argmin())
        return Decision(winner, scores, replace(ledger, full_prediction=full))

    @cached_property
    def _looks(self) -> tuple["_Look", ...]:
        return tuple(_Look.of(self.model, k) for k in self.rule.ends(len(self.timesteps)))

    def _scores(self, errors: Tensor, taken: Tensor, winner: int) -> Tensor:
        """Predicted sum of each class minus that of the winner, over the trials of the class."""
        gains = {look.end: look.gains for look in self._looks}
        differences = errors.double() - errors[:, winner : winner + 1].double()
        each = [gains[k] @ differences[:k, c] for c, k in enumerate(taken.tolist())]
        return torch.stack(each)


@dataclass(frozen=True)
class _Look:
    """What is needed to decide after `end` trials."""

    end: int
    gains: Tensor
    left: float
    precision: Tensor

    @classmethod
    def of(cls, model: RaceModel, k: int) -> "_Look":
        return cls(k, model.gains(k), model.left(k), model.precision(k))

    def keep(self, errors: Tensor, alive: Tensor, z: float) -> tuple[Tensor, float]:
        """The classes that stay, and the summed chances of those that do not.

        Args:
            errors: Of the trials that were taken, shape (k, classes).
            alive: The classes that were left, increasing.
            z: Threshold.

        """
        if self.left <= 0:  # all trials are taken
            return alive, 0.0
        own = errors[:, alive].double()
        centred = own - own.mean(dim=1, keepdim=True)
        distance = float((centred * (self.precision @ centred)).sum())
        scale = (_PRIOR_WEIGHT + distance) / (_PRIOR_WEIGHT + self.end * (len(alive) - 1))
        total = self.gains @ centred
        u = (total - total.min()) / math.sqrt(2 * self.left * scale)
        drops = u > z
        return alive[~drops], float(torch.special.ndtr(-u[drops]).sum())


def _is_audited(seed: int, image_id: int, share: float) -> bool:
    digest = hashlib.sha256(repr((seed, "audit", image_id)).encode()).digest()
    return int.from_bytes(digest[:6], "big") < share * 2**48
