import csv
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.metrics import classification_metrics
from bigain.runs.files import METRIC_COLUMNS, csv_text
from bigain.runs.identity import run_id
from bigain.runs.published import (
    COLUMNS,
    is_available,
    load_metrics,
    load_samples,
    publish_samples,
    published_path,
)
from bigain.runs.store import RunStore


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return compose_config(["dataset.limit=12", "operator=tome", f"paths.results={tmp_path}"])


@pytest.fixture
def name(config: RunConfig, tmp_path: Path, make_run: Callable[..., RunStore]) -> str:
    """Run id of a finished run."""
    make_run(tmp_path, config)
    return run_id(config)


def load(results: Path, name: str) -> pd.DataFrame:
    frame = load_samples(results, "mini", name)
    assert frame is not None
    return frame


def remove_runs(results: Path) -> None:
    """What a fresh clone has: no `runs/`."""
    shutil.rmtree(results / "runs")


def test_nothing_of_an_unknown_run(tmp_path: Path) -> None:
    assert not is_available(tmp_path, "mini", "0" * 16, "classification")
    assert load_samples(tmp_path, "mini", "0" * 16) is None
    assert publish_samples(tmp_path, "mini", "0" * 16) is None
    assert not list(tmp_path.rglob("*.gz"))


def test_records_of_a_finished_run(tmp_path: Path, name: str) -> None:
    frame = load(tmp_path, name)
    assert is_available(tmp_path, "mini", name, "classification")
    assert tuple(frame.columns) == COLUMNS
    assert frame["position"].tolist() == list(range(12))
    assert frame["image_id"].tolist() == list(range(100, 112))
    assert frame["correct"].dtype == bool
    assert (frame["correct"] == (frame["label"] == frame["prediction"])).all()
    assert all(len(errors) == 5 for errors in frame["true_errors"])


def test_an_unfinished_run_has_none(tmp_path: Path, name: str) -> None:
    manifest = tmp_path / "runs" / name / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"done"', '"running"'))
    assert load_samples(tmp_path, "mini", name) is None
    assert publish_samples(tmp_path, "mini", name) is None


def test_the_published_copy_replaces_the_run_to_the_last_digit(tmp_path: Path, name: str) -> None:
    before = load(tmp_path, name)
    path = publish_samples(tmp_path, "mini", name)
    assert (
        path == published_path(tmp_path, "mini", name) == tmp_path / f"mini/samples/{name}.csv.gz"
    )
    remove_runs(tmp_path)
    assert is_available(tmp_path, "mini", name, "classification")
    pd.testing.assert_frame_equal(load(tmp_path, name), before, check_exact=True)


def test_copies_are_the_same_bytes_whenever_they_are_made(tmp_path: Path, name: str) -> None:
    path = published_path(tmp_path, "mini", name)
    publish_samples(tmp_path, "mini", name)
    first = path.read_bytes()
    assert first[4:8] == b"\0\0\0\0", "a time of packing"
    path.unlink()
    publish_samples(tmp_path, "mini", name)
    assert path.read_bytes() == first


def test_an_equal_copy_is_left_alone(tmp_path: Path, name: str) -> None:
    path = publish_samples(tmp_path, "mini", name)
    assert path is not None
    other_packing = gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=1)
    path.write_bytes(other_packing)
    publish_samples(tmp_path, "mini", name)
    assert path.read_bytes() == other_packing


def test_the_copy_is_small(tmp_path: Path, name: str) -> None:
    path = publish_samples(tmp_path, "mini", name)
    assert path is not None
    text = gzip.decompress(path.read_bytes()).decode()
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert "scores" not in text
    assert path.stat().st_size < 100 * 12


def test_the_run_goes_before_the_copy(tmp_path: Path, name: str) -> None:
    before = load(tmp_path, name)
    path = publish_samples(tmp_path, "mini", name)
    assert path is not None
    path.write_bytes(gzip.compress(b"position\n"))
    pd.testing.assert_frame_equal(load(tmp_path, name), before)


def test_a_column_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "runs" / name / "samples.csv").write_text("position,image_id\n0,100\n")
    with pytest.raises(UserError, match=rf"{name}/samples.csv: lacks .*correct"):
        load_samples(tmp_path, "mini", name)


def test_a_damaged_line_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "runs" / name / "samples.csv"
    path.write_text(path.read_text().replace('"[', '"[[', 1).replace("[0", "nonsense0"))
    with pytest.raises(UserError, match=rf"{name}/samples.csv: damaged"):
        load_samples(tmp_path, "mini", name)


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"position\n")[:-9]], ids=["text", "cut"]
)
def test_a_damaged_copy_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = publish_samples(tmp_path, "mini", name)
    assert path is not None
    remove_runs(tmp_path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}.csv.gz: damaged"):
        load_samples(tmp_path, "mini", name)


def test_a_copy_that_holds_something_else_is_named(tmp_path: Path, name: str) -> None:
    path = publish_samples(tmp_path, "mini", name)
    assert path is not None
    remove_runs(tmp_path)
    path.write_bytes(gzip.compress(b"position,image_id\n0,100\n"))
    with pytest.raises(UserError, match=rf"{name}.csv.gz: lacks .*correct"):
        load_samples(tmp_path, "mini", name)


def test_failed_images_and_several_labels_are_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / "runs" / name / "samples.csv"
    lines = list(csv.DictReader(path.open(newline="")))
    for line in lines:
        line |= {"label": "", "labels": "[1, 4]", "average_precision": "0.5", "failure": ""}
    empty = ("prediction", "true_errors", "margin_mean", "margin_variance", "scores")
    lines[2] |= {**dict.fromkeys(empty, ""), "correct": "false", "failure": "x.jpg: cut"}
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    before = load(tmp_path, name)
    assert list(before.columns) == [*COLUMNS, "labels", "average_precision", "failure"]
    assert before["labels"].tolist() == [[1, 4]] * 12
    assert before["failure"].notna().tolist() == [i == 2 for i in range(12)]
    assert before["true_errors"][2] is None
    metrics = {metric.metric: metric for metric in classification_metrics(before)}
    assert (metrics["map_image"].value, metrics["failed_images"].value) == (50, 1)
    assert (metrics["acc1"].n, metrics["eps_error"].n) == (12, 11)
    publish_samples(tmp_path, "mini", name)
    remove_runs(tmp_path)
    pd.testing.assert_frame_equal(load(tmp_path, name), before)


def metric_row(run: str, metric: str, **changes: object) -> dict[str, object]:
    numbers = {"value": 30.5, "n": 100, "ci_low": 29.0, "ci_high": None, "unit": "feature^2"}
    named = {"run_id": run, "profile": "mini", "metric": metric}
    return dict.fromkeys(METRIC_COLUMNS) | named | numbers | changes


def write_runs(folder: Path, *rows: dict[str, object]) -> Path:
    path = folder / "mini" / "runs.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv_text(METRIC_COLUMNS, rows))
    return path


def test_without_a_folder_metrics_are_those_of_runs_csv(tmp_path: Path) -> None:
    assert load_metrics(tmp_path, "mini", "a" * 16) == {}
    write_runs(tmp_path, metric_row("a" * 16, "fid"))
    assert load_metrics(tmp_path, "mini", "a" * 16)["fid"].value == 30.5
    assert load_metrics(tmp_path, "mini", "b" * 16) == {}


def test_metrics_of_the_folder_go_before_the_published_ones(tmp_path: Path, name: str) -> None:
    write_runs(tmp_path, metric_row(name, "acc1", value=1.0, ci_low=0.5))
    assert load_metrics(tmp_path, "mini", name)["acc1"].value > 1
    remove_runs(tmp_path)
    assert load_metrics(tmp_path, "mini", name)["acc1"].value == 1


def test_what_is_stated_must_be_published_too(tmp_path: Path, name: str) -> None:
    publish_samples(tmp_path, "mini", name)
    remove_runs(tmp_path)
    assert is_available(tmp_path, "mini", name, "classification")
    assert not is_available(tmp_path, "mini", name, "generation")
    write_runs(tmp_path, metric_row("a" * 16, "fid"))
    assert not is_available(tmp_path, "mini", name, "efficiency")
    write_runs(tmp_path, metric_row("a" * 16, "fid"), metric_row(name, "fid"))
    assert is_available(tmp_path, "mini", name, "generation")


def test_a_folder_with_another_run_is_named(tmp_path: Path, name: str) -> None:
    other = "b" * 16
    shutil.copytree(tmp_path / "runs" / name, tmp_path / "runs" / other)
    told = rf"{other}/manifest.json: is of run {name}: two runs claim one cell"
    for read in (load_samples, load_metrics, publish_samples):
        with pytest.raises(UserError, match=told):
            read(tmp_path, "mini", other)
    with pytest.raises(UserError, match=told):
        is_available(tmp_path, "mini", other, "classification")


def test_metrics_of_another_run_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "runs" / name / "metrics.csv"
    path.write_text(path.read_text().replace(name, "b" * 16))
    with pytest.raises(UserError, match=r"metrics.csv: is of run b+: two runs claim one cell"):
        load_metrics(tmp_path, "mini", name)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_records_that_cannot_be_read_are_named(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / "runs" / name / "samples.csv"
    path.unlink() if content is None else path.write_bytes(content)
    for read in (load_samples, publish_samples):
        with pytest.raises(UserError, match=r"samples\.csv: cannot be read \(.*force=true"):
            read(tmp_path, "mini", name)
