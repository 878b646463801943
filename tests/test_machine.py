"""What a process may use of a machine, from made-up facts about it."""

import mmap
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bigain.cli import main
from bigain.launch import jobs
from bigain.machine import Cores, has_gpu, usable_cores, wait_passively


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system without cgroups, on a machine of 16 cores of which 6 are allowed."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


CGROUP = "proc/self/cgroup"
V2, V1 = "0::/a/b\n", "5:cpuset:/\n3:cpu,cpuacct:/job\n0::/\n"
FAKES: list[tuple[dict[str, str], float | None, int]] = [
    ({}, None, 6),
    ({CGROUP: V2}, None, 6),
    ({CGROUP: V2, "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, None, 6),
    ({CGROUP: V2, "sys/fs/cgroup/a/b/cpu.max": "250000 100000\n"}, 2.5, 2),
    ({CGROUP: V2, "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, 0.5, 1),
    ({CGROUP: V2, "sys/fs/cgroup/a/b/cpu.max": "1200000 100000\n"}, 12.0, 6),
    (
        {
            CGROUP: V2,
            "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
            "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
        },
        3.0,
        3,
    ),
    ({CGROUP: V2, "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4.0, 4),
    (
        {
            CGROUP: V1,
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "50000\n",
        },
        3.0,
        3,
    ),
    (
        {
            CGROUP: V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
        },
        2.0,
        2,
    ),
]


@pytest.mark.parametrize(("files", "quota", "usable"), FAKES)
def test_the_cores_are_those_of_affinity_and_cgroup(
    root: Path, files: dict[str, str], quota: float | None, usable: int
) -> None:
    write(root, files)
    cores = usable_cores(root)
    assert cores == Cores(16, 6, quota)
    assert cores.usable == usable


def test_without_affinity_all_cores_are_allowed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores(root) == Cores(16, 16, None)


NAMES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OPENBLAS_NUM_THREADS")


def waiting(monkeypatch: pytest.MonkeyPatch, **own: str) -> list[str | None]:
    for name in (*NAMES, "GOMP_SPINCOUNT", "KMP_LIBRARY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as inside:
        inside.setattr(os, "environ", os.environ.copy())
        wait_passively()
        return [os.environ.get(name) for name in NAMES]


def test_threads_wait_asleep_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert waiting(monkeypatch) == ["PASSIVE", "0", "1"]
    assert waiting(monkeypatch, OMP_WAIT_POLICY="ACTIVE") == ["ACTIVE", None, "1"]
    assert waiting(monkeypatch, KMP_BLOCKTIME="5") == [None, "5", "1"]
    assert waiting(monkeypatch, OMP_NUM_THREADS="4") == ["PASSIVE", "0", None]
    assert waiting(monkeypatch, OMP_NUM_THREADS="abc") == ["PASSIVE", "0", "1"]
    assert waiting(monkeypatch, OMP_NUM_THREADS="") == ["PASSIVE", "0", "1"]
    assert waiting(monkeypatch, OPENBLAS_NUM_THREADS="2") == ["PASSIVE", "0", "2"]


@pytest.mark.parametrize(
    ("module", "call", "loaded_later"),
    [
        ("bigain.cli.main", "main(['--version'])", {"torch", "numpy", "scipy"}),
        ("bigain.launch.jobs", "job(OmegaConf.create())", {"torch", "scipy"}),
    ],
)
def test_a_command_and_a_job_set_this_before_torch_is_loaded(
    module: str, call: str, loaded_later: set[str]
) -> None:
    code = (
        f"import os, sys; import {module} as module; from contextlib import suppress\n"
        "from omegaconf import OmegaConf\n"
        f"module.wait_passively = lambda: print({loaded_later} & set(sys.modules))\n"
        f"with suppress(Exception): module.{call}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "set()"


FAULTS = """
import resource
from bigain.machine import keep_freed_memory

def layers(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        blocks = [bytes([1]) * (24 << 20) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

is_kept = keep_freed_memory()
layers(2)
print(int(is_kept), layers(5))
"""
"""Prints whether memory is kept, and the page faults of five times 96 MiB, got and freed."""


def page_faults(**environment: str) -> tuple[bool, int]:
    own = {key: value for key, value in os.environ.items() if "MALLOC" not in key.upper()}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env=own | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    is_kept, count = map(int, done.stdout.split())
    return bool(is_kept), count


def test_freed_memory_stays_for_the_next_tensors_unless_the_user_says_otherwise() -> None:
    pages = 5 * (96 << 20) // mmap.PAGESIZE
    is_glibc = platform.libc_ver()[0] == "glibc"
    is_kept, faults = page_faults()
    assert is_kept == is_glibc
    assert faults < pages / 20 or not is_glibc
    is_kept, faults = page_faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert not is_kept
    assert faults > pages / 2 or not is_glibc
    assert not page_faults(GLIBC_TUNABLES="glibc.malloc.top_pad=0")[0]
    # Clusters often limit the arenas, which has nothing to do with it.
    assert page_faults(MALLOC_ARENA_MAX="2")[0] == is_glibc
    assert page_faults(GLIBC_TUNABLES="glibc.malloc.arena_max=2")[0] == is_glibc


def test_a_command_and_a_job_keep_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    for module in (main, jobs):
        monkeypatch.setattr(module, "keep_freed_memory", partial(calls.append, module))
    main.main(["--version"])
    with suppress(Exception):
        jobs.job(OmegaConf.create())
    assert calls == [main, jobs]


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("nvidia0", None, True),
        ("nvidiactl", None, False),
        ("kfd", None, True),
        ("nvidia3", "3", True),
        ("nvidia0", "", False),
        ("nvidia0", "-1", False),
        ("null", None, False),
    ],
)
def test_a_gpu_is_known_by_its_device_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    visible: str | None,
    expected: bool,
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / device).touch()
    assert has_gpu(tmp_path) == expected
