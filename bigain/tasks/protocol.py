"""Which timesteps the diffusion classifier evaluates, and which classes survive each round.

A protocol decides, from the errors of an image so far, what is evaluated next.  `StagedProtocol` is
the paper's: stages follow Algorithm 1 and Table 10, so stage i ends with `trial_list[i]` trials per
surviving class and keeps the `keep_list[i]` classes with the lowest mean error.
"""

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bigain.config.grid import TRAIN_TIMESTEPS, stage_timesteps
from bigain.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor  # tables need protocols, and no torch

__all__ = ["Allocation", "Decision", "Ledger", "Round", "StagedProtocol"]


class Round(NamedTuple):
    """Evaluations of one image that need no result of each other: all pairs of the two.

    Attributes:
        trials: Positions in the protocol's `timesteps`.
        classes: Class conditions, increasing.

    """

    trials: range
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Ledger:
    """What a race over the classes of an image took (`bigain.tasks.racing`).

    Attributes:
        evaluations: Of the denoiser until the decision.
        spent: Modelled chance, at most, that all trials would have decided otherwise; None if the
            rule has no model of it.
        rounds: Rounds until the decision.
        full_prediction: What all trials of all classes say; None if the image was not audited.

    """

    evaluations: int
    spent: float | None
    rounds: int
    full_prediction: int | None = None


@dataclass(frozen=True)
class Decision:
    """What the errors of an image say.

    Attributes:
        prediction: The winning class.
        scores: A number for each class, the lower the better, shape (classes,).
        ledger: Of a race; None under the staged protocol.

    """

    prediction: int
    scores: "Tensor"
    ledger: Ledger | None = None


class Allocation(Protocol):
    """Which evaluations an image gets.

    Attributes:
        timesteps: Timestep of each trial, in the order in which trials are taken.
        first_stage: Number of trials that all classes take.

    """

    @property
    def timesteps(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def first_stage(self) -> int: ...  # noqa: D102

    def rounds(self, image_id: int, errors: "Tensor") -> Generator[Round, None, Decision]:
        """Yield what to evaluate next, and return the decision.

        Args:
            image_id: The image.
            errors: Errors so far, fp32, shape (trials, classes), NaN where none was taken.  Whoever
                iterates writes the errors of a round into it before asking for the next one.

        """
        ...


@dataclass(frozen=True)
class StagedProtocol:
    """Trial list and keep list.

    Attributes:
        trial_list: Trials per class at the end of each stage, increasing, at most 1000.
        keep_list: Classes kept after each stage, decreasing, the last one 1.

    """

    trial_list: tuple[int, ...]
    keep_list: tuple[int, ...]

    def __post_init__(self) -> None:
        trials, keep = self.trial_list, self.keep_list
        if not trials or any(a >= b for a, b in pairwise(trials)):
            raise UserError(f"task.trial_list={list(trials)}: must be increasing, e.g. [5, 20]")
        if trials[0] < 1 or trials[-1] > TRAIN_TIMESTEPS:
            raise UserError(f"task.trial_list={list(trials)}: allowed: 1 to {TRAIN_TIMESTEPS}")
        if len(keep) != len(trials):
            raise UserError(
                f"task.keep_list={list(keep)}: needs one entry per stage of {list(trials)}"
            )
        if keep[-1] != 1 or any(a <= b for a, b in pairwise(keep)):
            raise UserError(
                f"task.keep_list={list(keep)}: must be decreasing and end with 1, e.g. [5, 1]"
            )

    @property
    def timesteps(self) -> tuple[int, ...]:
        """Timestep of each trial, stage by stage."""
        return tuple(t for stage in self.stages() for t in stage)

    @property
    def first_stage(self) -> int:
        """Number of trials of the first stage, which all classes take."""
        return len(self.stages()[0])

    def rounds(self, image_id: int, errors: "Tensor") -> Generator[Round, None, Decision]:
        """One round per stage with timesteps of its own; see `Allocation`."""
        del image_id
        alive, done = tuple(range(errors.shape[1])), 0
        for stage, keep in zip(self.stages(), self.keep_list, strict=True):
            if stage:  # else the grid of this stage was taken by earlier ones: it only prunes
                yield Round(range(done, done + len(stage)), alive)
            done += len(stage)
            scores = errors[:done].nanmean(dim=0).tolist()
            alive = tuple(sorted(sorted(alive, key=scores.__getitem__)[:keep]))
        return Decision(alive[0], errors.nanmean(dim=0))

    def stages(self) -> list[list[int]]:
        """The new timesteps of each stage (`bigain.config.grid.stage_timesteps`)."""
        return stage_timesteps(self.trial_list)

    def evaluations(self, num_classes: int) -> int:
        """Denoiser evaluations per image (Table 10): e.g. 260 for 37 classes, [5, 20], [5, 1]."""
        return sum(self.evaluations_at(num_classes).values())

    def evaluations_at(self, num_classes: int) -> dict[int, int]:
        """Timestep -> denoiser evaluations per image there: the classes that are left."""
        alive = (num_classes, *self.keep_list[:-1])
        return {
            timestep: min(classes, num_classes)
            for classes, new in zip(alive, self.stages(), strict=True)
            for timestep in new
        }
