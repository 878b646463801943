"""Evaluations of several images in full batches, the oldest image first.

An image is in flight from its first evaluation to its decision.  Its protocol asks for a round of
evaluations at a time, so the rest of a batch is filled with those of the next images.  Evaluations
of one (image, trial) are neighbours, because what does not depend on the class is computed once for
them (`bigain.patching.sharing`).
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bigain.devices import to_device
from bigain.tasks.protocol import Allocation, Decision, Round

__all__ = ["Batch", "Filled", "ImageInFlight", "Packed", "Part", "Separate", "Waiting", "Work"]


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
        parts: Where they come from, in the order of the rows.
        noisy, noise: Of each row, on the device, shape (B, C, H, W).
        timesteps: On the CPU, shape (B,).
        classes: On the CPU, shape (B,).
        trials: Numbers on the CPU, shape (B,), equal for neighbours of the same (image, trial).
        distinct: As how many trials the batch counts, so that all batches of a kind have the same
            number; None: as many as there are.

    """

    parts: tuple[Part, ...]
    noisy: Tensor
    noise: Tensor
    timesteps: Tensor
    classes: Tensor
    trials: Tensor
    distinct: int | None = None

    @classmethod
    def of(cls, parts: Sequence[Part], size: int = 0, distinct: int | None = None) -> "Batch":
        """The evaluations of `parts`; copies of the last one fill it up to `size` rows."""
        columns: list[tuple[Tensor, ...]] = []
        before = 0
        for work, begin, end in parts:
            trial, label = work.pairs[begin:end].unbind(1)
            own, mark = to_device(trial, work.noisy.device), trial + before
            columns.append((work.noisy[own], work.noise[own], work.timesteps[trial], label, mark))
            before += len(work.timesteps)
        noisy, noise, timesteps, classes, trials = (
            _filled(torch.cat(column), size) for column in zip(*columns, strict=True)
        )
        return cls(tuple(parts), noisy, noise, timesteps, classes, trials, distinct)

    def __len__(self) -> int:
        return len(self.classes)

    def receive(self, errors: Tensor) -> Iterator[Work]:
        """Hand out the errors (B,); yields the rounds that are complete now."""
        row = 0
        for work, begin, end in self.parts:
            if work.receive(begin, errors[row : row + end - begin]):
                yield work
            row += end - begin


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
    """Full batches of rounds with the same number of classes, of one image or several.

    So for a number of classes all batches have the same number of rows and count as the same number
    of trials.  What else is in a batch changes an evaluation's place in it at most: nothing on the
    shipped backbones, the rounding of sums on some others.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, list[Part]] = {}

    def add(self, work: Work) -> None:
        """Put a round in; those of images that began earlier come first.

        A trial that is cut stays in front, so a batch has at most two of which a part is elsewhere.
        """
        classes = len(work.round.classes)
        _insert(self._waiting.setdefault(classes, []), work)

    def take(self, size: int, *, even_if_small: bool) -> Batch | None:
        """Of the batches that are full, that of the oldest image; see `Waiting`."""
        oldest = sorted(self._waiting, key=lambda n: self._waiting[n][0].work.image.order)
        for classes in oldest:
            waiting = self._waiting[classes]
            if even_if_small or _rows(waiting) >= size:
                parts = _cut(waiting, size)
                if not waiting:
                    del self._waiting[classes]
                return Batch.of(parts, size, 1 - (1 - size) // classes)
        return None


class Filled:
    """Full batches of rounds with any numbers of classes, the oldest image first.

    For races, whose images have many numbers of classes left, a few evaluations each.  At the end
    batches are small, not filled up.
    """

    def __init__(self) -> None:
        self._waiting: list[Part] = []

    def add(self, work: Work) -> None:
        """Put a round in; those of images that began earlier come first."""
        _insert(self._waiting, work)

    def take(self, size: int, *, even_if_small: bool) -> Batch | None:
        """The evaluations of the oldest images; see `Waiting`."""
        is_ready = _rows(self._waiting) >= (1 if even_if_small else size)
        return Batch.of(_cut(self._waiting, size)) if is_ready else None


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
        return Batch.of([Part(work, begin, stop)])


def _rows(parts: Iterable[Part]) -> int:
    return sum(part.end - part.begin for part in parts)


def _insert(waiting: list[Part], work: Work) -> None:
    """By the order of images, but never before what is left of a round."""
    part = Part(work, 0, len(work.pairs))
    is_cut = bool(waiting) and waiting[0].begin > 0
    insort(waiting, part, lo=int(is_cut), key=lambda each: each.work.image.order)


def _cut(waiting: list[Part], size: int) -> list[Part]:
    """Remove up to `size` evaluations from the front."""
    cut: list[Part] = []
    while waiting and size:
        work, begin, end = waiting.pop(0)
        stop = min(end, begin + size)
        cut.append(Part(work, begin, stop))
        size -= stop - begin
        if stop < end:
            waiting.insert(0, Part(work, stop, end))
    return cut


def _filled(rows: Tensor, size: int) -> Tensor:
    lacking = max(0, size - len(rows))
    return torch.cat([rows, rows[-1:].expand(lacking, *rows.shape[1:])])
