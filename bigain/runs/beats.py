"""Beats: small files that say which process is at work, and how far it is.

    with Heartbeat(path, lambda: {"done": done, "total": 100}):
        work()

A thread replaces the file every `INTERVAL` seconds and removes it at the end.  A process that was
killed leaves a file behind that grows old.  A file is stale `STALE` seconds after it was written.

Age is measured by the clock of the file system: a file is created beside the beat, and the times of
both are compared.  So clocks that jump or differ between nodes do no harm.  Creating a file also
makes a network file system look at the folder again in place of its attribute cache.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bigain.files import create_text, parse_json, replace_text

__all__ = [
    "INTERVAL",
    "STALE",
    "Beat",
    "Heartbeat",
    "age",
    "file_clock",
    "is_alive",
    "is_same",
    "lives_here",
    "own_process",
    "read_beat",
    "whereabouts",
]

INTERVAL = 5.0
"""Seconds between two beats."""

STALE = 60.0
"""Seconds after which a process without a beat counts as dead."""

Beat = Mapping[str, Any]
"""The content of a beat: what `own_process` returns, and what the owner says about its work."""

_IDENTITY = ("host", "space", "pid", "birth")
_SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURMD_NODENAME")


def own_process() -> dict[str, Any]:
    """What identifies this process, on every node, and its Slurm job if it has one.

    `space` is the boot and the namespace in which `pid` counts, and `birth` the start of the
    process there; both are None where the system does not tell.
    """
    slurm = {key.lower(): os.environ[key] for key in _SLURM if key in os.environ}
    pid = os.getpid()
    place = {"host": socket.gethostname(), "space": _space()}
    return {**place, "pid": pid, "birth": _birth(pid), **slurm}


class Heartbeat:
    """A context manager that keeps a beat fresh.

    Args:
        path: The file; only one process at a time may own it.
        content: What to say about the work, as JSON data; called in another thread.
        interval: Seconds between two beats.

    Attributes:
        is_lost: Whether another process has taken the file over since: this one had stood still
            for so long that it counted as dead.  Then it writes no more beats.

    """

    def __init__(
        self,
        path: Path,
        content: Callable[[], Mapping[str, Any]] = dict,
        interval: float = INTERVAL,
    ) -> None:
        self.path = path
        self.is_lost = False
        self._content = content
        self._interval = interval
        self._process = own_process()
        self._ends = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._last: float | None = None

    def create(self) -> None:
        """Write the first beat, before entering.

        Raises:
            FileExistsError: There is one.

        """
        create_text(self.path, self._text())
        self._last = _awake()

    def __enter__(self) -> Self:
        if self._last is None:
            self._write()
        self._thread = threading.Thread(target=self._keep, name=f"beat {self.path}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends.set()
        self._thread.join()
        self._look()
        if not self.is_lost:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def check(self) -> bool:
        """Whether the file is still that of this process.

        Looks at the disk only if the last beat is so old that somebody may have taken over.
        """
        if self._silence() > STALE / 2:
            self.beat()
        return not self.is_lost

    def _keep(self) -> None:
        while not (self._ends.wait(self._interval) or self.is_lost):
            self.beat()

    def beat(self) -> None:
        """Write one now, unless another process did; without room on the disk only its time."""
        with self._one_at_a_time:
            self._look()
            if self.is_lost or not self.path.parent.is_dir():
                return
            try:
                self._write()
            except OSError:
                with suppress(OSError):
                    os.utime(self.path)
                    self._last = _awake()

    def _look(self) -> None:
        found = read_beat(self.path)
        if found is not None:
            is_own = is_same(found, self._process)
        else:  # a successor may have come and gone meanwhile
            is_own = self._silence() < STALE or not self.path.parent.is_dir()
        self.is_lost = self.is_lost or not is_own

    def _silence(self) -> float:
        """Seconds since the last beat."""
        return 0.0 if self._last is None else _awake() - self._last

    def _text(self) -> str:
        return json.dumps({**self._process, **self._content()}) + "\n"

    def _write(self) -> None:
        replace_text(self.path, self._text())
        self._last = _awake()


def read_beat(path: Path) -> Beat | None:
    """The content of a beat; None if there is no such file, or it is not readable as one."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() >= set(_IDENTITY) else None


def is_same(beat: Beat, process: Mapping[str, Any]) -> bool:
    """Whether `beat` was written by `process`, as `own_process` describes it."""
    return all(beat[key] == process[key] for key in _IDENTITY)


def age(path: Path, now: float | None = None) -> float | None:
    """Seconds since `path` was written; None if there is no such file.

    Args:
        path: A beat.
        now: What `file_clock` returned for a folder of the same file system (for many files).

    """
    now = file_clock(path.parent) if now is None else now
    try:
        with path.open("rb") as handle:  # opening asks a file server, `stat` alone may not
            return max(0.0, now - os.fstat(handle.fileno()).st_mtime)
    except FileNotFoundError:
        return None


def file_clock(folder: Path) -> float:
    """The time that the file system of `folder` gives to a file written now, in seconds.

    It is this machine's time where the folder cannot be written to.
    """
    probe = folder / f".clock.{uuid.uuid4().hex[:8]}.tmp"
    try:
        probe.write_bytes(b"\n")
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def is_alive(path: Path, now: float | None = None) -> bool:
    """Whether the process that wrote `path` is at work: the beat is fresh, its process not gone.

    Args:
        path: A beat.
        now: As for `age`.

    """
    beat = read_beat(path)
    if beat is None or lives_here(beat) is False:
        return False
    seconds = age(path, now)
    return seconds is not None and seconds < STALE


def lives_here(beat: Beat) -> bool | None:
    """Whether the process of `beat` exists; None if it is none of this machine's."""
    if beat["host"] != socket.gethostname() or beat["space"] != _space():
        return None
    if beat["birth"] is not None:
        return bool(_birth(beat["pid"]) == beat["birth"])
    try:
        os.kill(beat["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def whereabouts(beat: Beat) -> str:
    """Where the process of `beat` is, for messages: `host n1, process 42, Slurm job 7_3`."""
    array = beat.get("slurm_array_job_id")
    job = f"{array}_{beat.get('slurm_array_task_id')}" if array else beat.get("slurm_job_id")
    node = beat.get("slurmd_nodename") or beat["host"]
    return f"host {node}, process {beat['pid']}" + (f", Slurm job {job}" if job else "")


def _space() -> str | None:
    """The boot of the machine and the process namespace, which containers have of their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _birth(pid: int) -> str | None:
    """When process `pid` began, in clock ticks since the boot; None if it is gone or unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _awake() -> float:
    """Seconds on a clock that never jumps and, where there is one, goes on while asleep."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
