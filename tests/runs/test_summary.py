"""metrics.csv of a run: its describing columns beside each of its metrics."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.metrics import classification_metrics
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import read_samples
from bigain.runs.files import METRIC_COLUMNS, METRICS, read_csv
from bigain.runs.identity import describing_columns, run_id
from bigain.runs.store import RunStore
from bigain.testing.runs import read_metrics

Make = Callable[..., RunConfig]
MakeRecord = Callable[..., dict[str, Any]]
MakeRun = Callable[..., RunStore]


def test_metrics_csv_has_one_row_per_metric_with_the_columns_of_the_contract(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    config = make_config(operator=tome, seed=4)
    store = make_run(tmp_path, config)
    rows = read_csv(store.folder / METRICS, text=["run_id"])
    expected = classification_metrics(read_samples(store.folder))
    assert [row["metric"] for row in rows] == [metric.metric for metric in expected]
    assert [row["value"] for row in rows] == [metric.value for metric in expected]
    columns = describing_columns(config)
    for row in rows:
        assert tuple(row) == METRIC_COLUMNS
        assert {key: row[key] for key in columns} == columns


def test_the_rise_is_there_if_the_baseline_is_finished(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    make_run(tmp_path, make_config())
    store = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    metrics = read_metrics(store.folder).set_index("metric")
    assert metrics.loc["eps_error_rise", "value"] == pytest.approx(25.0)
    assert metrics.loc["eps_error_rise", "unit"] == "percent"


def test_the_rise_is_there_if_the_baseline_is_only_published(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    baseline = make_run(tmp_path, make_config())
    Archive(tmp_path, "mini").publish([baseline.run_id])
    shutil.rmtree(baseline.folder)
    store = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    metrics = read_metrics(store.folder).set_index("metric")
    assert metrics.loc["eps_error_rise", "value"] == pytest.approx(25.0)


def test_no_rise_without_a_finished_baseline(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    baseline = make_config()
    with RunStore(tmp_path, run_id(baseline)).open(baseline, [100], {}):
        store = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    assert "eps_error_rise" not in set(read_metrics(store.folder)["metric"])


def test_the_baseline_has_no_rise_over_itself(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    make_run(tmp_path, make_config())
    again = make_run(tmp_path, make_config(force=True))
    assert "eps_error_rise" not in set(read_metrics(again.folder)["metric"])


def test_a_baseline_of_another_seed_does_not_count(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    make_run(tmp_path, make_config(seed=1))
    store = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    assert "eps_error_rise" not in set(read_metrics(store.folder)["metric"])
