"""Finished runs: in their own folders, or published as small committed files.

    <results>/runs/<run_id>/                       the run's own folder, ignored by git
    <results>/<profile>/runs.csv                   metrics of all published runs
    <results>/<profile>/samples/<run_id>.csv.gz    records, one row per image
    <results>/<profile>/errors/<run_id>.npz        errors of the first stage, of classifications
    <results>/<profile>/features/<run_id>.npz      features of generated images
    <results>/<profile>/references/<name>.npz      features of the real images
    <results>/<profile>/manifests/<run_id>.json    configuration and origin, without paths
    <results>/<profile>/calibrations/<hash>.json   what races were calibrated with

A fresh clone has only the published files and renders the same tables from them.  Records and
metrics are read from the run's folder if there is one.  Unchanged files are not written again.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from bigain.errors import UserError
from bigain.files import replace_file, replace_text
from bigain.metrics import Metric
from bigain.runs.archive_csv import (
    ADDED_COLUMNS,
    MetricRow,
    metrics_of,
    place_in_file,
    read_own_rows,
    read_runs_csv,
    with_added_columns,
)
from bigain.runs.arrays import publish_arrays
from bigain.runs.errors import ERRORS, FirstStage, read_errors
from bigain.runs.features import publish_features
from bigain.runs.files import MANIFEST, METRIC_COLUMNS, SAMPLES, csv_text, unreadable
from bigain.runs.manifests import Manifest, check_name, portable, read_published
from bigain.runs.provenance import changed
from bigain.runs.published_calibrations import publish_calibration
from bigain.runs.samples import parse_samples, samples_to_publish
from bigain.runs.store import RunStore

__all__ = ["Archive"]


class Archive:
    """The finished runs of one profile under `results`."""

    def __init__(self, results: Path, profile: str) -> None:
        self.results = results
        self.profile = profile
        self.runs_csv = results / profile / "runs.csv"

    def published_samples_path(self, run_id: str) -> Path:
        """The committed records of a run."""
        return self.runs_csv.parent / "samples" / f"{run_id}.csv.gz"

    def published_errors_path(self, run_id: str) -> Path:
        """The committed errors of the first stage; runs from before they were kept have none."""
        return self.runs_csv.parent / "errors" / f"{run_id}.npz"

    def published_manifest_path(self, run_id: str) -> Path:
        """The committed manifest of a run."""
        return self.runs_csv.parent / "manifests" / f"{run_id}.json"

    def samples_path(self, run_id: str) -> Path:
        """The file that `samples` reads."""
        store = self._own(run_id)
        return store.folder / SAMPLES if store else self.published_samples_path(run_id)

    def errors_path(self, run_id: str) -> Path:
        """The file that `errors` reads: that in the run's folder if there is one."""
        store = self._own(run_id)
        has_own = store is not None and (store.folder / ERRORS).is_file()
        return store.folder / ERRORS if store and has_own else self.published_errors_path(run_id)

    def manifest_path(self, run_id: str) -> Path:
        """The file that `manifest` reads: the published one if there is one."""
        path = self.published_manifest_path(run_id)
        return path if path.is_file() else RunStore(self.results, run_id).folder / MANIFEST

    def run_ids(self) -> list[str]:
        """The runs in runs.csv, in the order of the file.

        Raises:
            UserError: runs.csv is damaged.

        """
        return list(read_runs_csv(self.runs_csv))

    def is_available(self, run_id: str) -> bool:
        """Whether records and metrics of a finished run are here.

        Raises:
            UserError: The folder holds another run, or runs.csv is damaged.

        """
        if self._own(run_id):
            return True
        is_published = self.published_samples_path(run_id).is_file()
        return is_published and run_id in read_runs_csv(self.runs_csv)

    def rows(self, run_id: str) -> tuple[MetricRow, ...]:
        """The metrics of a run with its describing columns; () if it is not available.

        Raises:
            UserError: The file is damaged, or states a metric of the run twice.

        """
        store = self._own(run_id)
        return read_own_rows(store.folder) if store else self.published_rows(run_id)

    def published_rows(self, run_id: str) -> tuple[MetricRow, ...]:
        """The metrics of a run in runs.csv; () if it has none there."""
        return read_runs_csv(self.runs_csv).get(run_id, ())

    def metrics(self, run_id: str) -> dict[str, Metric]:
        """Metric id -> value as the run computed it at its end; {} if it is not available.

        Raises:
            UserError: The file is damaged, or states a metric of the run twice.

        """
        return metrics_of(self.rows(run_id))

    def samples(self, run_id: str) -> pd.DataFrame | None:
        """The published columns of all records, by position; None if the run is not available.

        Raises:
            UserError: The file is damaged or a column is missing.

        """
        text = self._own_samples(run_id)
        if text is None:
            return self.published_samples(run_id)
        return parse_samples(text, self.samples_path(run_id))

    def published_samples(self, run_id: str) -> pd.DataFrame | None:
        """The records of a run in the committed file; None if there is none."""
        path = self.published_samples_path(run_id)
        text = _unpacked(path)
        return None if text is None else parse_samples(text, path)

    def errors(self, run_id: str) -> FirstStage | None:
        """The errors of all classes in the first stage; None if the run has none.

        Races have none, nor have runs that were made before such errors were kept.

        Raises:
            UserError: The file is damaged.

        """
        path = self.errors_path(run_id)
        return read_errors(path) if path.is_file() else None

    def manifest(self, run_id: str) -> Manifest | None:
        """The published manifest of a run, or the one in its folder; None if it has neither.

        Raises:
            UserError: The file is damaged, or has the configuration of another run.

        """
        published = self.published_manifest(run_id)
        if published is not None:
            return published
        store = RunStore(self.results, run_id)
        manifest = store.manifest()
        if manifest:
            check_name(store.folder / MANIFEST, manifest)
        return manifest or None

    def published_manifest(self, run_id: str) -> Manifest | None:
        """The committed manifest of a run; None if there is none."""
        path = self.published_manifest_path(run_id)
        return read_published(path, run_id) if path.is_file() else None

    def hashes(self, run_id: str) -> Mapping[str, str]:
        """What the run that `samples` reads was made from; {} if nobody knows.

        Raises:
            UserError: The manifest is damaged, or has the configuration of another run.

        """
        store = self._own(run_id)
        manifest = store.manifest() if store else self.published_manifest(run_id)
        return (manifest or {}).get("hashes") or {}

    def check_comparable(self, own: str, baseline: str) -> None:
        """Raise UserError if a run and its baseline were made from other weights or images."""
        differ = changed(self.hashes(baseline), self.hashes(own))
        if differ:
            raise UserError(
                f"run {own}: was made with another {differ[0]} than its baseline, run {baseline}; "
                "allowed: do the older one again with force=true"
            )

    def check_names(self) -> None:
        """Raise UserError if the manifest of a run in runs.csv has the configuration of another."""
        for run_id in self.run_ids():
            self.manifest(run_id)

    def publish(self, run_ids: Iterable[str]) -> None:
        """Publish those of the runs that have a finished folder here.

        The rows of other runs in runs.csv stay, since their folders may be elsewhere.

        Raises:
            UserError: A file of such a run or runs.csv is damaged, a folder holds another run, or
                the calibration of a race is gone; then runs.csv stays as it is.

        """
        names = [name for name in run_ids if self._own(name)]
        for name in names:
            config = RunStore(self.results, name).manifest()["config"]
            publish_calibration(self.results, self.profile, name, config)
        self.publish_metrics(names)
        for name in names:
            self._publish_samples(name)
            self._publish_errors(name)
            publish_features(RunStore(self.results, name).folder, self.runs_csv.parent)
            self._publish_manifest(name)

    def publish_metrics(self, run_ids: Iterable[str]) -> None:
        """Put the metrics of finished runs into runs.csv, without records and manifests."""
        rows = {name: read_own_rows(RunStore(self.results, name).folder) for name in run_ids}
        merged = {**read_runs_csv(self.runs_csv), **rows}
        if merged:
            merged = {name: self._filled(name, of_run) for name, of_run in merged.items()}
            ordered = sorted(merged.values(), key=place_in_file)
            text = csv_text(METRIC_COLUMNS, (row.plain for of_run in ordered for row in of_run))
            _replace_if_other(self.runs_csv, text)

    def _filled(self, run_id: str, rows: tuple[MetricRow, ...]) -> tuple[MetricRow, ...]:
        """With the columns that were added later, as the published manifest has them."""
        manifest = None if rows[0].cells[ADDED_COLUMNS[-1]] else self.published_manifest(run_id)
        return rows if manifest is None else with_added_columns(rows, manifest["config"])

    def _own(self, run_id: str) -> RunStore | None:
        store = RunStore(self.results, run_id)
        return store if store.is_finished() else None

    def _own_samples(self, run_id: str) -> str | None:
        """The part of samples.csv in the run's folder that is published; None without a folder."""
        store = self._own(run_id)
        if store is None:
            return None
        path = store.folder / SAMPLES
        try:
            return samples_to_publish(path.read_bytes().decode("utf-8"), path)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise unreadable(path, error) from error

    def _publish_manifest(self, run_id: str) -> None:
        kept = portable(RunStore(self.results, run_id).manifest())
        text = json.dumps(kept, indent=2, sort_keys=True) + "\n"
        _replace_if_other(self.published_manifest_path(run_id), text)

    def _publish_errors(self, run_id: str) -> None:
        own = RunStore(self.results, run_id).folder / ERRORS
        if own.is_file():
            publish_arrays(own, self.published_errors_path(run_id))

    def _publish_samples(self, run_id: str) -> None:
        path, text = self.published_samples_path(run_id), self._own_samples(run_id)
        if text is not None and _unpacked(path) != text:
            packed = gzip.compress(text.encode("utf-8"), mtime=0)
            replace_file(path, lambda temporary: temporary.write_bytes(packed))


def _replace_if_other(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        replace_text(path, text)


def _unpacked(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        remedy = "restore the file, or start the run again with force=true"
        raise UserError(f"{path}: damaged: {error}; {remedy}") from error
