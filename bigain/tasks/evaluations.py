"""Evaluations of images in flight, and batches of them.

An image is in flight from its first evaluation to its decision.  Its protocol asks for a round of
evaluations at a time; `bigain.tasks.packing` puts rounds of several images into batches.
Evaluations of one (image, trial) are neighbours, because what does not depend on the class is
computed once for them (`bigain.patching.sharing`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.noise_schedules import Score
from bigain.devices import to_device
from bigain.tasks.batches import keyed_noise
from bigain.tasks.protocol import Allocation, Decision, Round

__all__ = ["Batch", "ImageInFlight", "Part", "Work", "draw_trials"]


def draw_trials(
    backbone: Backbone, score: Score, seed: int, image_id: int, latents: Tensor, timesteps: Tensor
) -> tuple[Tensor, Tensor]:
    """Targets and noisy latents of an image at some timesteps, fp32, each (S, C, H, W).

    They depend on no class and no operator, so that all of these are compared in pairs.  The noise
    is a function of the integer timestep, whatever the schedule makes of it.

    Args:
        backbone: Its noise schedule counts.
        score: What the errors are of; the target of `noise` is the noise.
        seed: Seed of the noise.
        image_id: Its number, part of the key of the noise.
        latents: Its clean latents on the CPU, shape (1, C, H, W).
        timesteps: Of each trial, on the CPU, shape (S,).

    """
    shape = tuple(latents.shape)
    keys = [("classification", image_id, timestep) for timestep in timesteps.tolist()]
    noise = torch.cat([keyed_noise(seed, *key, shape=shape) for key in keys])
    noisy = backbone.schedule.add_noise(latents, noise, timesteps)
    return backbone.schedule.target(score, latents, noise, timesteps), noisy


class ImageInFlight:
    """An image that has begun.

    Args:
        image_id: Its number.
        latents: Its clean latents, shape (1, C, H, W).
        protocol: What decides which evaluations it gets.
        num_classes: Number of class conditions.
        order: Its place among the images in the order in which they began.

    Attributes:
        errors: Errors so far, fp32, on the CPU; shape (trials, classes).
        decision: What they say; None while evaluations are missing.

    """

    def __init__(
        self,
        image_id: int,
        latents: Tensor,
        protocol: Allocation,
        num_classes: int,
        order: int,
    ) -> None:
        self.image_id = image_id
        self.order = order
        self.latents = latents
        self.errors = torch.full((len(protocol.timesteps), num_classes), torch.nan)
        self.decision: Decision | None = None
        self._rounds = protocol.rounds(image_id, self.errors)

    def next_round(self) -> Round | None:
        """What to evaluate next; None if there is a decision."""
        try:
            return next(self._rounds)
        except StopIteration as end:
            self.decision = end.value
            return None


class Work:
    """A round in flight.

    Args:
        image: The image.
        round_: Its trials and classes.
        target: What the errors of each trial are measured from, on the device, (S, C, H, W).
        noisy: Noisy latents of each trial, on the device, shape (S, C, H, W).
        timesteps: Of each trial, on the CPU, shape (S,).

    Attributes:
        pairs: (index of the trial in the round, class) of each evaluation, shape (n, 2).

    """

    def __init__(
        self, image: ImageInFlight, round_: Round, target: Tensor, noisy: Tensor, timesteps: Tensor
    ) -> None:
        self.image = image
        self.round = round_
        self.target = target
        self.noisy = noisy
        self.timesteps = timesteps
        self.pairs = torch.cartesian_prod(
            torch.arange(len(round_.trials)), torch.tensor(round_.classes)
        )
        self._missing = len(self.pairs)

    def receive(self, begin: int, errors: Tensor) -> bool:
        """Write the errors of the evaluations from `begin` on; whether they are all here now."""
        trial, label = self.pairs[begin : begin + len(errors)].unbind(1)
        self.image.errors[trial + self.round.trials.start, label] = errors
        self._missing -= len(errors)
        return self._missing == 0


class Part(NamedTuple):
    """The evaluations `begin` to `end` of a round."""

    work: Work
    begin: int
    end: int


@dataclass(frozen=True)
class Batch:
    """Evaluations that are computed together.

    Attributes:
        parts: Where they come from, in the order of the rows.
        noisy, target: Of each row, on the device, shape (B, C, H, W).
        timesteps: On the CPU, shape (B,).
        classes: On the CPU, shape (B,).
        trials: Numbers on the CPU, shape (B,), equal for neighbours of the same (image, trial).
        distinct: As how many trials the batch counts, so that all batches of a kind have the same
            number; None: as many as there are.

    """

    parts: tuple[Part, ...]
    noisy: Tensor
    target: Tensor
    timesteps: Tensor
    classes: Tensor
    trials: Tensor
    distinct: int | None = None

    @classmethod
    def of(
        cls,
        parts: Sequence[Part],
        size: int = 0,
        distinct: int | None = None,
        unused: Sequence[Part] = (),
    ) -> "Batch":
        """The evaluations of `parts`, then those of `unused`, whose errors are thrown away.

        Copies of the last one fill it up to `size` rows.
        """
        columns: list[tuple[Tensor, ...]] = []
        before = 0
        for work, begin, end in (*parts, *unused):
            trial, label = work.pairs[begin:end].unbind(1)
            own, mark = to_device(trial, work.noisy.device), trial + before
            columns.append((work.noisy[own], work.target[own], work.timesteps[trial], label, mark))
            before += len(work.timesteps)
        noisy, target, timesteps, classes, trials = (
            _filled(torch.cat(column), size) for column in zip(*columns, strict=True)
        )
        return cls(tuple(parts), noisy, target, timesteps, classes, trials, distinct)

    def __len__(self) -> int:
        return len(self.classes)

    def receive(self, errors: Tensor) -> Iterator[Work]:
        """Hand out the errors (B,); yields the rounds that are complete now."""
        row = 0
        for work, begin, end in self.parts:
            if work.receive(begin, errors[row : row + end - begin]):
                yield work
            row += end - begin


def _filled(rows: Tensor, size: int) -> Tensor:
    lacking = max(0, size - len(rows))
    return torch.cat([rows, rows[-1:].expand(lacking, *rows.shape[1:])])
