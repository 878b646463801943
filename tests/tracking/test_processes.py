"""Trackers of whole commands: in parallel, killed, and with servers, disks and files at fault."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bigain.launch.compose import compose_config
from bigain.runs.archive import Archive
from bigain.runs.files import METRICS, SAMPLES, read_csv
from bigain.runs.identity import run_id
from bigain.runs.store import run_folders
from bigain.testing.runs import publish_copies
from bigain.tracking.view import history, summary
from tests.tracking.commands import (
    QUICK,
    ROOT,
    bigain,
    command,
    environment,
    logs,
    pages,
    points,
    read_back,
    started,
)

pytestmark = pytest.mark.slow

LONG = (*QUICK, "dataset.limit=120")
RUNNING = "running_acc1"


def of(folder: Path) -> tuple[dict[int, float], dict[str, Any]]:
    """What a dashboard has of a finished run: step -> running accuracy, and the summary."""
    shown = history(read_csv(folder / SAMPLES), "classification")
    return {step: point[RUNNING] for step, point in shown}, summary(read_csv(folder / METRICS))


@contextmanager
def wandb_server(folder: Path, fault: str) -> Iterator[dict[str, str]]:
    """The environment in which W&B asks a small server with this fault."""
    here = Path(__file__).parent / "wandb_server.py"
    with subprocess.Popen(
        [sys.executable, str(here), str(folder), fault], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        try:
            yield {"WANDB_BASE_URL": address, "WANDB_API_KEY": "a" * 40}
        finally:
            process.kill()


def test_two_processes_at_once_do_not_mix(tmp_path: Path) -> None:
    """W&B's files, and Trackio's one database."""
    trackers = ("tracking=[wandb,trackio]", "tracking.mode=offline")
    place, quick = f"paths.results={tmp_path}", (*QUICK, "dataset.limit=8")
    both = [started(*trackers, f"seed={seed}", *quick, place) for seed in (0, 1)]
    for process in both:
        _, told = process.communicate()
        assert (process.returncode, "the run continues" in told) == (0, False), told
    files, tabs = logs(tmp_path), pages(tmp_path / "trackio")
    summaries = []
    for seed in (0, 1):
        name = run_id(compose_config([f"seed={seed}", *quick]))
        running, expected = of(tmp_path / "runs" / name)
        (path,) = files.pop(name)
        shown = json.loads(read_back(path, "--summary"))
        summaries.append({key: shown["summary"][key] for key in expected})
        assert summaries[-1] == pytest.approx(expected)
        assert (shown["run_id"], shown["config"]["seed"]) == (name, seed)
        config, logged = tabs.pop(name)
        assert config["seed"] == seed
        (*_, (_, final)) = logged
        assert {key: final[key] for key in final if key in expected} == pytest.approx(
            {key: expected[key] for key in final if key in expected}
        )
        wandb_has = {at: each[RUNNING] for at, each in points(path).items() if RUNNING in each}
        trackio_has = {at: each[RUNNING] for at, each in logged if RUNNING in each}
        for has in (wandb_has, trackio_has):
            assert has == pytest.approx({at: running[at] for at in has})
            assert max(has) == 8
    assert (files, tabs) == ({}, {})
    assert summaries[0] != summaries[1]


def killed_in_the_middle(
    results: Path, *arguments: str, seen: Callable[[], bool] = lambda: True, **more: str
) -> Path:
    """The folder of a run that was made again after its process was killed.

    It was killed when at least 50 of its records were on disk, and `seen`.
    """
    first = started(*arguments, f"paths.results={results}", **more)
    journals, done = "runs/*/journal-0of1.jsonl", 0
    while done < 50 or not seen():
        assert first.poll() is None, first.communicate()
        done = sum(path.read_bytes().count(b"\n") for path in results.glob(journals))
        time.sleep(0.01)
    first.kill()
    first.communicate()
    (folder,) = run_folders(results)
    assert not (folder / METRICS).exists()
    again = bigain(*arguments, f"paths.results={results}", **more)
    assert (again.returncode, "the run continues" in again.stderr) == (0, False), again.stderr
    return folder


def test_a_killed_run_is_one_run_of_wandb_offline(tmp_path: Path) -> None:
    folder = killed_in_the_middle(tmp_path, "tracking=wandb", "tracking.mode=offline", *LONG)
    running, expected = of(folder)
    ((name, parts),) = logs(tmp_path).items()
    assert (name, len(parts)) == (folder.name, 2)
    shown = [{at for at, each in points(part).items() if RUNNING in each} for part in parts]
    # Of the killed process W&B has what it had written by then, which may be nothing.
    assert max(shown[0], default=0) < min(shown[1])
    for part, steps in zip(parts, shown, strict=True):
        found = points(part)
        assert {at: found[at][RUNNING] for at in steps} == pytest.approx(
            {at: running[at] for at in steps}
        )
    last = json.loads(read_back(parts[1], "--summary"))["summary"]
    assert {key: last[key] for key in expected} == pytest.approx(expected)


def test_a_killed_run_is_one_run_of_wandb_online(tmp_path: Path) -> None:
    """What W&B had sent before stays, and nothing is sent twice."""
    server = tmp_path / "server"
    server.mkdir()

    def sent() -> list[dict[str, Any]]:
        path = server / "runs.json"
        runs = json.loads(path.read_text()).values() if path.exists() else ()
        return [row for run in runs for row in run["history"]]

    online = ("tracking=wandb", "tracking.mode=online")
    with wandb_server(server, "none") as asked:
        asked["WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"] = "1"
        folder = killed_in_the_middle(
            tmp_path / "results", *online, *LONG, seen=lambda: bool(sent()), **asked
        )
    running, expected = of(folder)
    ((name, run),) = json.loads((server / "runs.json").read_text()).items()
    assert (name, run["code"]) == (folder.name, 0)
    steps = [row["_step"] for row in sent()]
    assert steps == sorted(set(steps))
    found = {row["_step"]: row[RUNNING] for row in sent() if RUNNING in row}
    assert found == pytest.approx({at: running[at] for at in found})
    assert (min(found), max(found)) == (1, 120)
    assert {key: run["summary"][key] for key in expected} == pytest.approx(expected)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of a run without tracking."""
    return results_of(untracked(tmp_path_factory.mktemp("plain")))


def untracked(results: Path) -> Path:
    done = bigain(*QUICK, f"paths.results={results}")
    assert done.returncode == 0, done.stderr
    return results


def results_of(results: Path) -> dict[str, bytes]:
    (folder,) = run_folders(results)
    return {name: (folder / name).read_bytes() for name in (SAMPLES, METRICS)}


def check_unharmed(
    done: subprocess.CompletedProcess[str], tracker: str, results: Path, plain: dict[str, bytes]
) -> None:
    """One warning, code 0, and the results of a run without tracking, byte for byte."""
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"tracking: {tracker} stopped") == 1, done.stderr
    assert done.stderr.count("the run continues") == 1
    assert "Traceback" not in done.stderr
    assert results_of(results) == plain


@pytest.mark.parametrize("fault", ["hang", None])
def test_a_server_that_does_not_answer_does_no_harm(
    fault: str | None, tmp_path: Path, plain: dict[str, bytes]
) -> None:
    nobody = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40}
    online = ("tracking=wandb", "tracking.mode=online", f"paths.results={tmp_path / 'results'}")
    if fault is None:
        done = bigain(*QUICK, *online, **nobody)
    else:
        with wandb_server(tmp_path, fault) as asked:
            done = bigain(*QUICK, *online, **asked)
    check_unharmed(done, "wandb", tmp_path / "results", plain)


FullDisk = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def on_a_full_disk(program: Callable[..., str], tmp_path: Path) -> FullDisk:
    """Runs a command of bigain that sees a file system of a few kilobytes in a folder."""
    own, mount = ("--map-root-user", "--mount"), "mount -t tmpfs tmpfs -o size="
    alone = program(
        "unshare", package="util-linux", trial=(*own, *f"{mount}4k".split(), str(tmp_path))
    )
    folder = tmp_path / "full"
    folder.mkdir()

    def run(*arguments: str, size: str, variable: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                alone,
                *own,
                "sh",
                "-c",
                f'{mount}{size} {folder} && exec "$@"',
                "sh",
                *command(*arguments),
            ],
            capture_output=True,
            text=True,
            check=False,
            env=environment(**{variable: str(folder)}),
        )

    return run


@pytest.mark.parametrize(
    ("tracker", "variable", "size"),
    [
        ("wandb", "WANDB_DIR", "12k"),  # too little for a picture, which Python writes
        ("wandb", "WANDB_DIR", "20k"),  # too little for the rest, which W&B's service writes
        ("trackio", "TRACKIO_DIR", "12k"),
    ],
)
def test_a_full_disk_of_a_tracker_does_no_harm(
    tracker: str,
    variable: str,
    size: str,
    on_a_full_disk: FullDisk,
    tmp_path: Path,
    plain: dict[str, bytes],
) -> None:
    results = tmp_path / "results"
    offline = (f"tracking={tracker}", "tracking.mode=offline", f"paths.results={results}")
    done = on_a_full_disk(*QUICK, *offline, size=size, variable=variable)
    check_unharmed(done, tracker, results, plain)
    assert "--- Logging error ---" not in done.stderr
    assert not list(results.glob(f"{tracker}/shown/*"))


@pytest.mark.parametrize("fault", ["locked", "read-only"])
def test_files_of_trackio_that_it_cannot_have_do_no_harm(
    fault: str, tmp_path: Path, plain: dict[str, bytes]
) -> None:
    """Locked: another program holds the database; it is waited for once, half a minute."""
    folder = tmp_path / "trackio"
    if fault == "read-only":
        folder.symlink_to("/proc")
        done = bigain(*QUICK, "tracking=trackio", f"paths.results={tmp_path}")
    else:
        folder.mkdir()
        with sqlite3.connect(folder / "bigain.db", isolation_level=None) as other:
            other.execute("CREATE TABLE theirs (at INTEGER)")
            other.execute("BEGIN EXCLUSIVE")
            done = bigain(*QUICK, "tracking=trackio", f"paths.results={tmp_path}")
            other.execute("ROLLBACK")
    check_unharmed(done, "trackio", tmp_path, plain)


def test_391_runs_are_shown_by_calls_that_are_cut_off(tmp_path: Path) -> None:
    names = publish_copies(Archive(ROOT / "results", "mini"), tmp_path, 391)
    every = ("sync-wandb", "--all", "--mode", "offline", "--results", str(tmp_path))
    marks = tmp_path / "wandb" / "shown"
    done = 0
    for how in (signal.SIGINT, signal.SIGKILL):
        process, goal = started(*every), done + 60
        while done < goal:
            assert process.poll() is None, process.communicate()
            done = len(list(marks.glob("*.txt")))
            time.sleep(0.05)
        process.send_signal(how)
        _, told = process.communicate()
        assert process.returncode != 0
        assert "/391" in told  # the bar
        assert "Traceback" not in told
        done = len(list(marks.glob("*.txt")))
    rest, again = bigain(*every), bigain(*every)
    assert rest.stdout == f"{391 - done} runs shown, {done} were there already\n", rest.stderr
    assert again.stdout == "0 runs shown, 391 were there already\n"
    shown = logs(tmp_path)
    assert sorted(shown) == sorted(names)
    assert sum(map(len, shown.values())) <= 391 + 2  # a run that was cut off is whole in its second


def answers(host: str, port: int) -> bool:
    """Whether a page is served there; this process itself may open no socket."""
    ask = f"import urllib.request; urllib.request.urlopen('http://{host}:{port}/', timeout=60)"
    return not subprocess.run(
        [sys.executable, "-c", ask], check=False, capture_output=True
    ).returncode


def test_make_dashboard_serves_on_loopback_alone_until_ctrl_c(
    program: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "mini").symlink_to(ROOT / "results" / "mini")
    name = sorted((ROOT / "results/mini/manifests").glob("*.json"))[0].stem
    port = 30000 + os.getpid() % 10000
    target = [program("make", package="make"), "dashboard", f"PYTHON_BIN={sys.executable}"]
    target += ["--old-file=.venv/.bigain-installed"]  # a test installs nothing
    with subprocess.Popen(
        [*target, f"ARGS={name} --results {tmp_path} --port {port}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{port}/?project=bigain"
        try:
            assert any(line.startswith(address) for line in process.stdout)
            assert [answers(f"127.0.0.{at}", port) for at in (1, 2)] == [True, False]
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
        rest = process.stdout.read()
    assert "Traceback" not in rest
    assert not answers("127.0.0.1", port)
