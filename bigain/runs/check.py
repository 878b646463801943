"""Check that what is published agrees: metrics, records, errors, manifests and calibrations."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bigain.config.grid import stage_timesteps
from bigain.errors import UserError
from bigain.metrics import Metric
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import metrics_of
from bigain.runs.collect import MEASURES
from bigain.runs.errors import check_errors
from bigain.runs.identity import DESCRIBING_COLUMNS
from bigain.runs.published_calibrations import check_calibration

__all__ = ["check_metrics", "check_published"]

_RISE = "eps_error_rise"

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
