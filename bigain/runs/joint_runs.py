"""The runs that the joint view shows: finished ones in their folders, and published ones.

A published run (`<results>/<profile>/runs.csv`, see `bigain.runs.archive`) has its metrics and the
columns that describe it; most have a manifest beside them, with the configuration.  Where there is
none, a run's name is a hash of its configuration; so whoever knows how to make configurations of
the columns knows the right one by its name.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain.metrics import Metric
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import MetricRow
from bigain.runs.files import MANIFEST
from bigain.runs.frames import read_metrics
from bigain.runs.manifests import check_name
from bigain.runs.store import RunStore, run_folders

__all__ = ["JOINT_METRICS", "JointRun", "Recognise", "finished_runs", "published_runs"]

JOINT_METRICS = (
    *("acc1", "map_image", "eps_error_rise", "fid", "frechet_mini", "precision", "recall"),
    *("class_agreement", "flops_g", "time_ms_per_step", "speedup"),
)
"""The metrics of a row, in this order."""

Recognise = Callable[[Mapping[str, Any], Sequence[int]], dict[str, Any] | None]
"""Describing columns of a run and the numbers of images that its metrics name -> its configuration;
None if it is not found."""

_PLACES = ("extractor_weights",)
_MEASURED = ("metric", "value", "n", "ci_low", "ci_high", "unit")


@dataclass(frozen=True)
class JointRun:
    """A finished run.

    Attributes:
        run_id: Its name.
        config: Its configuration.
        images: Number of its images.
        metrics: Metric id -> value, those of `JOINT_METRICS` that it measured.

    """

    run_id: str
    config: dict[str, Any]
    images: int
    metrics: dict[str, Metric]

    @property
    def task(self) -> str:
        """Name of its task."""
        return str(self.config["task"]["name"])

    @property
    def settings(self) -> str:
        """How the task was done."""
        parts = {**self.config["task"], "dtype": self.config["dtype"]}
        return json.dumps({k: v for k, v in parts.items() if k not in _PLACES}, sort_keys=True)

    @property
    def comparable(self) -> str:
        """What it shares with the runs that are to be done alike."""
        config = self.config
        return json.dumps([config["backbone"]["name"], config["dataset"]["name"], self.task])


def finished_runs(results: Path) -> list[JointRun]:
    """The runs with a folder under `results`; unfinished and damaged ones are passed over.

    Raises:
        UserError: A folder holds the configuration of another run.

    """
    stores = (RunStore(results, folder.name) for folder in run_folders(results))
    return [_finished(store) for store in stores if store.status() == "done"]


def published_runs(results: Path, recognise: Recognise) -> tuple[list[JointRun], list[str]]:
    """The published runs that have no finished folder here, and names of those not recognised.

    Raises:
        UserError: A published file is damaged, or two runs claim one cell.

    """
    runs, unknown = [], []
    paths = sorted(results.glob("*/runs.csv"))
    archives = [Archive(results, path.parent.name) for path in paths]
    for archive, name in ((each, name) for each in archives for name in each.run_ids()):
        if RunStore(results, name).status() == "done":
            continue
        rows = archive.published_rows(name)
        described = _manifest(archive, name) or _guess(rows, recognise)
        if described is None:
            unknown.append(name)
        else:
            runs.append(JointRun(name, *described, _known(row.metric for row in rows)))
    return runs, unknown


def _manifest(archive: Archive, name: str) -> tuple[dict[str, Any], int] | None:
    """Configuration and number of images in the published manifest of a run."""
    is_there = archive.published_manifest_path(name).is_file()
    found = archive.manifest(name) if is_there else None
    return None if found is None else (found["config"], found["n_images"])


def _guess(rows: Sequence[MetricRow], recognise: Recognise) -> tuple[dict[str, Any], int] | None:
    sizes = sorted({row.metric.n for row in rows}, reverse=True)
    config = recognise({key: cell or None for key, cell in rows[0].columns.items()}, sizes)
    return None if config is None else (config, config["dataset"]["limit"] or sizes[0])


def _finished(store: RunStore) -> JointRun:
    frame, manifest = read_metrics(store.folder), store.manifest()
    check_name(store.folder / MANIFEST, manifest)
    metrics = (Metric(*row) for row in frame[[*_MEASURED]].itertuples(index=False, name=None))
    return JointRun(store.run_id, manifest["config"], manifest["n_images"], _known(metrics))


def _known(metrics: Iterable[Metric]) -> dict[str, Metric]:
    return {metric.metric: metric for metric in metrics if metric.metric in JOINT_METRICS}
