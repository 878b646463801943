"""Both tasks of a model under one operator, and what the operator saves, in one row.

A row is (backbone, dataset, operator with its settings, sites, seed).  Its metrics come from the
finished runs of the three tasks, in their own folders or published.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigain.metrics import Metric
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import metrics_of, read_own_rows
from bigain.runs.files import MANIFEST
from bigain.runs.identity import dataset_name
from bigain.runs.joint_settings import (
    Defaults,
    changed_settings,
    compared_settings,
    in_words,
    usual_settings,
)
from bigain.runs.manifests import Manifest, check_name
from bigain.runs.races import calibrated, without_stages
from bigain.runs.store import RunStore, run_folders

__all__ = ["JOINT_METRICS", "JointRow", "JointRun", "JointView", "joint_runs"]
__all__ += ["joint_view"]

JOINT_METRICS = (
    *("acc1", "map_image", "eps_error_rise", "fid", "frechet_mini", "precision", "recall"),
    *("class_agreement", "flops_g", "time_ms_per_step", "speedup"),
)
"""The metrics of a row, in this order."""

Config = Mapping[str, Any]

_PLACES = ("extractor_weights",)
_WEIGHTS = ("revision", "repository", "path")


@dataclass(frozen=True)
class JointRun:
    """A finished run.

    Attributes:
        run_id: Its name.
        config: Its configuration.
        images: Number of its images.
        metrics: Metric id -> value, those of `JOINT_METRICS` that it measured.
        changed: The settings of its operator, and its sites, that differ from their defaults; also
            the batch size if results depend on it.  Where the defaults are not known: from what
            all runs of the operator on the backbone have alike.

    """

    run_id: str
    config: dict[str, Any]
    images: int
    metrics: dict[str, Metric]
    changed: dict[str, Any]

    @property
    def task(self) -> str:
        """Name of its task."""
        return str(self.config["task"]["name"])

    @property
    def task_settings(self) -> str:
        """How the task was done."""
        task = without_stages(calibrated(self.config, None))["task"]
        parts = {**task, "dtype": self.config["dtype"]}
        return _text({k: v for k, v in parts.items() if k not in _PLACES})

    @property
    def group(self) -> str:
        """Backbone, dataset and task: runs that are only comparable if the task was done alike."""
        names = (self.config["backbone"]["name"], dataset_name(self.config), self.task)
        return _text(names)

    @property
    def place(self) -> str:
        """What a row has in common beside the operator."""
        weights = [self.config["backbone"].get(key) for key in _WEIGHTS]
        names = [self.config["backbone"]["name"], dataset_name(self.config)]
        return _text([*names, weights, self.config["profile"], self.config["seed"]])

    @property
    def operator(self) -> str:
        """All settings of the operator, and its sites."""
        return _text(compared_settings(self.config))


@dataclass
class JointRow:
    """One operator on one backbone.

    Attributes:
        run: The run that the row began with.
        metrics: Metric id -> value, those of `JOINT_METRICS` that were measured.
        images: Task -> number of images of its run.
        runs: Task -> the run that is shown; those of efficiency are `flops` and `time`.

    """

    run: JointRun
    metrics: dict[str, Metric] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def backbone(self) -> str:
        """Its name."""
        return str(self.run.config["backbone"]["name"])

    @property
    def dataset(self) -> str:
        """The dataset of classification and generation."""
        return dataset_name(self.run.config)

    @property
    def seed(self) -> int:
        """Of the runs."""
        return int(self.run.config["seed"])

    @property
    def operator(self) -> str:
        """Its name, and the settings that differ from the defaults."""
        changed = (f"{key}={in_words(value)}" for key, value in self.run.changed.items())
        return " ".join([self.run.config["operator"]["name"], *changed])

    def has_operator(self, run: JointRun) -> bool:
        """Whether a run has the operator of the row.

        A default may depend on the task; so runs that leave a setting at the default of their task
        belong together.  A row in which such a setting was set by hand also takes the runs of other
        tasks that have this value by default.
        """
        mine = self.run
        if run.config["operator"]["name"] != mine.config["operator"]["name"]:
            return False
        is_default_there = run.changed.items() <= mine.changed.items()
        return run.changed == mine.changed or (run.operator == mine.operator and is_default_there)

    def add(self, run: JointRun) -> None:
        """Show the metrics of this run, unless the row has a run of its task already."""
        if run.task not in self.images:
            self.images[run.task] = run.images
            self.metrics |= run.metrics
            self.runs[run.task] = run.run_id


@dataclass(frozen=True)
class JointView:
    """The rows, the baselines first, and the names of runs that are not shown.

    Attributes:
        rows: What can be compared.
        other_settings: Runs of a task that was done in another way.
        other_images: Runs of other numbers of images, of rows that lack this task for that reason.

    """

    rows: list[JointRow]
    other_settings: list[str]
    other_images: list[str]


def joint_runs(results: Path, defaults: Defaults, backbone: str | None = None) -> list[JointRun]:
    """The finished runs with a folder, then the published ones without.

    Left out are unfinished and damaged folders, rows of runs.csv without a manifest, and the costs
    of backbones that no run classified or generated with.

    Args:
        results: The folder that holds runs/ and the published files.
        defaults: The default settings of backbone and operator, for the runs that are used.
        backbone: Only runs of this backbone; None: of all.

    Raises:
        UserError: A published file is damaged, or a run has the configuration of another.

    """
    found = [
        (_at(manifest["config"], "backbone"), manifest, metrics)
        for manifest, metrics in _finished(results)
    ]
    measured = {name for name, each, _ in found if _at(each["config"], "task") != "efficiency"}
    used = measured if backbone is None else measured & {backbone}
    runs = [(manifest, metrics) for name, manifest, metrics in found if name in used]
    configs = [manifest["config"] for manifest, _ in runs]
    return [
        _run(manifest, metrics, usual_settings(config, configs, defaults))
        for (manifest, metrics), config in zip(runs, configs, strict=True)
    ]


def _finished(results: Path) -> Iterator[tuple[Manifest, Mapping[str, Metric]]]:
    """Manifest and metrics of each finished run."""
    here = set()
    for store in (RunStore(results, folder.name) for folder in run_folders(results)):
        if store.status() == "done":
            manifest = store.manifest()
            check_name(store.folder / MANIFEST, manifest)
            here.add(store.run_id)
            yield manifest, metrics_of(read_own_rows(store.folder))
    profiles = sorted(path.parent.name for path in results.glob("*/runs.csv"))
    for archive in (Archive(results, profile) for profile in profiles):
        for name in (name for name in archive.run_ids() if name not in here):
            published = archive.published_manifest(name)
            if published is not None:
                yield published, metrics_of(archive.published_rows(name))


def _at(config: Config, group: str) -> str:
    return str(config[group]["name"])


def joint_view(runs: Sequence[JointRun]) -> JointView:
    """The rows of finished runs, and what is left out.

    Rows of a backbone and dataset are only comparable if each task was done alike in all of them.
    Of the settings of a task (steps, guidance, trial list, precision, ...) those are shown under
    which most operators also have the other task, and of equals those with the largest product of
    runs and images.  Of these runs those of one number of images are shown, the one with the
    largest product of operators and images.  FLOPs and times do not depend on a dataset
    and stand in every row of their operator.
    """
    measured = sorted((run for run in runs if run.task != "efficiency"), key=lambda r: r.run_id)
    settings = _weightiest(measured, lambda run: run.run_id, lambda run: run.task_settings)
    alike = [run for run in measured if run.task_settings == settings[run.group]]
    images = _weightiest(alike, _row_key, lambda run: run.images)
    chosen = [run for run in alike if run.images == images[run.group]]
    rows = {_row_key(run): JointRow(run) for run in reversed(chosen)}
    for run in chosen:
        rows[_row_key(run)].add(run)
    for run, row in ((run, row) for run in chosen for row in rows.values()):
        if row.run.place == run.place and row.has_operator(run):
            row.add(run)
    for run, row in ((run, row) for run in runs for row in rows.values()):
        is_cost = run.task == "efficiency" and row.backbone == run.config["backbone"]["name"]
        if is_cost and row.has_operator(run):
            row.metrics |= run.metrics
            row.runs["time" if "time_ms_per_step" in run.metrics else "flops"] = run.run_id
    shown = {(name, task) for name, row in rows.items() for task in row.images}
    return JointView(
        sorted(rows.values(), key=_order),
        [run.run_id for run in measured if run.task_settings != settings[run.group]],
        [r.run_id for r in alike if r not in chosen and (_row_key(r), r.task) not in shown],
    )


def _run(manifest: Manifest, metrics: Mapping[str, Metric], usual: Mapping[str, Any]) -> JointRun:
    config = manifest["config"]
    known = {name: metric for name, metric in metrics.items() if name in JOINT_METRICS}
    changed = changed_settings(config, usual)
    return JointRun(manifest["run_id"], config, manifest["n_images"], known, changed)


def _weightiest(
    runs: Sequence[JointRun], owner: Callable[[JointRun], str], choice: Callable[[JointRun], Any]
) -> dict[str, Any]:
    """`JointRun.group` -> the choice with most rows of several tasks, then the weightiest.

    The weight of a choice is the product of owners and images of all its runs.

    So a first look of two images at many operators does not displace a smaller number of real runs,
    nor does a single large run displace many that can be compared.
    """
    found: dict[str, defaultdict[Any, set[str]]] = {}
    images: Counter[tuple[str, Any]] = Counter()
    rows: defaultdict[tuple[str, Any], set[str]] = defaultdict(set)
    tasks = Counter(row for row, _ in {(_row_key(run), run.task) for run in runs})
    for run in runs:
        rows[run.group, choice(run)] |= {row for row in [_row_key(run)] if tasks[row] > 1}
        found.setdefault(run.group, defaultdict(set))[choice(run)].add(owner(run))
        images[run.group, choice(run)] += run.images
    return {
        group: max(
            owners, key=lambda c: (len(rows[group, c]), len(owners[c]) * images[group, c], c)
        )
        for group, owners in found.items()
    }


def _row_key(run: JointRun) -> str:
    return _text([run.place, run.config["operator"]["name"], run.changed])


def _order(row: JointRow) -> tuple[Any, ...]:
    is_baseline = row.run.config["operator"]["name"] == "none"
    return row.backbone, row.dataset, row.seed, not is_baseline, row.operator


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
