"""Files below the results that nobody needs any more: what killed processes left behind.

    .NAME.xxxxxxxx.tmp      a file that was being written (`bigain.files.replace_file`)
    .NAME.beat, *.beat      the beat of a process that is gone
    .NAME.lock              a lock that nobody holds

Journals are data and are never orphans.  In the folder of a run that a process works on, on any
node, nothing is one; and a temporary file only after an hour, because writing it may take long.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bigain.runs.beats import STALE, age, file_clock, is_alive

__all__ = ["Orphan", "find_orphans"]

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tmp")
_WRITTEN_BY_NOW = 3600.0
"""Seconds after which no process writes to a temporary file any more."""


@dataclass(frozen=True)
class Orphan:
    """A file that can be deleted.

    Attributes:
        path: The file.
        kind: What it was.
        size: Bytes.

    """

    path: Path
    kind: str
    size: int

    def delete(self) -> bool:
        """Delete it unless it came into use meanwhile; whether it is gone."""
        with suppress(OSError):
            if self.path.suffix == ".lock":
                return _delete_lock(self.path)
            if self.path.suffix == ".beat" and is_alive(self.path):
                return False
            self.path.unlink(missing_ok=True)
        return not self.path.exists()


def find_orphans(folder: Path) -> list[Orphan]:
    """The orphans in this folder and all below it, sorted by path."""
    clock, found = file_clock(folder), []
    for place, _, names in os.walk(folder):
        files = [Path(place) / name for name in names]
        is_used = any(path.suffix == ".beat" and is_alive(path, clock) for path in files)
        kinds = {path: _kind(path, clock, is_used=is_used) for path in files}
        found += [Orphan(path, kind, _size(path)) for path, kind in kinds.items() if kind]
    return sorted(found, key=lambda orphan: orphan.path)


def _kind(path: Path, clock: float, *, is_used: bool) -> str | None:
    """What `path` is an orphan of; None if it is none."""
    if path.suffix == ".beat" and _is_older(path, STALE, clock) and not is_alive(path, clock):
        return "beat of a process that is gone"
    if is_used:
        return None
    if _TEMPORARY.fullmatch(path.name) and _is_older(path, _WRITTEN_BY_NOW, clock):
        return "temporary file"
    if path.suffix == ".lock" and path.name.startswith(".") and not _is_held(path):
        return "lock that nobody holds"
    return None


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _is_older(path: Path, seconds: float, clock: float) -> bool:
    with suppress(OSError):
        found = age(path, clock)
        return found is not None and found > seconds
    return False


def _is_held(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError, NotImplementedError):
        return True


def _delete_lock(path: Path) -> bool:
    """Delete a lock while holding it: who waits for it sees that, and makes a new one."""
    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
    except (Timeout, NotImplementedError):
        return False
    return True
