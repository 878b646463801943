"""Whether what is known of finished runs agrees with itself.

A run is told three times: its records, image by image; its metrics, in `runs.csv` or in its folder;
its manifest.  Tables compute most numbers from the records, while the report, the joint view and
the curves read the metrics; so whoever shows either compares them first.  That a run has the name
of its configuration is looked at where manifests are read (`bigain.runs.archive`).

Compared is what was written together.  The same run done again, with other threads, batches or on
another device, differs by rounding, which is no contradiction.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from bigain.errors import UserError
from bigain.metrics import Metric, mean_interval
from bigain.metrics.intervals import wilson
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import metrics_of
from bigain.runs.manifests import Manifest
from bigain.runs.summary import MEASURES

__all__ = ["audit", "audit_names", "check_metrics"]

_TOLERANCE = 1e-4
"""Of a value or the width of its interval, whichever is larger."""

_LOOSE = {"eps_error_rise": 1e-2}
"""Metric -> the same where two runs meet, which need not have been made by one machine."""

_DISTANCES = ("fid", "frechet_mini")


def audit(results: Path, profile: str) -> None:
    """Compare `<results>/<profile>/runs.csv` with the published records and manifests of its runs.

    Raises:
        UserError: A metric is not what the records give, a run has the configuration of another,
            or a file is damaged.

    """
    archive = Archive(results, profile)
    for name, manifest in audit_names(results, profile).items():
        frame = archive.published_samples(name)
        if frame is not None:
            other = manifest.get("baseline_id", name)
            baseline = None if other == name else archive.published_samples(other)
            records = archive.published_samples_path(name)
            stated = metrics_of(archive.published_rows(name))
            check_metrics(f"{archive.runs_csv}, run {name}", stated, records, frame, baseline)


def audit_names(results: Path, profile: str) -> dict[str, Manifest]:
    """The manifest of every run in `<results>/<profile>/runs.csv`, {} where there is none.

    Raises:
        UserError: A run has the configuration of another, or a file is damaged.

    """
    archive = Archive(results, profile)
    return {name: archive.manifest(name) or {} for name in archive.run_ids()}


def check_metrics(
    source: str,
    stated: Mapping[str, Metric],
    records: Path,
    frame: pd.DataFrame,
    baseline: pd.DataFrame | None = None,
) -> None:
    """Raise UserError unless the metrics of a run are those that its records give.

    Metrics that do not follow from what is kept of the records are passed over, and so is the rise
    of the error without the records of no acceleration.

    Args:
        source: What messages call the metrics.
        stated: Metric id -> value as stated.
        records: The file of the records, for messages.
        frame: What it holds.
        baseline: The records of the run without acceleration.

    """
    if frame.empty:
        raise UserError(f"{records}: holds no image; {_REMEDY}")
    for name, found in _recomputed(stated, frame, baseline).items():
        told = stated.get(name)
        part = None if told is None else _differing(told, found)
        if part is not None:
            what = name if part == "value" else f"{name}, {part}"
            pair = " and those of no acceleration give" if name in _LOOSE else " gives"
            raise UserError(
                f"{source}: {what}={getattr(told, part):.9g}, but {records}{pair} "
                f"{getattr(found, part):.9g}: they contradict each other; {_REMEDY}"
            )


_REMEDY = "put back the committed file, or `bigain collect` where its run has a folder"


def _recomputed(
    stated: Mapping[str, Metric], frame: pd.DataFrame, baseline: pd.DataFrame | None
) -> Mapping[str, Metric]:
    if "frechet_value" in frame:
        return _of_samples(stated, frame)
    task = "efficiency" if "measure" in frame else "classification"
    return {metric.metric: metric for metric in MEASURES[task](frame, baseline)}


def _of_samples(stated: Mapping[str, Metric], frame: pd.DataFrame) -> dict[str, Metric]:
    """The distance, whose samples hold the values of its jackknife, and the agreement."""
    found = {}
    values = frame["frechet_value"].astype("float64").to_numpy()
    low, high = mean_interval(values)
    for name in _DISTANCES:
        if name in stated:
            mean = float(values.mean())
            found[name] = Metric(name, mean, len(values), max(low, 0.0), high, "feature^2")
    if "correct" in frame:
        right, n = int(frame["correct"].sum()), len(frame)
        low, high = (100 * end for end in wilson(right, n))
        found["class_agreement"] = Metric(
            "class_agreement", 100 * right / n, n, low, high, "percent"
        )
    return found


def _differing(told: Metric, found: Metric) -> str | None:
    """The first part in which the two are not the same number; None if there is none."""
    if told.n != found.n:
        return "n"
    width = found.ci_high - found.ci_low
    scale = max(abs(found.value), 0.0 if math.isnan(width) else width)
    slack = _LOOSE.get(found.metric, _TOLERANCE) * scale
    for part in ("value", "ci_low", "ci_high"):
        one, other = getattr(told, part), getattr(found, part)
        is_nan = math.isnan(one), math.isnan(other)
        if any(is_nan) and not all(is_nan):
            return part
        if abs(one - other) > slack:
            return part
    return None
