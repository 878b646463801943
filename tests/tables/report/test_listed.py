import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.errors import UserError
from bigain.tables.report.listed import read_runs

WriteRuns = Callable[..., Path]
Row = dict[str, str]


def test_every_run_is_listed_once_with_all_its_metrics(results: Path) -> None:
    found = read_runs(results, "mini")
    assert [run.run_id[:4] for run in found] == ["aaaa", "bbbb", "cccc", "dddd"]
    assert list(found[0].metrics) == ["acc1", "eps_error"]
    assert (found[1].metrics["acc1"].value, found[1].metrics["acc1"].n) == (9.25, 400)
    assert found[1].columns["ratio"] == "0.7"
    assert found[1].columns["alpha"] == ""


def test_manifests_are_found_where_there_are_some(results: Path) -> None:
    first, second, third, _ = read_runs(results, "mini")
    assert first.manifest == results / "mini" / "manifests" / "aaaa0000aaaa0000.json"
    assert second.manifest == results / "runs" / "bbbb0000bbbb0000" / "manifest.json"
    assert (first.origin["device"], second.origin["device"]) == ("cpu", "cuda:0")
    assert (third.manifest, third.origin) == (None, {})


def test_without_a_file_there_are_no_runs(tmp_path: Path) -> None:
    assert read_runs(tmp_path, "mini") == []


def test_what_was_not_measured_is_no_number(
    tmp_path: Path, runs: WriteRuns, run_rows: list[Row]
) -> None:
    runs(tmp_path, [run_rows[0] | {"value": "", "ci_low": "", "n": "0"}])
    (run,) = read_runs(tmp_path, "mini")
    assert math.isnan(run.metrics["acc1"].value)
    assert math.isnan(run.metrics["acc1"].ci_low)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"value": "abc"}, r"runs\.csv, line 3: value=abc: allowed: a number"),
        ({"ci_low": "1,5"}, r"line 3: ci_low=1,5: allowed: a number"),
        ({"n": "4.5"}, r"line 3: n=4\.5: allowed: a whole number"),
        ({"n": ""}, r"line 3: n=: allowed: a whole number"),
        ({"n": "inf"}, r"line 3: n=inf: allowed: a whole number"),
        ({"metric": "acc1"}, r"line 3: run a\w+ has acc1 twice: two runs claim one cell"),
        ({"operator": "tome"}, r"line 3: run a\w+ has another operator than above"),
        ({"profile": "paper"}, r"line 3: run a\w+ has another profile than above"),
        ({"run_id": ""}, r"line 3: run_id is empty"),
    ],
)
def test_a_wrong_cell_is_named(
    tmp_path: Path, runs: WriteRuns, run_rows: list[Row], change: Row, told: str
) -> None:
    runs(tmp_path, [run_rows[0], run_rows[1] | change])
    with pytest.raises(UserError, match=f"{told}; put back the committed file"):
        read_runs(tmp_path, "mini")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data.replace(b"metric,value", b"metric,worth"), "lacks the columns value;"),
        (lambda data: data[:0], "lacks the columns run_id, profile"),
        (lambda data: data[:-30], "line 8: has not as many cells as there are columns"),
        (lambda data: data.replace(b"\nbbbb", b",,\nbbbb"), "line 3: has not as many cells"),
        (lambda data: data + b"\xff\xfe,", "cannot be read"),
        (lambda data: data + b'"never closed', "cannot be read"),
        (lambda data: data + b"\n\n" + data[-9:], "has not as many cells"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, runs: WriteRuns, damage: Callable[[bytes], bytes], told: str
) -> None:
    path = runs(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"runs\.csv.*{told}"):
        read_runs(tmp_path, "mini")


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "mini" / "runs.csv").mkdir(parents=True)
    with pytest.raises(UserError, match=r"runs\.csv: cannot be read"):
        read_runs(tmp_path, "mini")


def test_a_damaged_manifest_is_named(results: Path, manifest: Callable[..., Any]) -> None:
    manifest(results / "mini" / "manifests" / "aaaa0000aaaa0000.json", "another")
    with pytest.raises(UserError, match=r"aaaa0000aaaa0000\.json: is damaged"):
        read_runs(results, "mini")
