"""What the paper is about: both uses of one model under one operator, and what it saves, in a row.

A row is (backbone, dataset, operator with its settings, sites, seed); its cells come from the
finished runs of the three tasks.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigain.metrics import Metric
from bigain.runs.joint_runs import JointRun

__all__ = ["JointRow", "joint_rows"]

_NOT_SHOWN = ("name", "scope")


@dataclass
class JointRow:
    """One operator on one backbone.

    Attributes:
        backbone: Its name.
        dataset: The dataset of classification and generation.
        operator: Name and settings in words.
        seed: Of the runs.
        config: The configuration of one of them.
        metrics: Metric id -> value, those of `JOINT_METRICS` that were measured.
        by_task: Task -> the metrics that came from its run.

    """

    backbone: str
    dataset: str
    operator: str
    seed: int
    config: dict[str, Any]
    metrics: dict[str, Metric] = field(default_factory=dict)
    by_task: dict[str, tuple[str, ...]] = field(default_factory=dict)


def joint_rows(runs: Sequence[JointRun]) -> tuple[list[JointRow], list[str]]:
    """The rows of finished runs, no acceleration first; and what is left out.

    Rows of a backbone and dataset are only comparable if each task was done alike in all of them.
    So of the settings of a task (steps, guidance, trial list, precision, ...) the most used ones
    are shown, and runs of others are named in the second list.  Of the runs of a row and task the
    one of the most images counts, with all its metrics.  Times and FLOPs, which do not depend on a
    dataset, stand in every row of their operator.
    """
    measured = [run for run in runs if run.task != "efficiency"]
    shown = _most_used(measured)
    rows: dict[str, JointRow] = {}
    for run in sorted(measured, key=lambda run: (run.images, run.run_id)):
        if run.settings == shown[run.comparable]:
            row = rows.setdefault(_key(run.config), _row(run.config))
            kept = {k: v for k, v in row.metrics.items() if k not in row.by_task.get(run.task, ())}
            row.metrics = {**kept, **run.metrics}
            row.by_task[run.task] = tuple(run.metrics)
    for run in runs:
        for row in rows.values() if run.task == "efficiency" else ():
            if _model(row.config) == _model(run.config):
                row.metrics |= run.metrics
    left_out = [run.run_id for run in measured if run.settings != shown[run.comparable]]
    return sorted(rows.values(), key=_order), left_out


def _most_used(runs: Sequence[JointRun]) -> dict[str, str]:
    """`JointRun.comparable` -> the settings that most runs have, of equals those of more images."""
    found: dict[str, Counter[str]] = {}
    for run in runs:
        found.setdefault(run.comparable, Counter())[run.settings] += 1
    images = {(run.comparable, run.settings): 0 for run in runs}
    for run in runs:
        images[run.comparable, run.settings] += run.images
    return {
        which: max(counts, key=lambda s: (counts[s], images[which, s], s))
        for which, counts in found.items()
    }


def _row(config: dict[str, Any]) -> JointRow:
    return JointRow(
        config["backbone"]["name"],
        config["dataset"]["name"],
        _words(config["operator"]),
        config["seed"],
        config,
    )


def _words(operator: Mapping[str, Any]) -> str:
    told = [f"{k}={_plain(v)}" for k, v in operator.items() if k not in _NOT_SHOWN]
    return " ".join([operator["name"], *told])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _model(config: Mapping[str, Any]) -> str:
    """Backbone, sites and operator: what FLOPs and time depend on."""
    sites = None if config["operator"]["name"] == "none" else config["backbone"]["sites"]
    parts = [config["backbone"]["name"], sites, config["operator"]]
    return json.dumps(parts, sort_keys=True)


def _key(config: Mapping[str, Any]) -> str:
    weights = [config["backbone"].get(key) for key in ("revision", "repository", "path")]
    parts = [_model(config), weights, config["profile"], config["dataset"]["name"], config["seed"]]
    return json.dumps(parts, sort_keys=True)


def _order(row: JointRow) -> tuple[Any, ...]:
    is_operator = row.config["operator"]["name"] != "none"
    return row.backbone, row.dataset, row.seed, is_operator, row.operator
