"""Two processes never have one lease, whatever the file system makes of locks."""

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bigain.runs import beats, leases
from bigain.runs.beats import STALE, Heartbeat, is_alive, own_process, read_beat
from bigain.runs.leases import HeldError, Lease, beat_path, wait_for_silence

GONE = 2**22 + 1
"""No process has this number."""


def write(path: Path, seconds: float = 0.0, **changes: Any) -> None:
    """A beat of another process, so many seconds old."""
    path.write_text(json.dumps({**own_process(), **changes}))
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def lease(folder: Path) -> Lease:
    return Lease(folder, "x", lambda: {"done": 3}, waits=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat is stale after a second."""
    monkeypatch.setattr(beats, "STALE", 1.0)


@pytest.fixture(params=["", "ENOSYS", "ENOLCK", "EOPNOTSUPP", "local"])
def flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How flock works: as it should, not at all, or without seeing other nodes."""
    kind = str(request.param)

    def broken(_descriptor: int, operation: int) -> None:
        if kind != "local":
            raise OSError(getattr(errno, kind), "no flock")

    if kind:
        monkeypatch.setattr(fcntl, "flock", broken)
    return kind


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_lease_is_held_once_and_free_afterwards(tmp_path: Path, flock: str) -> None:
    path = beat_path(tmp_path, "x")
    for _ in range(2):
        with lease(tmp_path) as heart:
            assert heart.check()
            assert (read_beat(path) or {})["done"] == 3
            with pytest.raises(HeldError) as held, lease(tmp_path):
                pass
            assert held.value.place.endswith(f"process {os.getpid()}")
            assert is_alive(path)
        assert not path.exists()


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_of_many_at_once_one_gets_it(tmp_path: Path, flock: str) -> None:
    at_work, most, got = [0], [0], [0]
    one = threading.Lock()

    def work(_number: int) -> None:
        with Lease(tmp_path, "x", waits=True):
            with one:
                at_work[0] += 1
                most[0] = max(most[0], at_work[0])
            time.sleep(0.01)
            with one:
                at_work[0] -= 1
                got[0] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert (most, got) == ([1], [4])


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_dead_process_of_this_machine_is_followed_at_once(tmp_path: Path, flock: str) -> None:
    write(beat_path(tmp_path, "x"), pid=GONE)
    (tmp_path / ".x.lock").touch()  # as a process leaves it that was killed
    started = time.monotonic()
    with lease(tmp_path) as heart:
        assert heart.check()
    assert time.monotonic() - started < 5


def test_another_node_that_beats_is_named(tmp_path: Path) -> None:
    path = beat_path(tmp_path, "x")
    write(path, host="n2", pid=42)
    again = threading.Timer(0.3, write, (path,), {"host": "n2", "pid": 42})
    again.start()
    with pytest.raises(HeldError) as held, lease(tmp_path):
        pass
    again.join()
    assert held.value.place == "host n2, process 42"
    assert (read_beat(path) or {})["host"] == "n2"


@pytest.mark.usefixtures("quick")
def test_another_node_that_died_is_followed_when_its_beat_is_stale(tmp_path: Path) -> None:
    write(beat_path(tmp_path, "x"), host="n2")
    started = time.monotonic()
    with lease(tmp_path) as heart:
        assert heart.check()
        assert time.monotonic() - started > 0.5
    write(beat_path(tmp_path, "x"), STALE + 1, host="n2")
    started = time.monotonic()
    with lease(tmp_path):
        assert time.monotonic() - started < 0.5


@pytest.fixture
def kept_lock(tmp_path: Path) -> Iterator[FileLock]:
    """A lock that the file server keeps although its holder is gone."""
    with FileLock(tmp_path / ".x.lock") as lock:
        yield lock


@pytest.mark.usefixtures("kept_lock")
def test_a_lock_that_a_dead_node_keeps_is_replaced(tmp_path: Path) -> None:
    write(beat_path(tmp_path, "x"), STALE + 1, host="n2")
    with lease(tmp_path) as heart:
        assert heart.check()
        with pytest.raises(HeldError), lease(tmp_path):
            pass


@pytest.mark.usefixtures("kept_lock")
def test_the_lock_of_a_process_that_only_sleeps_is_its_own(tmp_path: Path) -> None:
    write(beat_path(tmp_path, "x"), STALE + 1)
    with pytest.raises(HeldError), lease(tmp_path):
        pass


@pytest.mark.usefixtures("kept_lock")
def test_a_lock_without_a_beat_is_somebodys(tmp_path: Path) -> None:
    with pytest.raises(HeldError) as held, lease(tmp_path):
        pass
    assert held.value.place == "another process"


@pytest.mark.usefixtures("quick")
def test_a_beat_that_was_cut_is_nobodys_after_a_while(tmp_path: Path) -> None:
    beat_path(tmp_path, "x").write_text("")
    with lease(tmp_path) as heart:
        assert heart.check()


def test_who_was_quicker_keeps_its_beat(tmp_path: Path) -> None:
    path = beat_path(tmp_path, "x")
    write(path, STALE + 1, host="n2")
    dead = wait_for_silence(path)
    write(path, host="n3")  # meanwhile
    leases._remove(path, dead)
    assert (read_beat(path) or {})["host"] == "n3"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_beat_that_is_put_back_replaces_no_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = beat_path(tmp_path, "x")
    write(path, host="n3")
    replace = Path.replace

    def slow(self: Path, target: Path) -> Path:
        moved = replace(self, target)
        write(path, host="n4")
        return moved

    monkeypatch.setattr(Path, "replace", slow)
    leases._remove(path, {"host": "n2"})
    assert (read_beat(path) or {})["host"] == "n4"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_beat_is_whole_as_soon_as_it_exists_where_there_are_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    path, sizes, sync = beat_path(tmp_path, "x"), [], os.fsync

    def look(descriptor: int) -> None:
        sizes.append(path.exists())
        sync(descriptor)

    def none(*_arguments: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "fsync", look)
    if not has_links:
        monkeypatch.setattr(os, "link", none)
    with lease(tmp_path) as heart:
        assert sizes == ([False] if has_links else [False, True])
        assert heart.check()
        with pytest.raises(HeldError), lease(tmp_path):
            pass
    assert not path.exists()


def test_who_pauses_between_claim_and_work_does_not_write_over_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, enter = beat_path(tmp_path, "x"), Heartbeat.__enter__
    later = beats._awake() + STALE

    def paused(heart: Heartbeat) -> Heartbeat:
        write(path, host="n2")
        monkeypatch.setattr(beats, "_awake", lambda: later)
        return enter(heart)

    monkeypatch.setattr(Heartbeat, "__enter__", paused)
    with lease(tmp_path) as heart:
        assert (read_beat(path) or {})["host"] == "n2"
        assert not heart.check()
    assert (read_beat(path) or {})["host"] == "n2"


def test_without_births_an_old_beat_is_that_of_a_dead_process_whoever_has_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS after a restart."""
    monkeypatch.setattr(beats, "_birth", lambda _pid: None)
    write(beat_path(tmp_path, "x"), STALE + 1)
    with lease(tmp_path) as heart:
        assert heart.check()


@pytest.mark.usefixtures("quick")
def test_waiting_for_another_node_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = beat_path(tmp_path, "x")
    write(path, host="n2")
    timers = [threading.Timer(0.3 * i, write, (path,), {"host": "n2"}) for i in (1, 2, 3)]
    for timer in timers:
        timer.start()
    with Lease(tmp_path, "x", waits=True) as heart:
        assert heart.check()
    for timer in timers:
        timer.join()
    assert [record.message.count("was at work") for record in caplog.records] == [1]


def test_a_full_disk_leaves_no_beat_that_others_would_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), lease(tmp_path):
        pass
    monkeypatch.undo()
    assert [each.name for each in tmp_path.iterdir()] == [".x.lock"]
    with lease(tmp_path) as heart:
        assert heart.check()
