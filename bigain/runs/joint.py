"""What the paper is about: both uses of one model under one operator, and what it saves, in a row.

A row is (backbone, dataset, operator with its settings, sites, seed); its cells come from the
finished runs of the three tasks.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigain.metrics import Metric
from bigain.runs.joint_runs import JointRun

__all__ = ["JointRow", "JointView", "Shared", "joint_view"]

Shared = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Configuration of a run -> its operator, alike for all runs that are to share a row."""

_USUAL = {"scope": "self"}
"""Settings that are not told when they are these."""
_FIRST = ("ratio", "factor", "alpha")


@dataclass
class JointRow:
    """One operator on one backbone.

    Attributes:
        backbone: Its name.
        dataset: The dataset of classification and generation.
        operator: Name and settings in words.
        seed: Of the runs.
        config: The configuration of one of them.
        model: What its FLOPs and times depend on.
        metrics: Metric id -> value, those of `JOINT_METRICS` that were measured.
        images: Task -> number of images of its run.

    """

    backbone: str
    dataset: str
    operator: str
    seed: int
    config: dict[str, Any]
    model: str
    metrics: dict[str, Metric] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)

    def add(self, run: JointRun) -> None:
        """Show this run of a task; all metrics of a task are of one run."""
        if run.task not in self.images:
            self.images[run.task] = run.images
            self.metrics |= run.metrics


@dataclass(frozen=True)
class JointView:
    """The rows, no acceleration first, and the names of runs that they do not show.

    Attributes:
        rows: What can be compared.
        other_settings: Runs of a task that was done in another way.
        other_images: Runs of other numbers of images, of rows that lack this task for that.

    """

    rows: list[JointRow]
    other_settings: list[str]
    other_images: list[str]


def joint_view(runs: Sequence[JointRun], shared: Shared) -> JointView:
    """The rows of finished runs, and what is left out.

    Rows of a backbone and dataset are only comparable if each task was done alike in all of them.
    So of the settings of a task (steps, guidance, trial list, precision, ...) those with the most
    behind them are shown, runs times images, and of these runs those of one number of images, that
    with the most behind it, operators times images.  Times and
    FLOPs, which do not depend on a dataset, stand in every row of their operator.
    """
    measured = sorted((r for r in runs if r.task != "efficiency"), key=lambda r: r.run_id)
    settings = _weightiest(measured, lambda run: run.run_id, lambda run: run.settings)
    alike = [run for run in measured if run.settings == settings[run.comparable]]
    images = _weightiest(alike, lambda run: _key(run.config, shared(run.config)), _images)
    chosen = [run for run in alike if run.images == images[run.comparable]]
    rows = _rows(chosen, shared)
    for run in runs:
        if run.task == "efficiency":
            _add_cost(rows.values(), run, shared)
    _tell_sites(rows.values())
    return JointView(
        sorted(rows.values(), key=_order),
        [run.run_id for run in measured if run.settings != settings[run.comparable]],
        [r.run_id for r in alike if r not in chosen and not _is_shown(r, rows, shared)],
    )


def _weightiest(
    runs: Sequence[JointRun], owner: Callable[[JointRun], str], choice: Callable[[JointRun], Any]
) -> dict[str, Any]:
    """`JointRun.comparable` -> the choice of the most owners times the images of all of them.

    A first look of two images at many operators does not displace a smaller number of real runs,
    nor a single large run the many that can be compared.
    """
    found: dict[str, defaultdict[Any, set[str]]] = {}
    images: Counter[tuple[str, Any]] = Counter()
    for run in runs:
        found.setdefault(run.comparable, defaultdict(set))[choice(run)].add(owner(run))
        images[run.comparable, choice(run)] += run.images
    return {
        which: max(owners, key=lambda c: (len(owners[c]) * images[which, c], c))
        for which, owners in found.items()
    }


def _images(run: JointRun) -> int:
    return run.images


def _rows(runs: Sequence[JointRun], shared: Shared) -> dict[str, JointRow]:
    """Key -> row.  A default of one task may be set by hand in another; then it is in both rows."""
    rows: dict[str, JointRow] = {}
    for run in runs:
        operator = shared(run.config)
        rows.setdefault(_key(run.config, operator), _row(run.config, operator))
    for run in runs:
        for key in {_key(run.config, operator) for operator in _operators(run, shared)} & set(rows):
            rows[key].add(run)
    return rows


def _operators(run: JointRun, shared: Shared) -> tuple[Mapping[str, Any], ...]:
    return shared(run.config), run.config["operator"]


def _add_cost(rows: Iterable[JointRow], run: JointRun, shared: Shared) -> None:
    of_backbone = [row for row in rows if row.backbone == run.config["backbone"]["name"]]
    for row in of_backbone:
        if row.model in {_model(run.config, operator) for operator in _operators(run, shared)}:
            row.metrics |= run.metrics


def _is_shown(run: JointRun, rows: Mapping[str, JointRow], shared: Shared) -> bool:
    row = rows.get(_key(run.config, shared(run.config)))
    return row is not None and run.task in row.images


def _row(config: dict[str, Any], operator: Mapping[str, Any]) -> JointRow:
    return JointRow(
        config["backbone"]["name"],
        config["dataset"]["name"],
        _words(operator),
        config["seed"],
        config,
        _model(config, operator),
    )


def _words(operator: Mapping[str, Any]) -> str:
    first = [key for key in _FIRST if key in operator]
    told = {key for key, value in operator.items() if _USUAL.get(key) != value}
    rest = sorted(told - {"name", *first})
    words = (f"{key}={_plain(operator[key])}" for key in (*first, *rest))
    return " ".join([operator["name"], *words])


def _tell_sites(rows: Iterable[JointRow]) -> None:
    """Add the sites to the words of rows that differ in them alone."""
    same: defaultdict[tuple[Any, ...], list[JointRow]] = defaultdict(list)
    for row in rows:
        same[row.backbone, row.dataset, row.operator, row.seed].append(row)
    for alike in same.values():
        sites = [_plain(row.config["backbone"].get("sites")) for row in alike]
        for row, told in zip(alike, sites, strict=True) if len(set(sites)) > 1 else ():
            row.operator += f" sites={told}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _model(config: Mapping[str, Any], operator: Mapping[str, Any]) -> str:
    """Backbone, sites and operator: what FLOPs and time depend on."""
    sites = None if operator["name"] == "none" else config["backbone"]["sites"]
    return json.dumps([config["backbone"]["name"], sites, operator], sort_keys=True)


def _key(config: Mapping[str, Any], operator: Mapping[str, Any]) -> str:
    weights = [config["backbone"].get(key) for key in ("revision", "repository", "path")]
    rest = [config["profile"], config["dataset"]["name"], config["seed"]]
    return json.dumps([_model(config, operator), weights, *rest], sort_keys=True)


def _order(row: JointRow) -> tuple[Any, ...]:
    is_operator = row.config["operator"]["name"] != "none"
    return row.backbone, row.dataset, row.seed, is_operator, row.operator
