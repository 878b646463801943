"""SIGTERM and faults of the machine: what was computed stays, and the files come out equal."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from bigain.cli.main import main
from bigain.engine.run import run
from bigain.engine.stopping import STOPPED, Stopped, Stopping, named_faults
from bigain.errors import FaultError
from bigain.launch.compose import compose_config
from bigain.runs import journal
from bigain.runs.identity import run_id
from bigain.runs.journal import read_journals
from bigain.runs.store import RunStore

SETTINGS = ["task.trial_list=[1]", "task.keep_list=[1]", "dataset.limit=3"]


def numbers() -> Generator[int, None, None]:
    yield from range(5)


@pytest.fixture(autouse=True)
def handler() -> Generator[None, None, None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_told_to_stop_the_item_in_flight_is_finished() -> None:
    seen = []

    def work() -> None:
        with Stopping() as stop:
            for number in stop.each(numbers()):
                if number == 2:
                    os.kill(os.getpid(), signal.SIGTERM)
                seen.append(number)

    with pytest.raises(Stopped) as stopped:
        work()
    assert (seen, stopped.value.code) == ([0, 1, 2], STOPPED)
    os.kill(os.getpid(), signal.SIGTERM)  # a repeat, while the process ends
    with Stopping():
        before = signal.getsignal(signal.SIGTERM)
        with Stopping() as inner:
            assert list(inner.each(numbers())) == [0, 1, 2, 3, 4]
        assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("count", [0, 1])
def test_told_while_the_loop_ends_it_stops_too(count: int) -> None:
    def ending() -> Generator[int, None, None]:
        yield from range(count)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped), Stopping() as stop:
        assert list(stop.each(ending())) == []


def test_outside_of_loops_it_stops_at_once_and_in_other_threads_never() -> None:

    def work() -> None:
        with Stopping() as stop:
            assert list(stop.each(numbers())) == [0, 1, 2, 3, 4]
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        work()
    seen: list[int] = []

    def aside() -> None:
        with Stopping() as stop:
            seen.extend(stop.each(numbers()))

    thread = threading.Thread(target=aside)
    thread.start()
    thread.join()
    assert seen == [0, 1, 2, 3, 4]


def test_a_repeated_signal_is_the_same_and_a_later_one_kills() -> None:
    code = (
        "import os, signal\n"
        "from bigain.engine import stopping\n"
        "with stopping.Stopping() as stop:\n"
        "    for item in stop.each(iter_ for iter_ in range(3)):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        print(item, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        print('alive', flush=True)\n"
        "        stopping.REPEATS = 0.0\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        print('never', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = (-signal.SIGTERM, "0\nalive\n", "")
    assert (done.returncode, done.stdout, done.stderr) == expected


@pytest.fixture
def straight(tmp_path: Path) -> bytes:
    """samples.csv of the run that nothing disturbs."""
    outcome = run(compose_config([*SETTINGS, f"paths.results={tmp_path / 'straight'}"]))
    return (outcome.folder / "samples.csv").read_bytes()


def go_on(settings: list[str], straight: bytes, computed: int) -> None:
    outcome = run(compose_config(settings))
    assert (outcome.status, outcome.computed) == ("done", computed)
    assert (outcome.folder / "samples.csv").read_bytes() == straight


def test_a_run_that_is_told_to_stop_ends_with_143_and_goes_on(
    tmp_path: Path,
    straight: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = [*SETTINGS, f"paths.results={tmp_path}"]
    append = journal.Journal.append

    def told(self: journal.Journal, records: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        append(self, records)

    monkeypatch.setattr(journal.Journal, "append", told)
    assert main(settings) == STOPPED
    assert capsys.readouterr().err.splitlines()[-1].startswith("stopped; the same command")
    monkeypatch.undo()
    store = RunStore(tmp_path, run_id(compose_config(settings)))
    assert (len(read_journals(store.folder)), store.beats()) == (1, {})
    assert (store.status(), store.manifest()["error"]) == ("running", None)
    go_on(settings, straight, computed=2)


def full(*_arguments: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["record", "samples", "manifest"])
def test_a_full_disk_ends_in_one_line_and_the_run_goes_on_to_equal_files(
    tmp_path: Path, straight: bytes, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    settings = [*SETTINGS, f"paths.results={tmp_path}"]
    store = RunStore(tmp_path, run_id(compose_config(settings)))
    write, written = os.write, [0]

    def fills(descriptor: int, data: Any) -> int:
        written[0] += 1
        return write(descriptor, data) if written[0] < 2 else write_part(descriptor, data)

    def write_part(descriptor: int, data: Any) -> int:
        return full() if written[0] > 2 else write(descriptor, data[:7])

    if place == "record":
        monkeypatch.setattr(os, "write", fills)
    elif place == "samples":
        monkeypatch.setattr("bigain.runs.session.write_samples", full)
    else:
        monkeypatch.setattr("bigain.runs.session.write_manifest", full)
    with pytest.raises(FaultError) as fault:
        run(compose_config(settings))
    assert str(fault.value).startswith(f"{store.folder}: No space left on device; ")
    monkeypatch.undo()
    assert not store.beats()
    assert store.status() == ("running" if place == "manifest" else "failed")
    go_on(settings, straight, computed=2 if place == "record" else 0)


def test_a_full_disk_is_no_mistake_of_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(_arguments: object) -> int:
        with named_faults(Path("results/runs/x")):
            return full()

    monkeypatch.setattr("bigain.cli.status.main", fault)
    assert main(["status"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("results/runs/x: No space left")


@pytest.mark.parametrize(
    ("error", "is_fault"),
    [
        (OSError(errno.EROFS, "read-only", "elsewhere/x"), True),
        (OSError(errno.ESTALE, "stale"), True),
        (OSError(errno.EIO, "input/output error", b"elsewhere/x.jpg"), True),
        (PermissionError(errno.EACCES, "denied", "results/runs/x/images/0.png"), True),
        (FileNotFoundError(errno.ENOENT, "no such file", "results/runs/x/manifest.json"), True),
        (FileNotFoundError(errno.ENOENT, "no such file", "elsewhere/x"), False),
        (OSError("image file is truncated"), False),
    ],
)
def test_faults_are_those_of_the_disk_and_those_in_the_folder(
    error: OSError, is_fault: bool
) -> None:
    with pytest.raises(FaultError if is_fault else OSError), named_faults(Path("results/runs/x")):
        raise error
