"""How evaluations of several images share batches, the oldest image first.

A protocol asks for a round of evaluations of an image at a time, so the rest of a batch is filled
with those of the next images.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from bigain.errors import UserError
from bigain.tasks.evaluations import Batch, Part, Work

__all__ = ["Filled", "Packed", "Separate", "Waiting", "WholeTrials"]


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
        for classes in _by_age(self._waiting):
            waiting = self._waiting[classes]
            if even_if_small or _rows(waiting) >= size:
                parts = _cut(waiting, size)
                if not waiting:
                    del self._waiting[classes]
                return Batch.of(parts, size, 1 - (1 - size) // classes)
        return None


class WholeTrials:
    """Batches of complete (image, trial): all its candidate classes are in one batch.

    For operators with one plan for all classes of an image.  A batch has rounds with the same
    number K of classes and as many trials as fit, so `size - size % K` rows.  Copies of its last
    trial fill it up at the end of a run.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, list[Part]] = {}

    def add(self, work: Work) -> None:
        """Put a round in; those of images that began earlier come first."""
        _insert(self._waiting.setdefault(len(work.round.classes), []), work)

    def take(self, size: int, *, even_if_small: bool) -> Batch | None:
        """Of the batches that are full, that of the oldest image; see `Waiting`.

        Raises:
            UserError: there are more classes than rows.

        """
        for classes in _by_age(self._waiting):
            waiting, trials = self._waiting[classes], size // classes
            if not trials:
                raise UserError(
                    f"batch_size={size}: allowed: at least {classes}, because with "
                    f"operator.plan=shared the {classes} classes of an image are in one batch"
                )
            if even_if_small or _rows(waiting) >= trials * classes:
                parts = _cut(waiting, trials * classes)
                if not waiting:
                    del self._waiting[classes]
                work, _, end = parts[-1]
                lacking = trials - _rows(parts) // classes
                copies = [Part(work, end - classes, end)] * lacking
                return Batch.of(parts, unused=copies)
        return None


def _by_age(waiting: dict[int, list[Part]]) -> list[int]:
    """The numbers of classes, that of the oldest image first."""
    return sorted(waiting, key=lambda classes: waiting[classes][0].work.image.order)


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
