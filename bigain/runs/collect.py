"""Gather the metrics of all finished runs: runs/*/metrics.csv -> <profile>/runs.csv.

The rise over no acceleration needs two runs, and the baseline may have finished last; so the
metrics of every run are first brought up to date from its samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.files import replace_text
from bigain.runs.files import METRIC_COLUMNS, METRICS, csv_text, write_metrics
from bigain.runs.frames import read_metrics, read_samples
from bigain.runs.identity import DESCRIBING_COLUMNS
from bigain.runs.listing import read_listing, read_own_rows
from bigain.runs.manifests import publish_manifest
from bigain.runs.published import FROM_RECORDS, publish_samples, published_path
from bigain.runs.store import RunStore, run_folders
from bigain.runs.summary import MEASURES, metric_rows

__all__ = ["collect", "collect_runs", "fresh_rows", "list_rows", "refresh"]

Row = Mapping[str, Any]

_ORDER = (*DESCRIBING_COLUMNS[1:], "run_id")


def collect(results: Path) -> list[Path]:
    """Write `<results>/<profile>/runs.csv` for each profile with a finished run; their paths.

    The published records and manifests of runs that have some are renewed with them.

    Raises:
        UserError: A runs.csv that is there, or a file of a finished run, is damaged.

    """
    by_profile: dict[str, list[Row]] = {}
    for folder in run_folders(results):
        for row in fresh_rows(results, folder.name):
            by_profile.setdefault(str(row["profile"]), []).append(row)
    for profile, rows in by_profile.items():
        _publish_again(results, profile, {str(row["run_id"]) for row in rows})
    return [list_rows(results, profile, rows) for profile, rows in sorted(by_profile.items())]


def _publish_again(results: Path, profile: str, names: Iterable[str]) -> None:
    """Renew what is published of runs; or their new metrics would contradict their old records."""
    for name in names:
        if published_path(results, profile, name).is_file():
            publish_samples(results, profile, name)
            publish_manifest(results, profile, name)


def fresh_rows(results: Path, run_id: str) -> list[Row]:
    """The metrics of a finished run, brought up to date; none if it is not finished."""
    store = RunStore(results, run_id)
    if refresh(store, results) is None:
        return []
    return [row.plain for row in read_own_rows(store.folder)]


def list_rows(results: Path, profile: str, rows: Sequence[Row]) -> Path:
    """Put the metrics of some runs into runs.csv of a profile; its path.

    Rows of other runs stay, since their folders may be elsewhere.  A file that would not change is
    left alone.

    Raises:
        UserError: The file is damaged; then it stays as it is.

    """
    path = results / profile / "runs.csv"
    here = {row["run_id"] for row in rows}
    listed = [row for name, own in read_listing(path).items() if name not in here for row in own]
    merged = [*(row.plain for row in listed), *rows]
    frame = pd.DataFrame(merged, columns=list(METRIC_COLUMNS), dtype=object)
    text = csv_text(METRIC_COLUMNS, _rows_of(_in_order(frame)))
    if rows and not (path.exists() and path.read_text(encoding="utf-8") == text):
        replace_text(path, text)
    return path


def collect_runs(results: Path) -> pd.DataFrame:
    """Metrics of all finished runs, columns `METRIC_COLUMNS`; the same table for the same runs.

    Sorted by the describing columns, then run id; the metrics of a run stay in their own order.
    """
    stores = [RunStore(results, folder.name) for folder in run_folders(results)]
    frames = [frame for store in stores if (frame := refresh(store, results)) is not None]
    if not frames:
        return pd.DataFrame(columns=list(METRIC_COLUMNS))
    frame = pd.concat([part.astype(object) for part in frames], ignore_index=True)
    return _in_order(frame)


def refresh(store: RunStore, results: Path) -> pd.DataFrame | None:
    """Bring metrics.csv of a run up to date with its samples; its content, None if not finished.

    What a judge measured is final.  A file that was lost is made again where tables compute the
    metrics from the records, too.

    Raises:
        UserError: metrics.csv is damaged, or of another run; then it stays as it is.

    """
    with store.lock():
        if not store.is_finished():
            return None
        manifest, path = store.manifest(), store.folder / METRICS
        task = manifest["columns"]["task"]
        if path.exists() or task not in FROM_RECORDS:
            read_own_rows(store.folder)
        if task not in MEASURES:
            return read_metrics(store.folder)
        samples = read_samples(store.folder)
        rows = metric_rows(manifest["columns"], manifest["baseline_id"], samples, results)
        if not path.exists() or path.read_text("utf-8") != csv_text(METRIC_COLUMNS, rows):
            write_metrics(store.folder, rows)
        return read_metrics(store.folder)


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Metrics sorted by the describing columns, then run id; those of a run as they were."""
    return frame.sort_values(list(_ORDER), kind="stable", key=_sortable, ignore_index=True)


def _rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
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
