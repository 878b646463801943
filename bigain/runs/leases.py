"""Leases: locks in the folder of a run that hold on one machine and between nodes.

    with Lease(folder, "journal-0of1", waits=False) as heart:
        ...                                  # the only process with this lease
        heart.check()

A lease is a file lock and a beat, `.NAME.lock` and `.NAME.beat`.  The lock falls at once with the
process that holds it.  But a network file system may keep locks local to a node, refuse them, or
keep those of a node that died.  So the beat decides: it is created as a hard link, or with O_EXCL
where there are none, which file servers carry out as one step.  As long as it is fresh the lease
belongs to its writer.  Of a process on
this machine it is known whether it exists; of others, that its beat grew stale.

Where flock is not supported, the lock is an existence lock (`filelock.SoftFileLock`), which a dead
process leaves behind.  It is removed when the beat does not show that its holder lives.
"""

import errno
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from bigain.files import create_text
from bigain.runs import beats
from bigain.runs.beats import Beat, Heartbeat, age, lives_here, read_beat, whereabouts

__all__ = ["HeldError", "Lease", "beat_path", "wait_for_silence"]

_LOG = logging.getLogger(__name__)

_PATIENCE = 0.2
"""Seconds to wait for a lock; who only looks whether it is held holds it for much less."""

_PAUSE = 0.1
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class HeldError(Exception):
    """Another process has the lease.

    Attributes:
        place: Where that process is, or "another process" if it does not say.

    """

    def __init__(self, beat: Beat | None) -> None:
        super().__init__("held by another process")
        self.place = "another process" if beat is None else whereabouts(beat)


class Lease:
    """A context manager; entering gives the heartbeat of the lease.

    Args:
        folder: An existing folder.
        name: What the lease is for.
        content: What the beat says about the work.
        waits: Whether to wait for another holder, in place of raising HeldError.

    """

    def __init__(
        self,
        folder: Path,
        name: str,
        content: Callable[[], Mapping[str, Any]] = dict,
        *,
        waits: bool,
    ) -> None:
        self._lock_path = str(folder / f".{name}.lock")
        self._beat_path = beat_path(folder, name)
        self._content = content
        self._waits = waits
        self._is_soft = False
        self._has_told = False

    def __enter__(self) -> Heartbeat:
        while True:
            try:
                with ExitStack() as held:
                    held.callback(self._locked().release)
                    heart = self._claimed(held)
                    self._held = held.pop_all()
                    return heart
            except HeldError:
                if not self._waits:
                    raise
            time.sleep(_PAUSE)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    def _locked(self) -> BaseFileLock:
        """The acquired lock; one of a dead holder is replaced.  HeldError if it is held."""
        lock = self._acquired()
        if lock is None:
            self._check_forsaken()
            Path(self._lock_path).unlink(missing_ok=True)
            lock = self._acquired()
        if lock is None:
            raise HeldError(read_beat(self._beat_path))
        return lock

    def _acquired(self) -> BaseFileLock | None:
        """The lock if it was free."""
        if not self._is_soft:
            lock: BaseFileLock = FileLock(self._lock_path, timeout=_PATIENCE, thread_local=False)
            try:
                lock.acquire()
            except Timeout:
                self._is_soft = isinstance(lock, SoftFileLock)  # FileLock turns into one
                return None
            except (OSError, NotImplementedError) as error:
                if isinstance(error, OSError) and error.errno not in _NO_FLOCK:
                    raise
                self._is_soft = True
            else:
                return lock
        soft = SoftFileLock(self._lock_path, timeout=_PATIENCE, thread_local=False)
        with suppress(Timeout):
            soft.acquire()
            return soft
        return None

    def _check_forsaken(self) -> None:
        """Raise HeldError unless the holder of the lock is dead, as far as its beat tells.

        The lock of a process that exists here is never taken.  A lock without flock may be taken
        by two, because the beat admits only one of them.
        """
        dead = wait_for_silence(self._beat_path, self._tell)
        if (dead is None and not self._is_soft) or (dead is not None and lives_here(dead)):
            raise HeldError(dead)

    def _claimed(self, held: ExitStack) -> Heartbeat:
        """A heartbeat whose file this process created; HeldError if another one was first."""
        if self._beat_path.exists():
            _remove(self._beat_path, wait_for_silence(self._beat_path, self._tell))
        heart = Heartbeat(self._beat_path, self._content)
        try:
            heart.create()
        except FileExistsError:
            raise HeldError(read_beat(self._beat_path)) from None
        return held.enter_context(heart)

    def _tell(self, message: str) -> None:
        """Warn once, however often the lease is tried."""
        if not self._has_told:
            self._has_told = True
            _LOG.warning(message)


def beat_path(folder: Path, name: str) -> Path:
    """The beat of the lease `name`."""
    return folder / f".{name}.beat"


def wait_for_silence(path: Path, tell: Callable[[str], object] = _LOG.warning) -> Beat | None:
    """Return when the beat at `path` is gone, or its process is dead; what it said.

    A process on another node may have died a moment ago.  So a fresh beat is watched until it is
    stale, which takes up to `bigain.runs.beats.STALE` seconds.

    Args:
        path: The beat.
        tell: Called once, with a message, when waiting begins.

    Raises:
        HeldError: The process exists on this machine, or gives another beat meanwhile.

    """
    first, told = _state(path), False
    while True:
        beat, seconds = read_beat(path), age(path)
        lives = None if beat is None else lives_here(beat)
        if seconds is None or seconds >= beats.STALE or lives is False:
            return beat
        if lives or _state(path) != first:
            raise HeldError(beat)
        if not told:
            told = True
            place = "another process" if beat is None else whereabouts(beat)
            left = beats.STALE - seconds
            tell(f"{path.parent}: {place} was at work; waiting {left:.0f} s for a beat")
        time.sleep(min(_PAUSE, beats.INTERVAL))


def _state(path: Path) -> tuple[int, int] | None:
    """What changes with each beat; None if there is no such file."""
    try:
        with path.open("rb") as handle:
            state = os.fstat(handle.fileno())
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns


def _remove(path: Path, dead: Beat | None) -> None:
    """Remove the beat of a dead process; what another process wrote meanwhile stays."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.replace(aside)
    except FileNotFoundError:
        return
    try:
        if read_beat(aside) != dead:
            with suppress(FileExistsError):  # it is written again already
                create_text(path, aside.read_text(encoding="utf-8"))
    finally:
        aside.unlink(missing_ok=True)
