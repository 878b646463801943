"""A finished run as small committed files, without its folder.

`<results>/<profile>/samples/<run_id>.csv.gz` are its records, `manifests/<run_id>.json` beside them
its origin, and `<results>/<profile>/runs.csv` has its metrics among those of other runs, whose
folders need not be here.
"""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.atomic import replace_file, replace_text
from bigain.errors import UserError
from bigain.runs.collect import in_order, rows_of
from bigain.runs.files import METRIC_COLUMNS, METRICS, SAMPLES, csv_text, read_csv
from bigain.runs.manifests import publish_manifest
from bigain.runs.store import RunStore

__all__ = ["publish_run"]

_TEXT = tuple(name for name in METRIC_COLUMNS if name not in {"value", "n", "ci_low", "ci_high"})


def publish_run(results: Path, run_id: str) -> Path:
    """Write these files; the path of the records.  The same run gives the same bytes.

    Raises:
        UserError: The run is not finished.

    """
    store = RunStore(results, run_id)
    if not store.is_finished():
        raise UserError(f"run_id={run_id}: is {store.status()}; allowed are finished runs (done)")
    profile = str(store.manifest()["config"]["profile"])
    place = results / profile
    publish_manifest(results, profile, run_id)
    packed = gzip.compress((store.folder / SAMPLES).read_bytes(), mtime=0)
    path = place / "samples" / f"{run_id}.csv.gz"
    replace_file(path, lambda temporary: temporary.write_bytes(packed))
    table = place / "runs.csv"
    kept = [row for row in _rows(table) if row["run_id"] != run_id]
    frame = pd.DataFrame([*kept, *_rows(store.folder / METRICS)], columns=list(METRIC_COLUMNS))
    replace_text(table, csv_text(METRIC_COLUMNS, rows_of(in_order(frame.astype(object)))))
    return path


def _rows(path: Path) -> list[dict[str, Any]]:
    return read_csv(path, _TEXT) if path.exists() else []
