"""The four files of a run folder."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.files import (
    METRIC_COLUMNS,
    check_results,
    csv_text,
    make_results,
    need_results,
    read_csv,
    read_manifest,
    write_config,
    write_manifest,
    write_metrics,
    write_samples,
)
from bigain.runs.identity import resolved

MakeRecord = Callable[..., dict[str, Any]]
MANIFEST_OF_A_RUN: dict[str, Any] = {
    **dict.fromkeys(("run_id", "family_id", "baseline_id"), "0123456789abcdef"),
    **{"status": "running", "columns": {}, "config": {}, "n_images": 1, "wall_seconds": 0.5},
    "error": None,
}


def test_the_columns_of_metrics_are_those_of_the_contract() -> None:
    contract = (
        "run_id, profile, backbone, dataset, task, operator, ratio, factor, alpha, score, scope, "
        "strategy, sparsity, seed, metric, value, n, ci_low, ci_high, unit"
    )
    assert ", ".join(METRIC_COLUMNS) == f"{contract}, settings"


def test_cells_are_text_json_or_empty() -> None:
    row = {"a": "none, or", "b": None, "c": float("nan"), "d": [1, 0.1], "e": True, "f": 0.1 + 0.2}
    text = csv_text(list(row), [row])
    assert text == 'a,b,c,d,e,f\n"none, or",,,"[1, 0.1]",true,0.30000000000000004\n'


def test_what_is_written_is_read(tmp_path: Path) -> None:
    row = {"a": "none", "b": None, "c": 1 / 3, "d": [1, [0.1]], "e": False, "f": 7, "g": "0.8->1"}
    (tmp_path / "x.csv").write_text(csv_text(list(row), [row, row]))
    assert read_csv(tmp_path / "x.csv") == [row, row]


@pytest.mark.parametrize("row", [{"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 2}])
def test_rows_with_other_columns_are_refused(row: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"expected \['a', 'b'\]"):
        csv_text(["a", "b"], [row])


@pytest.mark.parametrize("text", [b"", b'{"status": "do', b"{}", b"[]", b"null", b"\xff\xfe\x00"])
def test_a_damaged_manifest_is_named_with_what_to_do(tmp_path: Path, text: bytes) -> None:
    assert read_manifest(tmp_path) is None
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(UserError, match=r"/manifest\.json: is damaged; delete it, .*force=true"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("lost", ["status", "columns", "config", "n_images", "family_id"])
def test_a_manifest_without_what_readers_need_is_damaged(tmp_path: Path, lost: str) -> None:
    write_manifest(tmp_path, {k: v for k, v in MANIFEST_OF_A_RUN.items() if k != lost})
    with pytest.raises(UserError, match="is damaged"):
        read_manifest(tmp_path)


def test_samples_carry_position_and_no_times(tmp_path: Path, make_record: MakeRecord) -> None:
    records = [make_record(7), {**make_record(3), "adopted_from": "0123"}]
    write_samples(tmp_path, records)
    with (tmp_path / "samples.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == [
        *("position", "image_id", "label", "prediction", "correct", "scores", "trials"),
        *("true_errors", "margin_mean", "margin_variance"),
    ]
    assert [row["position"] for row in rows] == ["0", "1"]
    assert [row["image_id"] for row in rows] == ["7", "3"]
    assert json.loads(rows[1]["true_errors"]) == records[1]["true_errors"]
    assert float(rows[0]["margin_mean"]) == records[0]["margin_mean"]


def test_records_of_two_kinds_are_refused(tmp_path: Path, make_record: MakeRecord) -> None:
    with pytest.raises(ValueError, match="row has columns"):
        write_samples(tmp_path, [make_record(1), {"image_id": 2, "file": "x"}])
    assert not (tmp_path / "samples.csv").exists()


def test_metrics_need_all_columns(tmp_path: Path) -> None:
    row = dict.fromkeys(METRIC_COLUMNS)
    write_metrics(tmp_path, [row])
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1] == "," * (len(METRIC_COLUMNS) - 1)
    with pytest.raises(ValueError, match="row has columns"):
        write_metrics(tmp_path, [{"metric": "acc1"}])


def test_config_is_readable_yaml_of_the_resolved_configuration(
    tmp_path: Path, make_config: Callable[..., RunConfig], tome: dict[str, Any]
) -> None:
    config = make_config(operator=tome)
    write_config(tmp_path, resolved(config))
    read = OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml"))
    assert isinstance(read, dict)
    assert RunConfig.model_validate(read) == config


def test_only_if_an_image_failed_there_is_a_column_for_it(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    fine, failed = make_record(1), {**make_record(2), "prediction": None, "failure": "x: cut"}
    write_samples(tmp_path, [fine])
    assert "failure" not in (tmp_path / "samples.csv").read_text()
    for records in ([fine, failed], [failed, fine]):
        write_samples(tmp_path, records)
        rows = read_csv(tmp_path / "samples.csv")
        assert list(rows[0])[-1] == "failure"
        told = {row["image_id"]: (row["failure"], row["prediction"]) for row in rows}
        assert told == {1: (None, fine["prediction"]), 2: ("x: cut", None)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    return path


def test_a_folder_is_checked_and_then_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_results(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        make_results(Path("a/b"))
        assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("function", [check_results, make_results])
def test_a_file_is_no_folder_to_write_to(file: Path, function: object) -> None:
    assert callable(function)
    with pytest.raises(UserError) as caught:
        function(file)
    assert str(caught.value) == f"paths.results={file}: allowed: a folder that you can write to"
    with pytest.raises(UserError, match=r"below: allowed: a folder .* \(.*file is not\)$"):
        function(file / "below")


def test_what_the_system_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under `/proc`, which says that it can be written to and then refuses."""

    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError) as caught:
        make_results(tmp_path / "x")
    assert str(caught.value) == (
        f"paths.results={tmp_path / 'x'}: allowed: a folder that you can write to "
        "(No such file or directory)"
    )


def test_reading_needs_a_folder_that_exists(tmp_path: Path, file: Path) -> None:
    need_results(tmp_path)
    with pytest.raises(UserError, match=r"^paths\.results=.*file: is not a folder; allowed: "):
        need_results(file)
    with pytest.raises(UserError, match=r"^paths\.results=.*absent: does not exist; allowed: "):
        need_results(tmp_path / "absent")
