"""A race of the classes over the trials: the decision of all trials from fewer evaluations.

All classes take the first trials.  Then a rule (`bigain.tasks.race_rules`) drops classes from time
to time; the race ends with one class.  After the last trial the class with the smallest sum wins,
weighted if the rule has weights.

A keyed share of the images is audited: dropped classes take their remaining trials after the
decision, so it can be compared with that of the full grid.
"""

import hashlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bigain.tasks.protocol import Allocation, Decision, Ledger, Round, StagedProtocol
from bigain.tasks.race_rules import RaceRule

__all__ = ["RacingProtocol", "decide", "grid_of"]


def grid_of(trials: int) -> tuple[int, ...]:
    """The timesteps of the full grid: those of the staged protocol that ends with `trials`."""
    return StagedProtocol((trials,), (1,)).timesteps


@dataclass(frozen=True)
class RacingProtocol:
    """The race as an `Allocation`; its trials are in the order of the rule.

    Attributes:
        rule: When a class is dropped.
        audit: Share of the images that take the full grid after their decision, in [0, 1].
        seed: Decides, with the image, which images are audited.

    """

    rule: RaceRule
    audit: float
    seed: int

    @cached_property
    def timesteps(self) -> tuple[int, ...]:
        """Timestep of each trial, in the order of the rule."""
        grid = grid_of(len(self.rule.order))
        return tuple(grid[trial] for trial in self.rule.order)

    @property
    def first_stage(self) -> int:
        """Number of trials that all classes take."""
        return self.rule.ends[0]

    def rounds(self, image_id: int, errors: Tensor) -> Generator[Round, None, Decision]:
        """One round for each end of the rule, over the classes that are left; see `Allocation`."""
        classes, trials = errors.shape[1], len(self.timesteps)
        taken = torch.zeros(classes, dtype=torch.int64)
        alive, done, rounds = torch.arange(classes), 0, 0
        chances: list[float | None] = []
        for end in self.rule.ends:
            yield Round(range(done, end), tuple(alive.tolist()))
            rounds, done = rounds + 1, end
            taken[alive] = done
            alive, chance = self.rule.keep(errors[:done], alive)
            chances.append(chance)
            if len(alive) == 1:
                break
        winner = int(alive[int(self._sums(errors[:done, alive]).argmin())])
        scores = self._scores(errors, taken, winner)
        known = [chance for chance in chances if chance is not None]
        ledger = Ledger(int(taken.sum()), sum(known) if known else None, rounds)
        if not _is_audited(self.seed, image_id, self.audit):
            return Decision(winner, scores, ledger)
        for k in sorted(set(taken.tolist()) - {trials}):
            yield Round(range(k, trials), tuple((taken == k).nonzero()[:, 0].tolist()))
        full = int(self._sums(errors).argmin())
        return Decision(winner, scores, replace(ledger, full_prediction=full))

    def _sums(self, errors: Tensor) -> Tensor:
        """The weighted sum of each class over the trials so far."""
        weighted: Tensor = self.rule.weights[: len(errors), None] * errors.double()
        return weighted.sum(dim=0)

    def _scores(self, errors: Tensor, taken: Tensor, winner: int) -> Tensor:
        """Predicted score of each class minus that of the winner, over the trials of the class."""
        gains = {k: self.rule.gains(k) for k in set(taken.tolist())}
        differences = errors.double() - errors[:, winner : winner + 1].double()
        each = [gains[k] @ differences[:k, c] for c, k in enumerate(taken.tolist())]
        return torch.stack(each)


def decide(protocol: Allocation, image_id: int, table: Tensor) -> Decision:
    """The decision about an image whose errors are all known.

    Args:
        protocol: Whose evaluations are looked up instead of computed.
        image_id: Decides whether the image is audited.
        table: Errors in the order of the grid, shape (trials, classes).

    """
    grid = grid_of(len(table))
    ordered = table[[grid.index(t) for t in protocol.timesteps]].float()
    errors = torch.full_like(ordered, torch.nan)
    rounds = protocol.rounds(image_id, errors)
    try:
        while True:
            trials, classes = next(rounds)
            rows = slice(trials.start, trials.stop)
            errors[rows, list(classes)] = ordered[rows, list(classes)]
    except StopIteration as end:
        decision: Decision = end.value
        return decision


def _is_audited(seed: int, image_id: int, share: float) -> bool:
    digest = hashlib.sha256(repr((seed, "audit", image_id)).encode()).digest()
    return int.from_bytes(digest[:6], "big") < share * 2**48
