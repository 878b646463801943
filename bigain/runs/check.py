"""Check that what is published agrees: metrics, records, errors, features, manifests, calibrations.

Metrics are computed again from what is published.  Older runs lack a part: KID, precision and
recall follow from features, map_class from the scores of all classes.  Such metrics are named.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bigain.config.grid import stage_timesteps
from bigain.errors import UserError
from bigain.metrics import Metric, frechet_with_interval, generation_metrics, moments_of
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import metrics_of
from bigain.runs.collect import MEASURES
from bigain.runs.errors import check_errors
from bigain.runs.features import features_path, read_features
from bigain.runs.identity import DESCRIBING_COLUMNS
from bigain.runs.published_calibrations import check_calibration

__all__ = ["check_metrics", "check_published", "compare_metrics", "examine_published"]

_RISE = "eps_error_rise"

_TOLERANCE = 1e-4
"""Of a value or the width of its interval, whichever is larger.

The same run with other threads, batches or devices differs by rounding.
"""

_LOOSE = {_RISE: 1e-2}
"""The tolerance of a metric of two runs, which may be from different machines."""

_DISTANCES = ("fid", "frechet_mini")
_REMEDY = "restore the committed file, or `bigain collect` where its run has a folder"


@dataclass(frozen=True)
class Examined:
    """The published runs of a profile, which agree.

    Attributes:
        runs: Their number.
        as_stated: Metrics that nothing published gives again -> the runs that state them.

    """

    runs: int
    as_stated: Mapping[tuple[str, ...], Sequence[str]]


def check_published(results: Path) -> dict[str, int]:
    """Profile -> number of its published runs; raises as `examine_published`."""
    return {profile: each.runs for profile, each in examine_published(results).items()}


def examine_published(results: Path) -> dict[str, Examined]:
    """Compare the published metrics, records and manifests of all profiles.

    The records of a run must give its metrics, the configuration in its manifest must have its run
    id, and a race its calibration.  Rows of runs that were collected but not published have nothing
    to compare with.

    Returns:
        Profile -> what was found.

    Raises:
        UserError: Two files contradict each other, or one is damaged or missing.

    """
    profiles = sorted(path.parent.name for path in results.glob("*/runs.csv"))
    return {profile: _check_profile(Archive(results, profile)) for profile in profiles}


def _check_profile(archive: Archive) -> Examined:
    """Compare the runs that have records and a manifest, and what else there is of them."""
    folder, listed = archive.runs_csv.parent, set(archive.run_ids())
    records = {path.name.partition(".")[0] for path in folder.glob("samples/*.csv.gz")}
    manifests = {path.stem for path in folder.glob("manifests/*.json")}
    arrays = {path.stem for kind in ("errors", "features") for path in folder.glob(f"{kind}/*.npz")}
    parts = {"rows in runs.csv": listed, "records": records, "manifest": manifests}
    for kind, there in parts.items():
        missing = sorted((records | manifests | arrays) - there)
        if missing:
            raise UserError(f"{folder}: run {missing[0]} is published without {kind}; {_REMEDY}")
    as_stated: dict[tuple[str, ...], list[str]] = {}
    for run_id in sorted(records):
        if left := _check_run(archive, run_id):
            as_stated.setdefault(left, []).append(run_id)
    return Examined(len(records), as_stated)


def _check_run(archive: Archive, run_id: str) -> tuple[str, ...]:
    """The metrics that were not computed again."""
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
    again = check_metrics(source, metrics_of(rows), records, frame, reference)
    errors = archive.published_errors_path(run_id)
    if errors.is_file():
        first_stage = stage_timesteps(manifest["config"]["task"]["trial_list"])[0]
        check_errors(errors, frame, records, first_stage)
    again |= _check_features(archive, run_id, frame, manifest["config"]["seed"])
    return tuple(row.metric.metric for row in rows if row.metric.metric not in again)


def _check_features(
    archive: Archive, run_id: str, frame: pd.DataFrame, seed: int
) -> dict[str, Metric]:
    """The metrics that the features of generated images give, if there are any.

    They, and the share of each image in the distance, must be those that are published.
    """
    folder = archive.runs_csv.parent
    features, path = read_features(folder, run_id), features_path(folder, run_id)
    if features is None:
        return {}
    images = list(frame["image_id"]) if "frechet_value" in frame else []
    if not np.array_equal(features.image_ids, images):
        raise UserError(f"{path}: has other images than the records of its run; {_REMEDY}")
    stated, real = metrics_of(archive.published_rows(run_id)), moments_of(features.real)
    name = next(each for each in _DISTANCES if each in stated)
    with warnings.catch_warnings(action="ignore"):  # few images: the run itself has said so
        distance = frechet_with_interval(features.generated, real)
        found = generation_metrics(
            name, features.generated, real, features.real, seed, distance=distance
        )
    recomputed = {metric.metric: metric for metric in found}
    compare_metrics(f"{archive.runs_csv}, run {run_id}", stated, recomputed, path)
    shares = distance.value + distance.influences
    if not np.allclose(shares, frame["frechet_value"], rtol=_TOLERANCE, atol=_TOLERANCE):
        raise UserError(f"{path}: gives another frechet_value than the records; {_REMEDY}")
    return recomputed


def check_metrics(
    source: str,
    stated: Mapping[str, Metric],
    records: Path,
    frame: pd.DataFrame,
    baseline: pd.DataFrame | None = None,
) -> dict[str, Metric]:
    """The metrics of a run that its records give; raises unless they are those that it states.

    Metrics that do not follow from the published records are not compared, nor is the rise of the
    error without the records of the baseline.

    Args:
        source: Where the metrics are stated, for the message.
        stated: Metric id -> value.
        records: The file of the records, for the message.
        frame: The records.
        baseline: The records of the baseline.

    Raises:
        UserError: They contradict each other, or there are no records.

    """
    if frame.empty:
        raise UserError(f"{records}: has no image; {_REMEDY}")
    recomputed = _recomputed(stated, frame, baseline)
    compare_metrics(source, stated, recomputed, records)
    return recomputed


def compare_metrics(
    source: str, stated: Mapping[str, Metric], recomputed: Mapping[str, Metric], giver: Path
) -> None:
    """Raise UserError if one of the recomputed metrics is stated otherwise; others may be lacking.

    Args:
        source: Where the metrics are stated, for the message.
        stated: Metric id -> value.
        recomputed: The same from `giver`.
        giver: The file that they follow from, for the message.

    """
    for name, found in recomputed.items():
        metric = stated.get(name)
        part = None if metric is None else _differing(metric, found)
        if part is not None:
            what = name if part == "value" else f"{name}, {part}"
            several = f"{giver} and those of the baseline give" if name in _LOOSE else giver
            verb = "" if name in _LOOSE else " gives"
            raise UserError(
                f"{source}: {what}={getattr(metric, part):.9g}, but {several}{verb} "
                f"{getattr(found, part):.9g}: they contradict each other; {_REMEDY}"
            )


def _recomputed(
    stated: Mapping[str, Metric], frame: pd.DataFrame, baseline: pd.DataFrame | None
) -> dict[str, Metric]:
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
