"""Finished runs as small committed files, without their folders.

`<results>/<profile>/samples/<run_id>.csv.gz` are a run's records, `manifests/<run_id>.json` beside
them its origin, and `<results>/<profile>/runs.csv` has its metrics among those of other runs, whose
folders need not be here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.atomic import replace_text
from bigain.errors import UserError
from bigain.runs.collect import in_order, refresh, rows_of
from bigain.runs.files import METRIC_COLUMNS, METRICS, csv_text, read_csv
from bigain.runs.manifests import publish_manifest
from bigain.runs.published import TEXT_COLUMNS, publish_samples, published_path
from bigain.runs.store import RunStore

__all__ = ["publish_run", "publish_runs"]


def publish_run(results: Path, run_id: str) -> Path:
    """Write these files; the path of the records.  The same run gives the same bytes.

    Raises:
        UserError: The run is not finished.

    """
    store = RunStore(results, run_id)
    if not store.is_finished():
        raise UserError(f"run_id={run_id}: is {store.status()}; allowed are finished runs (done)")
    profile = str(store.manifest()["config"]["profile"])
    publish_runs(results, profile, [run_id])
    return published_path(results, profile, run_id)


def publish_runs(results: Path, profile: str, run_ids: Iterable[str]) -> None:
    """Publish those of the runs of a profile whose folders are here and finished.

    Files that would not change are left alone.
    """
    here = [name for name in run_ids if publish_samples(results, profile, name) is not None]
    for name in here:
        publish_manifest(results, profile, name)
    table = results / profile / "runs.csv"
    kept = [row for row in _rows(table) if row["run_id"] not in here]
    rows = [*kept, *(row for name in here for row in _fresh(results, name))]
    frame = pd.DataFrame(rows, columns=list(METRIC_COLUMNS))
    text = csv_text(METRIC_COLUMNS, rows_of(in_order(frame.astype(object))))
    if here and (not table.exists() or table.read_text(encoding="utf-8") != text):
        replace_text(table, text)


def _fresh(results: Path, run_id: str) -> list[dict[str, Any]]:
    """The metrics of a run; a rise over a baseline that finished later is among them."""
    store = RunStore(results, run_id)
    refresh(store, results)
    return _rows(store.folder / METRICS)


def _rows(path: Path) -> list[dict[str, Any]]:
    return read_csv(path, TEXT_COLUMNS) if path.exists() else []
