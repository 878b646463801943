"""Evaluations of several images in full batches, the oldest image first.

An image is in flight from its first evaluation to its decision.  Its protocol asks for a round of
evaluations at a time, so the rest of a batch is filled with those of the next images.  Evaluations
of one (image, trial) are neighbours, because what does not depend on the class is computed once for
them (`bigain.patching.sharing`).
"""

from bisect import insort
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bigain.tasks.protocol import Allocation, Decision, Round

__all__ = ["Batch", "ImageInFlight", "Packed", "Part", "Separate", "Waiting", "Work"]


class ImageInFlight:
    """An image that has begun.

    Args:
        image_id: Its number.
        latents: Its clean latents, shape (1, C, H, W).
        protocol: What decides which evaluations it gets.
        num_classes: Number of class conditions.
        order: How many images began before it.

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
        noise: Noise of each trial, on the device, shape (S, C, H, W).
        noisy: Noisy latents of each trial, on the device, shape (S, C, H, W).
        timesteps: Of each trial, on the CPU, shape (S,).

    Attributes:
        pairs: (index of the trial in the round, class) of each evaluation, shape (n, 2).

    """

    def __init__(
        self, image: ImageInFlight, round_: Round, noise: Tensor, noisy: Tensor, timesteps: Tensor
    ) -> None:
        self.image = image
        self.round = round_
        self.noise = noise
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
        parts: Where they come from; some rows may repeat the last one.
        rows: For each of `parts` the row of its first evaluation.
        noisy, noise: Of each row, on the device, shape (B, C, H, W).
        timesteps: On the CPU, shape (B,).
        classes: On the CPU, shape (B,).
        trials: Numbers on the CPU, shape (B,), equal for neighbours of the same (image, trial).

    """

    parts: tuple[Part, ...]
    rows: tuple[int, ...]
    noisy: Tensor
    noise: Tensor
    timesteps: Tensor
    classes: Tensor
    trials: Tensor

    @classmethod
    def of(cls, parts: Sequence[Part], width: int, capacity: int) -> "Batch":
        """`capacity` blocks of `width` rows, the first ones from `parts`.

        Rows that are missing repeat the last one of their block, or the last block, whose copies
        count as trials of their own: so all batches have as many.
        """
        columns: list[tuple[Tensor, ...]] = []
        before = 0
        for number in range(capacity):
            work, begin, end = parts[min(number, len(parts) - 1)]
            trial, label = _filled(work.pairs[begin:end], width).unbind(1)
            own, mark = trial.to(work.noisy.device), trial + before
            columns.append((work.noisy[own], work.noise[own], work.timesteps[trial], label, mark))
            before += len(work.timesteps)
        rows = tuple(range(0, width * len(parts), width))
        return cls(tuple(parts), rows, *map(torch.cat, zip(*columns, strict=True)))

    def __len__(self) -> int:
        return len(self.classes)

    def receive(self, errors: Tensor) -> Iterator[Work]:
        """Hand out the errors (B,); yields the rounds that are complete now."""
        for row, (work, begin, end) in zip(self.rows, self.parts, strict=True):
            if work.receive(begin, errors[row : row + end - begin]):
                yield work


class Waiting(Protocol):
    """Rounds that wait for evaluation."""

    def add(self, work: Work) -> None:
        """Put a round in."""
        ...

    def take(self, size: int, *, even_if_small: bool) -> Batch | None:
        """Remove a batch of at most `size` rows.

        Args:
            size: At least 1.
            even_if_small: Whether there may be fewer evaluations than there is room for.

        Returns:
            The batch; None if there is none.

        """
        ...


class Packed:
    """Packs trials of several images, whose rounds have the same number of classes, together.

    A batch has as many trials as fit, each with all its classes.  So for a number of classes all
    batches have the same number of rows and of different latents.  What else is in a batch changes
    an evaluation's place in it at most: nothing on the shipped backbones, the rounding of sums on
    some others.  A trial with more classes than fit is cut, and is alone in its batches.
    """

    def __init__(self) -> None:
        self._works: dict[int, list[Part]] = {}

    def add(self, work: Work) -> None:
        """Put a round in; those of images that began earlier come first."""
        waiting = self._works.setdefault(len(work.round.classes), [])
        insort(waiting, Part(work, 0, len(work.pairs)), key=lambda part: part.work.image.order)

    def take(self, size: int, *, even_if_small: bool) -> Batch | None:
        """Of the batches that are full, that of the oldest image; see `Waiting`."""
        oldest = sorted(self._works, key=lambda n: self._works[n][0].work.image.order)
        for classes in oldest:
            width = min(classes, size)
            capacity = size // width
            trials = sum(-(-(part.end - part.begin) // width) for part in self._works[classes])
            if even_if_small or trials >= capacity:
                return Batch.of(self._cut(classes, width, capacity), width, capacity)
        return None

    def _cut(self, classes: int, width: int, capacity: int) -> list[Part]:
        """Up to `capacity` parts of one trial and `width` evaluations each."""
        waiting = self._works[classes]
        cut: list[Part] = []
        while waiting and len(cut) < capacity:
            work, begin, end = waiting.pop(0)
            trial_ends = begin + classes - begin % classes
            stop = min(begin + width, trial_ends)
            cut.append(Part(work, begin, stop))
            if stop < end:
                waiting.insert(0, Part(work, stop, end))
        if not waiting:
            del self._works[classes]
        return cut


class Separate:
    """Batches have evaluations of one image and round only."""

    def __init__(self) -> None:
        self._parts: deque[Part] = deque()

    def add(self, work: Work) -> None:
        """Put a round in, before those of images that began later."""
        self._parts.appendleft(Part(work, 0, len(work.pairs)))

    def take(self, size: int, *, even_if_small: bool) -> Batch | None:
        """The next evaluations of the first round; see `Waiting`."""
        del even_if_small
        if not self._parts:
            return None
        work, begin, end = self._parts.popleft()
        stop = min(end, begin + size)
        if stop < end:
            self._parts.appendleft(Part(work, stop, end))
        return Batch.of([Part(work, begin, stop)], stop - begin, 1)


def _filled(rows: Tensor, width: int) -> Tensor:
    return torch.cat([rows, rows[-1:].expand(width - len(rows), -1)])
