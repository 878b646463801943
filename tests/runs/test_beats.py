"""Beats tell who is alive, whatever the clocks say."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bigain.runs import beats
from bigain.runs.beats import (
    STALE,
    Heartbeat,
    age,
    file_clock,
    is_alive,
    own_process,
    read_beat,
    whereabouts,
)


def until(condition: object, seconds: float = 5.0) -> bool:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def write(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**own_process(), **changes}))


def make_older(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_a_beat_is_there_at_once_kept_fresh_and_gone_at_the_end(tmp_path: Path) -> None:
    path, done = tmp_path / "beat.json", [0]
    with Heartbeat(path, lambda: {"done": done[0]}, interval=0.01) as heart:
        first = read_beat(path)
        assert first is not None
        assert (first["pid"], first["done"]) == (os.getpid(), 0)
        assert is_alive(path)
        done[0] = 7
        assert until(lambda: (read_beat(path) or {}).get("done") == 7)
        make_older(path, 2 * STALE)
        assert until(lambda: is_alive(path))
        assert heart.check()
    assert list(tmp_path.iterdir()) == []


def test_age_is_that_of_the_file_systems_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "beat.json"
    assert age(path) is None
    write(path)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # a jump by decades
    assert is_alive(path)
    make_older(path, STALE - 5)
    assert is_alive(path)
    assert age(path) == pytest.approx(STALE - 5, abs=3)
    make_older(path, 10)
    assert not is_alive(path)
    assert [each.name for each in tmp_path.iterdir()] == ["beat.json"]


def test_the_clock_of_a_folder_that_is_not_there_is_the_machines(tmp_path: Path) -> None:
    assert file_clock(tmp_path / "no") == pytest.approx(time.time(), abs=3)


def test_a_process_that_is_gone_is_dead_at_once_here_and_after_a_while_elsewhere(
    tmp_path: Path,
) -> None:
    path = tmp_path / "beat.json"
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait(timeout=30)
    write(path, pid=child.pid)
    assert not is_alive(path)
    write(path, birth="1")  # the number is in use again
    assert not is_alive(path)
    for elsewhere in ({"host": "n2"}, {"space": "a container"}):
        write(path, pid=child.pid, **elsewhere)
        assert is_alive(path)
        make_older(path, STALE + 1)
        assert not is_alive(path)


def test_without_birth_the_number_of_the_process_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beats, "_birth", lambda _pid: None)
    path = tmp_path / "beat.json"
    write(path)
    assert is_alive(path)
    write(path, pid=2**22 + 1)
    assert not is_alive(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "n1"}'])
def test_what_is_no_beat_is_nobodys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "beat.json"
    path.write_text(text)
    assert read_beat(path) is None
    assert not is_alive(path)


def test_who_was_taken_for_dead_stops_and_leaves_the_file_to_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "beat.json"
    with Heartbeat(path, interval=0.01) as heart:
        write(path, pid=1)
        assert until(lambda: heart.is_lost)
        assert not heart.check()
    found = read_beat(path)
    assert found is not None
    assert found["pid"] == 1


def test_who_stood_still_looks_before_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "beat.json"
    with Heartbeat(path, interval=1000) as heart:
        write(path, host="n2")
        assert heart.check()
        later = beats._awake() + STALE
        monkeypatch.setattr(beats, "_awake", lambda: later)
        assert not heart.check()


def test_who_stood_still_is_no_owner_of_a_file_that_a_successor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "beat.json"
    with Heartbeat(path, interval=1000) as heart:
        path.unlink()
        heart.beat()
        assert heart.check()
        assert path.exists(), "removed by mistake a moment ago"
        path.unlink()
        later = beats._awake() + STALE
        monkeypatch.setattr(beats, "_awake", lambda: later)
        assert not heart.check()
    assert not path.exists()


def test_a_full_disk_and_a_lost_folder_stop_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "beat.json"
    with Heartbeat(path, interval=0.01):

        def full(*_arguments: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(beats, "replace_text", full)
        make_older(path, 2 * STALE)
        assert until(lambda: is_alive(path))
        monkeypatch.undo()
        path.unlink()
        folder.rename(tmp_path / "moved")
        time.sleep(0.1)
        assert not folder.exists()


def test_a_message_names_host_process_and_slurm_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in beats._SLURM:
        monkeypatch.delenv(name, raising=False)
    assert whereabouts({**own_process(), "host": "n1", "pid": 42}) == "host n1, process 42"
    monkeypatch.setenv("SLURM_JOB_ID", "10")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    assert whereabouts({**own_process(), "pid": 42}) == "host n2, process 42, Slurm job 10"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert whereabouts({**own_process(), "pid": 42}) == "host n2, process 42, Slurm job 7_3"
