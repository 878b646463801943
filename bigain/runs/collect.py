"""Publish finished runs.

A run computes its metrics once, at its end.  The rise of the error over the baseline needs two
runs, and the baseline may finish last; then publishing completes the metrics.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.errors import UserError
from bigain.metrics import Metric, classification_metrics, efficiency_metrics
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import ADDED_COLUMNS, metrics_of, read_own_rows
from bigain.runs.baselines import baseline_samples
from bigain.runs.files import METRIC_COLUMNS, METRICS, csv_text, write_metrics
from bigain.runs.identity import describing_columns
from bigain.runs.samples import read_samples
from bigain.runs.store import RunStore, run_folders

__all__ = [
    "MEASURES",
    "collect",
    "publish_run",
    "publish_runs",
    "refresh",
]

_RISE = "eps_error_rise"

MEASURES: Mapping[str, Callable[[pd.DataFrame, pd.DataFrame | None], list[Metric]]] = {
    "classification": classification_metrics,
    "efficiency": efficiency_metrics,
}
"""Task -> the metrics of (its records, those of the baseline or None).

The task itself calls the same functions when a run ends.  The metrics of generation are not here,
because they do not follow from the records alone.
"""


def collect(results: Path) -> list[Path]:
    """Write `<results>/<profile>/runs.csv` for each profile with a run; their paths.

    The metrics of all finished runs are first computed again from their records, which completes
    the rise over a baseline that finished later.  Records and manifests are published again for
    runs that have published ones.

    Raises:
        UserError: A runs.csv, or a file of a finished run, is damaged.

    """
    by_profile: dict[str, list[str]] = {}
    for folder in run_folders(results):
        store = RunStore(results, folder.name)
        if refresh(store, results):
            profile = str(store.manifest()["columns"]["profile"])
            by_profile.setdefault(profile, []).append(store.run_id)
    published = {path.parent.name for path in results.glob("*/runs.csv")}
    archives = [Archive(results, profile) for profile in sorted({*by_profile, *published})]
    for archive in archives:
        names = by_profile.get(archive.profile, [])
        archive.publish_metrics(names)
        archive.publish([n for n in names if archive.published_samples_path(n).is_file()])
    return [archive.runs_csv for archive in archives]


def publish_run(results: Path, run_id: str) -> Path:
    """Publish a finished run; the path of its records.

    Raises:
        UserError: The run is not finished.

    """
    store = RunStore(results, run_id)
    if not store.is_finished():
        raise UserError(f"run_id={run_id}: is {store.status()}; allowed are finished runs (done)")
    profile = str(store.manifest()["config"]["profile"])
    publish_runs(results, profile, [run_id])
    return Archive(results, profile).published_samples_path(run_id)


def publish_runs(results: Path, profile: str, run_ids: Iterable[str]) -> None:
    """Publish those of the runs of a profile that have a finished folder here.

    Only the metrics of runs that lack some, such as the rise over the baseline, are computed again.

    Raises:
        UserError: A file of such a run or runs.csv is damaged, or a folder holds another run; then
            runs.csv stays as it is.

    """
    stores = [RunStore(results, name) for name in run_ids]
    stores = [store for store in stores if store.is_finished()]
    for store in stores:
        if not _is_complete(store):
            refresh(store, results)
    Archive(results, profile).publish([store.run_id for store in stores])


def refresh(store: RunStore, results: Path) -> bool:
    """Compute the metrics of a run again from its records; whether the run is finished.

    Metrics that do not follow from the records stay as they are.

    Raises:
        UserError: metrics.csv is damaged or belongs to another run; then it stays as it is.

    """
    with store.lock():
        if not store.is_finished():
            return False
        path, rows = store.folder / METRICS, _fresh_rows(store, results)
        if not path.exists() or path.read_text("utf-8") != csv_text(METRIC_COLUMNS, rows):
            write_metrics(store.folder, rows)
        return True


def _is_complete(store: RunStore) -> bool:
    manifest, path = store.manifest(), store.folder / METRICS
    if not path.exists() or not manifest["columns"].keys() >= set(ADDED_COLUMNS):
        return False
    is_race = manifest["config"]["task"].get("allocation") == "racing"
    needs_rise = manifest["columns"]["task"] == "classification" and not is_race
    is_baseline = manifest["baseline_id"] == store.run_id
    return not needs_rise or is_baseline or _RISE in metrics_of(read_own_rows(store.folder))


def _fresh_rows(store: RunStore, results: Path) -> list[dict[str, Any]]:
    manifest = store.manifest()
    # Older folders lack columns that were added later; their configuration has the values.
    columns = {**describing_columns(manifest["config"]), **manifest["columns"]}
    is_stated = columns["task"] not in MEASURES
    if is_stated or (store.folder / METRICS).exists():
        stated = read_own_rows(store.folder)
    if is_stated:
        added = {name: columns[name] for name in ADDED_COLUMNS}
        return [{**row.plain, **added} for row in stated]
    baseline = baseline_samples(manifest["config"], results)
    metrics = MEASURES[columns["task"]](read_samples(store.folder), baseline)
    rows = ({**columns, **asdict(metric)} for metric in metrics)
    return [{name: row[name] for name in METRIC_COLUMNS} for row in rows]
