"""Publish finished runs, and check what is published.

A run computes its metrics once, at its end.  The rise of the error over the baseline needs two
runs, and the baseline may finish last; then publishing completes the metrics.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.config.grid import stage_timesteps
from bigain.errors import UserError
from bigain.metrics import Metric, classification_metrics, efficiency_metrics
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import ADDED_COLUMNS, metrics_of, read_own_rows
from bigain.runs.baselines import baseline_samples
from bigain.runs.errors import check_errors
from bigain.runs.files import METRIC_COLUMNS, METRICS, csv_text, write_metrics
from bigain.runs.identity import DESCRIBING_COLUMNS, describing_columns
from bigain.runs.published_calibrations import check_calibration
from bigain.runs.samples import read_samples
from bigain.runs.store import RunStore, run_folders

__all__ = [
    "MEASURES",
    "check_metrics",
    "check_published",
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


_TOLERANCE = 1e-4
"""Of a value or the width of its interval, whichever is larger.

The same run with other threads, batches or devices differs by rounding.
"""

_LOOSE = {_RISE: 1e-2}
"""The tolerance of a metric of two runs, which may be from different machines."""

_DISTANCES = ("fid", "frechet_mini")
_REMEDY = "restore the committed file, or `bigain collect` where its run has a folder"


def check_published(results: Path) -> dict[str, int]:
    """Compare the published metrics, records and manifests of all profiles.

    The records of a run must give its metrics, the configuration in its manifest must have its run
    id, and a race its calibration.  Rows of runs that were collected but not published have nothing
    to compare with.

    Returns:
        Profile -> number of its published runs.

    Raises:
        UserError: Two files contradict each other, or one is damaged or missing.

    """
    profiles = sorted(path.parent.name for path in results.glob("*/runs.csv"))
    return {profile: _check_profile(Archive(results, profile)) for profile in profiles}


def _check_profile(archive: Archive) -> int:
    """Compare the runs that have records and a manifest, and errors if any; their number."""
    folder, listed = archive.runs_csv.parent, set(archive.run_ids())
    records = {path.name.partition(".")[0] for path in folder.glob("samples/*.csv.gz")}
    manifests = {path.stem for path in folder.glob("manifests/*.json")}
    errors = {path.stem for path in folder.glob("errors/*.npz")}
    parts = {"rows in runs.csv": listed, "records": records, "manifest": manifests}
    for kind, there in parts.items():
        missing = sorted((records | manifests | errors) - there)
        if missing:
            raise UserError(f"{folder}: run {missing[0]} is published without {kind}; {_REMEDY}")
    for run_id in sorted(records):
        _check_run(archive, run_id)
    return len(records)


def _check_run(archive: Archive, run_id: str) -> None:
    manifest, frame = archive.published_manifest(run_id), archive.published_samples(run_id)
    assert manifest is not None
    assert frame is not None
    check_calibration(archive.runs_csv.parent, run_id, manifest["config"])
    rows, source = archive.published_rows(run_id), f"{archive.runs_csv}, run {run_id}"
    records, path = archive.published_samples_path(run_id), archive.published_manifest_path(run_id)
    for name in manifest["columns"].keys() & set(DESCRIBING_COLUMNS):
        cell, value = rows[0].cells[name], manifest["columns"][name]
        if cell != ("" if value is None else str(value)):
            raise UserError(f"{source}: {name}={cell}, but {path} has {value}; {_REMEDY}")
    if manifest["n_images"] != len(frame):
        images = f"n_images={manifest['n_images']}, but {records} has {len(frame)}"
        raise UserError(f"{path}: {images}; {_REMEDY}")
    baseline = manifest.get("baseline_id", run_id)
    reference = None if baseline == run_id else archive.published_samples(baseline)
    check_metrics(source, metrics_of(rows), records, frame, reference)
    errors = archive.published_errors_path(run_id)
    if errors.is_file():
        first_stage = stage_timesteps(manifest["config"]["task"]["trial_list"])[0]
        check_errors(errors, frame, records, first_stage)


def check_metrics(
    source: str,
    stated: Mapping[str, Metric],
    records: Path,
    frame: pd.DataFrame,
    baseline: pd.DataFrame | None = None,
) -> None:
    """Raise UserError unless the metrics of a run are those that its records give.

    Metrics that do not follow from the published records are not compared, nor is the rise of the
    error without the records of the baseline.

    Args:
        source: Where the metrics are stated, for the message.
        stated: Metric id -> value.
        records: The file of the records, for the message.
        frame: The records.
        baseline: The records of the baseline.

    """
    if frame.empty:
        raise UserError(f"{records}: has no image; {_REMEDY}")
    for name, found in _recomputed(stated, frame, baseline).items():
        metric = stated.get(name)
        part = None if metric is None else _differing(metric, found)
        if part is not None:
            what = name if part == "value" else f"{name}, {part}"
            giver = f"{records} and those of the baseline give" if name in _LOOSE else records
            verb = "" if name in _LOOSE else " gives"
            raise UserError(
                f"{source}: {what}={getattr(metric, part):.9g}, but {giver}{verb} "
                f"{getattr(found, part):.9g}: they contradict each other; {_REMEDY}"
            )


def _recomputed(
    stated: Mapping[str, Metric], frame: pd.DataFrame, baseline: pd.DataFrame | None
) -> Mapping[str, Metric]:
    if "frechet_value" in frame:
        return _of_generation(stated, frame)
    task = "efficiency" if "measure" in frame else "classification"
    return {metric.metric: metric for metric in MEASURES[task](frame, baseline)}


def _of_generation(stated: Mapping[str, Metric], frame: pd.DataFrame) -> dict[str, Metric]:
    """The distance, the mean of the jackknife values in the records, and the class agreement."""
    values = frame["frechet_value"].astype("float64")
    distances = [Metric.of_mean(name, values, "feature^2") for name in _DISTANCES if name in stated]
    found = {each.metric: replace(each, ci_low=max(each.ci_low, 0.0)) for each in distances}
    if "correct" in frame:
        name = "class_agreement"
        found[name] = Metric.of_share(name, int(frame["correct"].sum()), len(frame))
    return found


def _differing(stated: Metric, found: Metric) -> str | None:
    """The first part in which the two metrics differ; None if they agree."""
    if stated.n != found.n:
        return "n"
    width = found.ci_high - found.ci_low
    scale = max(abs(found.value), 0.0 if math.isnan(width) else width)
    slack = _LOOSE.get(found.metric, _TOLERANCE) * scale
    for part in ("value", "ci_low", "ci_high"):
        one, other = getattr(stated, part), getattr(found, part)
        is_nan = math.isnan(one), math.isnan(other)
        if any(is_nan) and not all(is_nan):
            return part
        if abs(one - other) > slack:
            return part
    return None
