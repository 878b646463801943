"""How fast work goes, and how that is shown: a bar on a terminal, otherwise one line a minute."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import Any, Self, TextIO

from bigain.runs.provenance import now

__all__ = ["Meter", "Pace", "ShardProgress", "duration"]

_SPACING = 1.0
_SAMPLES = 60
_MINUTE = 60.0


class Pace:
    """Counts what is done and tells how fast, over about the last minute.

    Args:
        total: How much there is to do.
        done: How much was done before.

    """

    def __init__(self, total: int, done: int = 0) -> None:
        self.total = total
        self.done = done
        self._samples = deque([(time.monotonic(), done)], maxlen=_SAMPLES)

    def add(self, count: int = 1) -> None:
        """So much more is done."""
        self.done += count
        moment = time.monotonic()
        if moment - self._samples[-1][0] >= _SPACING:
            self._samples.append((moment, self.done))

    def rate(self) -> float:
        """Per second; 0 before anything was done here."""
        then, done = self._samples[0]
        return (self.done - done) / max(time.monotonic() - then, 1e-9)

    def left(self) -> float | None:
        """Seconds until all is done at this rate; None if nobody can tell."""
        rate = self.rate()
        return (self.total - self.done) / rate if rate else None


class ShardProgress:
    """What the beat of a shard says.

    Attributes:
        pace: How fast it goes; None until its session is open.
        has_begun: Whether it has looked at the run's files, under the folder's lock.

    """

    def __init__(self) -> None:
        self.pace: Pace | None = None
        self.has_begun = False
        self._started = now()

    def __call__(self) -> dict[str, Any]:
        """Images of the shard that are done and in all, and how many are done per second."""
        pace, begun = self.pace, {"started": self._started, "begun": self.has_begun}
        if pace is None:
            return begun
        return {
            **begun,
            "done": pace.done,
            "total": pace.total,
            "images_per_s": round(pace.rate(), 4),
        }


class Meter:
    """A context manager that shows a `Pace` while it goes on.

    Args:
        total: How much there is to do.
        title: What is done.
        unit: What one of it is.
        is_shown: False: show nothing.
        stream: Where to; stderr if not given.

    """

    def __init__(
        self,
        total: int,
        title: str,
        unit: str,
        *,
        is_shown: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self._pace = Pace(total)
        self._title = title
        self._unit = unit
        self._is_shown = is_shown
        self._stream = stream or sys.stderr
        self._bar: Any = None
        self._shown = -1

    def __enter__(self) -> Self:
        if self._is_shown and self._stream.isatty():
            from tqdm import tqdm  # noqa: PLC0415 -- only for terminals

            pace = self._pace
            self._bar = tqdm(
                total=pace.total, desc=self._title, unit=self._unit, leave=False, file=self._stream
            )
        self._line()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._pace.done != self._shown:
            self._line()

    def advance(self) -> None:
        """One more is done."""
        self._pace.add()
        if self._bar is not None:
            self._bar.update()
        elif time.monotonic() >= self._next:
            self._line()

    def _line(self) -> None:
        """`title: 120/1000 images, 3.2 images/s, 4 min 35 s left`."""
        pace, self._shown = self._pace, self._pace.done
        self._next = time.monotonic() + _MINUTE
        if not self._is_shown or self._bar is not None or not pace.total:
            return
        parts = [f"{self._title}: {pace.done}/{pace.total} {self._unit}s"]
        rate, left = pace.rate(), pace.left()
        if rate:
            parts.append(f"{rate:.3g} {self._unit}s/s")
        if left:
            parts.append(f"{duration(left)} left")
        self._stream.write(", ".join(parts) + "\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Two units: `3 d 4 h`, `2 h 5 min`, `4 min 35 s`, `12 s`."""
    whole = round(seconds)
    for size, name, below, part in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // below} {part}"
    return f"{whole} s"
