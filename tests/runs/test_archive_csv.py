import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.archive_csv import metrics_of, read_own_rows, read_runs_csv
from bigain.runs.files import METRIC_COLUMNS, csv_text, write_metrics, write_samples
from bigain.runs.journal import Journal, iterate_journal
from bigain.runs.samples import read_samples, samples_frame
from bigain.runs.store import RunStore
from bigain.testing.runs import read_metrics

A, B = "a" * 16, "1" * 16


def row(run: str, metric: str, **changes: object) -> dict[str, object]:
    named = {"run_id": run, "profile": "mini", "operator": "none", "metric": metric}
    numbers = {"value": 30.5, "n": 100, "ci_low": 29.0, "ci_high": None, "unit": "feature^2"}
    return dict.fromkeys(METRIC_COLUMNS) | named | numbers | changes


def write(folder: Path, *rows: dict[str, object], name: str = "mini/runs.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv_text(METRIC_COLUMNS, rows))
    return path


def test_no_file_has_no_runs(tmp_path: Path) -> None:
    assert read_runs_csv(tmp_path / "mini" / "runs.csv") == {}


def test_runs_and_their_metrics_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    nothing = row(B, "acc1", value=None, unit=None)
    rows = read_runs_csv(
        write(tmp_path, row(A, "fid"), nothing, row(A, "kid", value=1 / 3, ci_low=0))
    )
    assert list(rows) == [A, B]
    assert list(metrics_of(rows[A])) == ["fid", "kid"]
    fid, kid = metrics_of(rows[A]).values()
    assert (fid.value, fid.n, fid.ci_low, fid.unit) == (30.5, 100, 29.0, "feature^2")
    assert math.isnan(fid.ci_high)
    assert kid.value == 1 / 3
    assert math.isnan(rows[B][0].metric.value)
    assert (rows[A][0].columns["operator"], rows[A][0].columns["alpha"]) == ("none", "")


def test_rows_are_written_again_as_they_were(tmp_path: Path) -> None:
    path = write(tmp_path, row(A, "fid", ratio=0.7, value=88 / 3), row(B, "fid", operator="tome"))
    rows = [each.plain for own in read_runs_csv(path).values() for each in own]
    assert csv_text(METRIC_COLUMNS, rows) == path.read_text()


def test_a_changed_file_is_read_again_and_no_other(tmp_path: Path) -> None:
    path = write(tmp_path, row(A, "fid"))
    before = read_runs_csv(path)
    assert read_runs_csv(path) is before
    state = path.stat()
    write(tmp_path, row(B, "fid"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert list(read_runs_csv(path)) == [B]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"value": "many"}, "value=many: allowed: a number"),
        ({"ci_high": "1,5"}, "ci_high=1,5: allowed: a number"),
        ({"n": "two"}, "n=two: allowed: a number"),
        ({"n": None}, "n=: allowed: a whole number"),
        ({"n": 1.5}, "n=1.5: allowed: a whole number"),
        ({"run_id": None}, "run_id is empty"),
        ({"metric": None}, "metric is empty"),
        ({"metric": "fid"}, f"run {A} has fid twice: two runs claim one cell"),
        ({"operator": "tome"}, f"run {A} has a different operator than above"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    path = write(tmp_path, row(A, "fid"), row(A, "kid") | change)
    with pytest.raises(UserError) as caught:
        read_runs_csv(path)
    remedy = "restore the committed file, or correct this one"
    assert str(caught.value) == f"{path}, line 3: {expected}; {remedy}"


def test_a_run_of_another_profile_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, row(A, "fid"), row(B, "fid", profile="paper"))
    with pytest.raises(UserError, match=f"run {B}: profile=paper: allowed here: mini"):
        read_runs_csv(path)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda data: data.replace(b"metric,value", b"metric,worth"), "lacks the columns value;"),
        (
            lambda data: data.replace(b"settings\n", b"settings,note\n"),
            "has other columns than run_id",
        ),
        (lambda data: data[:0], "lacks the columns run_id, profile"),
        (lambda data: data[:-20], "line 2: has more or fewer cells than there are columns"),
        (lambda data: data + b"\xff", "cannot be read"),
        (lambda data: data + b'"never closed', "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, damage: Callable[[bytes], bytes], expected: str
) -> None:
    path = write(tmp_path, row(A, "fid"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"runs\.csv.*{expected}"):
        read_runs_csv(path)


def test_metrics_of_a_run_folder(tmp_path: Path) -> None:
    write(tmp_path, row(A, "fid"), name=f"{A}/metrics.csv")
    assert list(metrics_of(read_own_rows(tmp_path / A))) == ["fid"]
    write(tmp_path, name=f"{A}/metrics.csv")
    with pytest.raises(UserError, match=r"metrics\.csv: has no metrics; .*force=true"):
        read_own_rows(tmp_path / A)
    write(tmp_path, row(B, "fid"), name=f"{A}/metrics.csv")
    with pytest.raises(UserError, match=rf"is of run {B}: two runs claim one cell"):
        read_own_rows(tmp_path / A)
    with pytest.raises(UserError, match=r"cannot be read \(.*No such file"):
        read_own_rows(tmp_path / B)


Make = Callable[..., RunConfig]


MakeRecord = Callable[..., dict[str, Any]]


MakeRun = Callable[..., RunStore]


def test_samples_from_disk_equal_samples_from_memory(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    with Journal(tmp_path / "journal-0of1.jsonl") as journal:
        journal.append({**make_record(i), "margin_variance": float("nan")} for i in (30, 10))
    records = [*iterate_journal(tmp_path / "journal-0of1.jsonl")]
    write_samples(tmp_path, records)
    frame = samples_frame(records)
    assert list(frame["position"]) == [0, 1]
    assert "seconds" not in frame
    assert frame["margin_variance"].isna().all()
    assert frame["margin_variance"].dtype == "float64"
    pd.testing.assert_frame_equal(read_samples(tmp_path), frame)


def test_floats_are_exact_and_lists_are_lists(tmp_path: Path, make_record: MakeRecord) -> None:
    record = {**make_record(1), "margin_mean": 0.1 + 0.2, "true_errors": [1 / 3, 1e-300]}
    write_samples(tmp_path, [record])
    row = read_samples(tmp_path).iloc[0]
    assert row["margin_mean"] == 0.1 + 0.2
    assert row["true_errors"] == [1 / 3, 1e-300]
    assert row["trials"] == record["trials"]
    assert row["correct"] in {True, False}


@pytest.mark.parametrize("identity", ["1234567890123456", "12345678901234e5"])
def test_run_ids_are_never_numbers(identity: str, tmp_path: Path) -> None:
    row = {**dict.fromkeys(METRIC_COLUMNS), "run_id": identity}
    write_metrics(tmp_path, [row])
    assert read_metrics(tmp_path)["run_id"].tolist() == [identity]


@pytest.mark.parametrize("first", [0, 1])
def test_failed_images_and_several_labels_are_the_same_from_disk(
    tmp_path: Path, make_record: MakeRecord, first: int
) -> None:
    own = {"label": None, "labels": [1, 3], "average_precision": 0.75}
    nothing = dict.fromkeys(("prediction", "scores", "true_errors", "margin_mean"))
    fine = {**make_record(1), **own}
    failed = {**make_record(2), **own, **nothing, "failure": "x.jpg: cut", "correct": False}
    bare = {**make_record(3), **own, "labels": [], "average_precision": float("nan")}
    with Journal(tmp_path / "journal-0of1.jsonl") as journal:
        journal.append([fine, failed, bare][first:])
    records = [*iterate_journal(tmp_path / "journal-0of1.jsonl")]
    write_samples(tmp_path, records)
    frame = samples_frame(records)
    pd.testing.assert_frame_equal(read_samples(tmp_path), frame)
    assert frame["failure"].notna().sum() == 1
    assert frame["average_precision"].dtype == "float64"
    assert frame["labels"].tolist()[-1] == []
