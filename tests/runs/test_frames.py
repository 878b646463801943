"""What comes back from a run folder is what went in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bigain.config import RunConfig
from bigain.runs.archive_csv import read_samples, samples_frame
from bigain.runs.files import METRIC_COLUMNS, write_metrics, write_samples
from bigain.runs.session import Journal, read_journal
from bigain.runs.store import RunStore
from bigain.testing.runs import read_metrics

Make = Callable[..., RunConfig]
MakeRecord = Callable[..., dict[str, Any]]
MakeRun = Callable[..., RunStore]


def test_samples_from_disk_equal_samples_from_memory(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    records = [make_record(i) for i in (30, 10, 20)]
    write_samples(tmp_path, records)
    pd.testing.assert_frame_equal(read_samples(tmp_path), samples_frame(records))


def test_missing_numbers_come_back_as_missing(tmp_path: Path, make_record: MakeRecord) -> None:
    with Journal(tmp_path / "journal-0of1.jsonl") as journal:
        journal.append({**make_record(i), "margin_variance": float("nan")} for i in (1, 2))
    records = read_journal(tmp_path / "journal-0of1.jsonl")
    write_samples(tmp_path, records)
    frame = samples_frame(records)
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


def test_frames_hold_nothing_about_time_or_origin(make_record: MakeRecord) -> None:
    frame = samples_frame([{"adopted_from": "x", **make_record(1)}, make_record(2)])
    assert not {"seconds", "adopted_from"} & set(frame.columns)
    assert list(frame["position"]) == [0, 1]


def test_metrics_keep_names_that_look_like_nothing(tmp_path: Path) -> None:
    row: dict[str, Any] = {**dict.fromkeys(METRIC_COLUMNS), "run_id": "0000000000001234"}
    row |= {"operator": "none", "score": "NA", "alpha": 0.9, "value": 1 / 3, "n": 7}
    write_metrics(tmp_path, [row])
    read = read_metrics(tmp_path).iloc[0]
    assert read["run_id"] == "0000000000001234"
    assert (read["operator"], read["score"], read["alpha"]) == ("none", "NA", 0.9)
    assert (read["value"], read["n"]) == (1 / 3, 7)
    assert pd.isna(read["ratio"])


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
    records = read_journal(tmp_path / "journal-0of1.jsonl")
    write_samples(tmp_path, records)
    frame = samples_frame(records)
    pd.testing.assert_frame_equal(read_samples(tmp_path), frame)
    assert frame["failure"].notna().sum() == 1
    assert frame["average_precision"].dtype == "float64"
    assert frame["labels"].tolist()[-1] == []
