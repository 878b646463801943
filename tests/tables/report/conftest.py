"""Results on disk as `bigain collect` and publishing leave them, without any run."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bigain.runs.files import METRIC_COLUMNS
from bigain.tables.document import Document
from bigain.tables.report import ReportTable

Row = dict[str, str]
WriteRuns = Callable[..., Path]

ORIGIN: dict[str, Any] = {
    "device": "cpu",
    "cpu_model": "A processor",
    "cores": 2,
    "platform": "Linux-6.1-x86_64",
    "python": "3.11.7",
    "git_commit": "0123456789abcdef0123",
    "git_dirty": False,
    "packages": {"bigain": "0.1.0", "torch": "2.14.1", "diffusers": "0.42.1", "numpy": "2.4.6"},
}


def rows_of(name: str, operator: str, ratio: str, task: str, **metrics: float) -> list[Row]:
    """The rows of one run in runs.csv."""
    run = {"run_id": name, "profile": "mini", "backbone": "mini_unet", "dataset": "fashion_mnist"}
    run |= {"task": task, "operator": operator, "ratio": ratio, "seed": "0"}
    unit = {"acc1": "percent", "frechet_mini": "feature^2"}
    return [
        {
            **dict.fromkeys(METRIC_COLUMNS, ""),
            **run,
            "metric": metric,
            "value": str(value),
            "n": "400",
            "ci_low": str(value - 1),
            "ci_high": str(value + 1),
            "unit": unit.get(metric, "error"),
        }
        for metric, value in metrics.items()
    ]


RUNS = [
    *rows_of("aaaa0000aaaa0000", "none", "", "classification", acc1=86.5, eps_error=0.0388),
    *rows_of("bbbb0000bbbb0000", "tome", "0.7", "classification", acc1=9.25, eps_error=0.0401),
    *rows_of("cccc0000cccc0000", "lgtm", "0.7", "classification", acc1=86.25, eps_error=0.0408),
    *rows_of("dddd0000dddd0000", "lgtm", "0.3", "generation", frechet_mini=-12.5),
]


def write_runs(results: Path, rows: Sequence[Row] = RUNS) -> Path:
    path = results / "mini" / "runs.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, METRIC_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_manifest(path: Path, run_id: str, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    needed: dict[str, Any] = dict.fromkeys(("family_id", "baseline_id", "n_images"), "x")
    needed["columns"] = {}
    needed |= {"config": {}, "withheld": ["name"]}  # else the name would have to be its hash
    manifest = {**needed, "status": "done", "wall_seconds": 1.0, **ORIGIN, **changes}
    path.write_text(json.dumps({**manifest, "run_id": run_id}), encoding="utf-8")
    return path


@pytest.fixture
def runs() -> WriteRuns:
    """Write runs.csv: four runs, or the rows that are given."""
    return write_runs


@pytest.fixture
def run_rows() -> list[Row]:
    return [dict(row) for row in RUNS]


@pytest.fixture
def manifest() -> Callable[..., Path]:
    """Write a manifest to a path."""
    return write_manifest


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Four runs; the first has a published manifest, the second one in its folder."""
    write_runs(tmp_path)
    published = tmp_path / "mini" / "manifests" / "aaaa0000aaaa0000.json"
    write_manifest(published, "aaaa0000aaaa0000")
    own = tmp_path / "runs" / "bbbb0000bbbb0000" / "manifest.json"
    write_manifest(own, "bbbb0000bbbb0000", device="cuda:0")
    return tmp_path


@pytest.fixture
def tables(small_document: Document) -> list[ReportTable]:
    ids = ("aaaa0000aaaa0000", "cccc0000cccc0000", "eeee0000eeee0000")
    return [ReportTable(small_document, ids)]
