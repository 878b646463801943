"""What ends a run from outside: SIGTERM, and faults of the machine."""

import errno
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from bigain.errors import FaultError

__all__ = ["MACHINES", "STOPPED", "Stopped", "Stopping", "named_faults"]

STOPPED = 143
"""Exit code of a process that SIGTERM ended, as shells count it: 128 + 15."""

REPEATS = 3.0
"""Seconds in which more signals count as the first one: schedulers may send it more than once."""

_T = TypeVar("_T")

MACHINES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.ENODEV, errno.ENXIO, errno.ENOTCONN),
)
"""Errors of a disk or file server, whatever file they are about."""


class Stopped(SystemExit):
    """SIGTERM was received, and the record in flight is on disk."""

    def __init__(self) -> None:
        super().__init__(STOPPED)


class Stopping:
    """A context manager that ends the process on SIGTERM.

    In the loops of `each`, the item in flight is finished first.  Elsewhere `Stopped` is raised at
    once.  A second SIGTERM kills the process if it comes at least `REPEATS` seconds later; so does
    one after the end of the context.  Only the main thread receives signals; in another one nothing
    changes.
    """

    def __init__(self) -> None:
        self._told: float | None = None
        self._is_in_flight = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._tell) or signal.SIG_DFL
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        is_ending = self._told is not None and self._before == signal.SIG_DFL
        if self._before is not None and not is_ending:
            signal.signal(signal.SIGTERM, self._before)

    def each(self, items: Generator[_T, None, None]) -> Generator[_T, None, None]:
        """The items; told to stop, it raises `Stopped` after the body of the loop."""
        self._is_in_flight = True
        try:
            with closing(items):
                for item in items:
                    yield item
                    if self._told is not None:
                        raise Stopped
        finally:
            self._is_in_flight = False
        if self._told is not None:
            raise Stopped

    def _tell(self, *_signal: object) -> None:
        if self._told is None:
            self._told = time.monotonic()
            if not self._is_in_flight:
                raise Stopped
        elif time.monotonic() - self._told >= REPEATS:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def named_faults(folder: Path) -> Iterator[None]:
    """Turn what a disk or file server does to the run in `folder` into a `FaultError`.

    These are errors of the machine about any file, and all errors about files in the folder.
    """
    try:
        yield
    except OSError as error:
        place = folder if error.filename is None else Path(os.fsdecode(error.filename))
        if error.errno not in MACHINES and not (error.errno and place.is_relative_to(folder)):
            raise
        raise FaultError(
            f"{place}: {error.strerror}; all records so far are in {folder}: mend this, then the "
            "same command goes on"
        ) from error
