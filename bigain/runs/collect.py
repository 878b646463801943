"""Gather the metrics of all finished runs: runs/*/metrics.csv -> <profile>/runs.csv.

The rise over no acceleration needs two runs, and the baseline may have finished last; so the
metrics of every run are first brought up to date from its samples.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from bigain.atomic import replace_text
from bigain.runs.files import METRIC_COLUMNS, METRICS, csv_text, write_metrics
from bigain.runs.frames import read_metrics, read_samples
from bigain.runs.identity import DESCRIBING_COLUMNS
from bigain.runs.store import RunStore, run_folders
from bigain.runs.summary import MEASURES, metric_rows

__all__ = ["collect", "collect_runs", "in_order", "refresh", "rows_of"]

_ORDER = (*DESCRIBING_COLUMNS[1:], "run_id")


def collect(results: Path) -> list[Path]:
    """Write `<results>/<profile>/runs.csv` for each profile with a finished run; their paths."""
    frame = collect_runs(results)
    written = []
    for profile, part in frame.groupby("profile", sort=True):
        path = results / str(profile) / "runs.csv"
        replace_text(path, csv_text(METRIC_COLUMNS, rows_of(part)))
        written.append(path)
    return written


def collect_runs(results: Path) -> pd.DataFrame:
    """Metrics of all finished runs, columns `METRIC_COLUMNS`; the same table for the same runs.

    Sorted by the describing columns, then run id; the metrics of a run stay in their own order.
    """
    stores = [RunStore(results, folder.name) for folder in run_folders(results)]
    frames = [frame for store in stores if (frame := refresh(store, results)) is not None]
    if not frames:
        return pd.DataFrame(columns=list(METRIC_COLUMNS))
    frame = pd.concat([part.astype(object) for part in frames], ignore_index=True)
    return in_order(frame)


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Metrics sorted by the describing columns, then run id; those of a run as they were."""
    return frame.sort_values(list(_ORDER), kind="stable", key=_sortable, ignore_index=True)


def refresh(store: RunStore, results: Path) -> pd.DataFrame | None:
    """Bring metrics.csv of a run up to date with its samples; its content, None if not finished.

    What a judge measured is final.
    """
    with store.lock():
        if not store.is_finished():
            return None
        manifest = store.manifest()
        if manifest["columns"]["task"] not in MEASURES:
            return read_metrics(store.folder)
        samples = read_samples(store.folder)
        rows = metric_rows(manifest["columns"], manifest["baseline_id"], samples, results)
        path = store.folder / METRICS
        if not path.exists() or path.read_text("utf-8") != csv_text(METRIC_COLUMNS, rows):
            write_metrics(store.folder, rows)
        return read_metrics(store.folder)


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with None where a cell is empty."""
    filled = frame.astype(object).where(frame.notna(), None)
    return [dict(zip(METRIC_COLUMNS, row, strict=True)) for row in filled.to_numpy().tolist()]


def _sortable(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Empty first, numbers by value, then text."""

    def key(value: object) -> tuple[int, float, str]:
        if value is None or value != value:  # noqa: PLR0124 -- NaN
            return 0, 0.0, ""
        try:
            return 1, float(str(value)), ""
        except ValueError:
            return 2, 0.0, str(value)

    return column.map(key)
