import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.cli.main import main as bigain
from bigain.cli.status import COLUMNS, main, status_rows
from bigain.config import SETTING_COLUMNS
from bigain.runs.store import RunStore

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
        *("run_id", "status", "images", "backbone", "operator", "settings", "seed", "error")
    ]
    assert len(lines) == 2 + len(three)
    assert lines[2].split() == [three["done"], "done", "12/12", "mini_dit", "none", "0"]
    failed = next(line for line in lines if three["failed"] in line)
    for text in ("failed", "2/12", "tome", "ratio=0.3 scope=self", "RuntimeError: no memory"):
        assert text in failed


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
