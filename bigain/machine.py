"""Facts about this machine: its processors, the cores in reach, and its programs."""

import ctypes
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["Cores", "command_output", "cpu_model", "thread_variable", "usable_cores"]
__all__ += ["has_gpu", "keep_freed_memory", "wait_passively"]

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of glibc's `mallopt`."""
_KEEPING = ("trim_threshold", "top_pad", "mmap_threshold", "mmap_max")
"""What says how much freed memory is kept: names of glibc's tunables, and of `MALLOC_..._`."""


@dataclass(frozen=True)
class Cores:
    """The logical cores that a process may use.

    Attributes:
        online: Those of the machine.
        allowed: Those that its affinity allows.
        quota: The processor time that its cgroup gives it, in cores; None if there is no limit.

    """

    online: int
    allowed: int
    quota: float | None

    @property
    def usable(self) -> int:
        """Threads that can run at the same time, at least one."""
        return self.allowed if self.quota is None else max(1, min(self.allowed, int(self.quota)))


def usable_cores(root: Path = Path("/")) -> Cores:
    """The cores that this process may use; `root` is the root of the file system."""
    online = os.cpu_count() or 1
    has_affinity = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if has_affinity else online
    return Cores(online, allowed, min(_quotas(root), default=None))


def has_gpu(root: Path = Path("/")) -> bool:
    """Whether this process sees a GPU of NVIDIA, AMD or Apple; torch, which knows, is not loaded.

    Drivers are found by their devices below `root`: also in a container, and in WSL (`dxg`).
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    is_apple = (platform.system(), platform.machine()) == ("Darwin", "arm64")
    devices = (each for name in ("nvidia[0-9]*", "kfd", "dxg") for each in root.glob(f"dev/{name}"))
    return is_apple or any(True for _ in devices)


def wait_passively() -> None:
    """Let threads of OpenMP that have nothing to do sleep, and BLAS outside torch use one thread.

    A waiting thread of OpenMP otherwise keeps its core busy, and on cores that other processes
    use, too, everybody waits for everybody.  The libraries read this when they are loaded, so it
    must be called before torch and numpy are imported.  Processes that this one starts inherit it.
    What the user has set stays.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ.update(OMP_WAIT_POLICY="PASSIVE", KMP_BLOCKTIME="0")
    if not any(map(thread_variable, _BLAS)):
        os.environ["OPENBLAS_NUM_THREADS"] = "1"


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next tensors; returns whether it was told so.

    By itself it gives large blocks back to the kernel when they are freed, and the next layer of a
    network gets them anew: each page is then cleared and mapped once more.  Now up to 2 GiB that
    lie free at the end of the heap stay, and only blocks of 1 GiB and more are got one by one.
    If the user has set one of these sizes in the environment, all stay.  Other C libraries are left
    as they are.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    is_set = any(f"MALLOC_{name.upper()}_" in os.environ or name in tunables for name in _KEEPING)
    if is_set or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Before version 2.35, glibc takes at most 32 MiB as the size of a block of its own.
    is_kept = mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_THRESHOLD, 32 << 20)
    return bool(is_kept and mallopt(_TRIM_THRESHOLD, (1 << 31) - 1) and mallopt(_TOP_PAD, 64 << 20))


def thread_variable(name: str) -> str | None:
    """The value of an environment variable with a number of threads; None if it has none.

    OpenMP also takes a list, one number for each level of nesting, and ignores anything else.
    """
    value = os.environ.get(name, "").strip()
    return value if re.fullmatch(r"\+?0*[1-9]\d*(\s*,\s*\d+)*", value, re.ASCII) else None


def _quotas(root: Path) -> Iterator[float]:
    """Every limit of processor time on the way from the cgroups of this process to their roots.

    Version 2 has `cpu.max` ("QUOTA PERIOD" or "max PERIOD"); version 1 has `cpu.cfs_quota_us` (-1:
    no limit) and `cpu.cfs_period_us` below the folder of the controller `cpu`.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        for folder in _mounts(root / "sys/fs/cgroup", controllers.split(",")):
            for below in (PurePosixPath(path), *PurePosixPath(path).parents):
                place = folder / str(below).lstrip("/")
                words = " ".join(_lines(place / "cpu.max")).split()
                words = words or [
                    *_lines(place / "cpu.cfs_quota_us"),
                    *_lines(place / "cpu.cfs_period_us"),
                ]
                if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal():
                    yield int(words[0]) / int(words[1])


def _mounts(cgroups: Path, controllers: list[str]) -> Iterator[Path]:
    """Where the hierarchy of `controllers` may be mounted, if it is one that limits time."""
    if controllers == [""]:  # version 2; beside version 1 it may be at `unified`
        yield from (cgroups, cgroups / "unified")
    elif "cpu" in controllers:
        yield from (cgroups / ",".join(controllers), cgroups / "cpu")


def _lines(path: Path) -> list[str]:
    """The lines of a small file; none if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def cpu_model() -> str | None:
    """Name of the processor; None if it is unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return (
            command_output("sysctl", "-n", "machdep.cpu.brand_string")
            or platform.processor()
            or None
        )
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def command_output(*command: str) -> str | None:
    """Output of a command, stripped; None if it is missing, fails or takes over 20 seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
