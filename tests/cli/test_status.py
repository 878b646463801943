import csv
import io
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.cli.main import main as bigain
from bigain.cli.status import COLUMNS, main, status_rows
from bigain.config import SETTING_COLUMNS
from bigain.runs.beats import Heartbeat
from bigain.runs.store import RunStore
from bigain.runs.sweeps import Job, SweepFolder

IMAGES = list(range(100, 112))


def show(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["--results", str(tmp_path), *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.fixture
def three(make_run: Callable[..., str], tome: dict[str, Any]) -> dict[str, str]:
    """A finished, an interrupted and a failed run."""
    return {
        "done": make_run(),
        "interrupted": make_run(tome, images=5),
        "failed": make_run({**tome, "ratio": 0.3}, images=2, error=RuntimeError("no\nmemory")),
    }


def test_without_runs_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(tmp_path, capsys) == f"no run in {tmp_path / 'runs'}\n"
    assert json.loads(show(tmp_path, capsys, "--format", "json")) == []
    assert show(tmp_path, capsys, "--format", "csv") == ",".join(COLUMNS) + "\n"
    assert list(tmp_path.iterdir()) == []


def test_rows_tell_what_runs_are_and_how_far(tmp_path: Path, three: dict[str, str]) -> None:
    rows = {row["run_id"]: row for row in status_rows(tmp_path)}
    assert {rows[name]["status"]: name for name in rows} == three
    progress = {row["status"]: (row["images_done"], row["images_needed"]) for row in rows.values()}
    assert progress == {"done": (12, 12), "interrupted": (5, 12), "failed": (2, 12)}
    failed = rows[three["failed"]]
    assert (failed["operator"], failed["ratio"], failed["scope"]) == ("tome", 0.3, "self")
    assert failed["error"] == "RuntimeError: no\nmemory"
    assert rows[three["done"]]["error"] is None
    assert {rows[three["done"]][key] for key in SETTING_COLUMNS} == {None}
    assert all(tuple(row) == COLUMNS for row in rows.values())


def test_rows_are_sorted_by_what_they_are(
    tmp_path: Path, three: dict[str, str], make_run: Callable[..., str]
) -> None:
    other = make_run(seed=1)
    names = [row["run_id"] for row in status_rows(tmp_path)]
    assert names == [three["done"], other, three["failed"], three["interrupted"]]


def test_people_read_one_line_per_run(
    tmp_path: Path, three: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = show(tmp_path, capsys).splitlines()
    assert lines[0].split() == [
        *("run_id", "status", "images", "images/s", "left", "backbone", "operator", "settings"),
        *("seed", "error"),
    ]
    assert len(lines) == 2 + len(three)
    assert lines[2].split() == [three["done"], "done", "12/12", "mini_dit", "none", "0"]
    failed = next(line for line in lines if three["failed"] in line)
    for text in ("failed", "2/12", "tome", "ratio=0.3 scope=self", "RuntimeError: no"):
        assert text in failed
    assert "memory" not in failed, "only the first line"


def test_machines_read_json_and_csv(
    tmp_path: Path, three: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(show(tmp_path, capsys, "--format", "json"))
    assert rows == status_rows(tmp_path)
    table = list(csv.DictReader(io.StringIO(show(tmp_path, capsys, "--format", "csv"))))
    assert [row["run_id"] for row in table] == [row["run_id"] for row in rows]
    assert {row["ratio"] for row in table} == {"", "0.3", "0.7"}


def test_a_run_that_a_process_works_on_is_running(
    tmp_path: Path, make_run: Callable[..., str], tome: dict[str, Any]
) -> None:
    name = make_run(tome, images=5)
    store = RunStore(tmp_path, name)
    assert [row["status"] for row in status_rows(tmp_path)] == ["interrupted"]
    with store.open(store.manifest()["config"], IMAGES, {}):
        assert [row["status"] for row in status_rows(tmp_path)] == ["running"]
    assert store.status() == "running"


def test_a_run_with_a_failed_shard_and_one_at_work_is_running(
    tmp_path: Path, make_run: Callable[..., str], tome: dict[str, Any]
) -> None:
    name = make_run(tome, images=2, error=RuntimeError("no memory"))
    store = RunStore(tmp_path, name)
    config = store.manifest()["config"]
    with store.open({**config, "shard": {"index": 1, "count": 2}}, IMAGES, {}):
        edit(store.folder / "manifest.json", status="failed", error="RuntimeError: no memory")
        (row,) = status_rows(tmp_path)
    assert (row["status"], row["error"]) == ("running", "RuntimeError: no memory")
    assert row["at_work"].startswith("1of2")
    assert [row["status"] for row in status_rows(tmp_path)] == ["failed"]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_progress_rate_and_time_left_are_those_of_the_shards_at_work_on_any_node(
    tmp_path: Path,
    make_run: Callable[..., str],
    tome: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = make_run(tome, images=5)
    store = RunStore(tmp_path, name)
    config = store.manifest()["config"]
    shards = [{**config, "shard": {"index": index, "count": 2}} for index in (0, 1)]
    with store.open(shards[0], IMAGES, {}), store.open(shards[1], IMAGES, {}):
        beats = sorted(store.folder.glob(".journal-*.beat"))
        edit(beats[0], host="n1", pid=11, done=5, images_per_s=0.5)
        edit(beats[1], host="n2", pid=12, done=4, images_per_s=1.0)
        (row,) = status_rows(tmp_path)
        line = show(tmp_path, capsys).splitlines()[-1]
        edit(beats[1], total=3)  # the shards at work do not have all images
        (part,) = status_rows(tmp_path)
        os.utime(beats[1], (0, 0))
        (alone,) = status_rows(tmp_path)
    assert (row["status"], row["images_done"], row["images_per_s"]) == ("running", 9, 1.5)
    assert row["eta_s"] == 2.0
    assert row["at_work"].startswith("0of2: host n1, process 11; 1of2: host n2, process 12")
    assert re.search(r"running +9/12 +1.5 +2 s ", line)
    assert (part["images_done"], part["images_per_s"]) == (5, 1.5)
    assert (alone["status"], alone["images_per_s"], alone["eta_s"]) == ("running", 0.5, 14.0)


def test_shards_that_are_left_are_named(
    tmp_path: Path,
    make_run: Callable[..., str],
    tome: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = make_run(tome, images=12)
    store = RunStore(tmp_path, name)
    assert status_rows(tmp_path)[0]["shards_left"] is None
    edit(store.folder / "manifest.json", status="running", shards_left=["0of3", "2of3"])
    assert status_rows(tmp_path)[0]["shards_left"] == "0of3 2of3"
    assert "left to do: 0of3 2of3" in show(tmp_path, capsys)


def test_runs_that_wait_in_a_sweep_are_pending_while_its_process_lives(
    tmp_path: Path, three: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = SweepFolder(tmp_path / "sweeps" / "now")
    overrides = ("operator=todo", "seed=1")
    jobs = [Job(0, three["failed"], "0of1", overrides), Job(1, "new", "0of1", overrides)]
    jobs += [Job(2, three["done"], "0of1", overrides), Job(3, "gone", "0of1", (), "lost")]
    sweep.create("basic", jobs[:3])
    sweep.write(jobs[3])
    before = {row["run_id"]: row["status"] for row in status_rows(tmp_path)}
    assert "new" not in before
    with Heartbeat(sweep.beat):
        rows = {row["run_id"]: row for row in status_rows(tmp_path)}
        lines = show(tmp_path, capsys).splitlines()
    changed = {three["failed"]: "pending", "new": "pending"}
    assert {name: row["status"] for name, row in rows.items()} == {**before, **changed}
    assert rows["new"]["overrides"] == "operator=todo seed=1"
    assert lines[-1].split() == ["new", "pending", "?", "?", "?", "operator=todo", "seed=1", "?"]


def test_watching_shows_it_again_until_it_is_interrupted(
    tmp_path: Path,
    three: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    shown = show(tmp_path, capsys, "--watch", "7")
    assert slept == [7.0] * 3
    assert shown.count(three["done"]) == 3
    for wrong in (["--watch", "0"], ["--watch", "--format", "json"]):
        assert bigain(["status", "--results", str(tmp_path), *wrong]) == 2
        assert "--watch=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("manifest.json", '{"status": "do'),
        ("manifest.json", "{}"),
        ("journal-0of1.jsonl", "rubbish\n"),
    ],
)
def test_a_damaged_run_is_a_row_among_the_others(
    tmp_path: Path,
    three: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    file: str,
    text: str,
) -> None:
    name = three.pop("interrupted")
    (tmp_path / "runs" / name / file).write_text(text)
    rows = {row["run_id"]: row for row in status_rows(tmp_path)}
    assert rows[name]["status"] == "damaged"
    assert file in rows[name]["error"]
    assert {rows[other]["status"] for other in three.values()} == set(three)
    line = next(line for line in show(tmp_path, capsys).splitlines() if name in line)
    assert line.split()[1:6] == ["damaged", "?", "?", "?", "?"]
    assert json.loads(show(tmp_path, capsys, "--format", "json")) == status_rows(tmp_path)


@pytest.mark.parametrize(("name", "wrong"), [("file", "is not a folder"), ("no", "does not exist")])
@pytest.mark.parametrize("verb", [["status"], ["compare", "a", "b"], ["collect", "--check"]])
def test_results_are_in_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: list[str], name: str, wrong: str
) -> None:
    (tmp_path / "file").touch()
    assert bigain([*verb, "--results", str(tmp_path / name)]) == 2
    assert f"{name}: {wrong}; allowed: the folder that holds runs/" in capsys.readouterr().err
