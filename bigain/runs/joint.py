"""What the paper is about: both uses of one model under one operator, and what it saves, in a row.

A row is (backbone, dataset, operator with its settings, sites, seed); its cells come from the
finished runs of the three tasks.  Of several runs of a task, such as of different numbers of
images, the one with the most images counts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigain.metrics import Metric
from bigain.runs.frames import read_metrics
from bigain.runs.store import RunStore, run_folders

__all__ = ["JOINT_METRICS", "JointRow", "joint_rows"]

JOINT_METRICS = (
    *("acc1", "map_image", "eps_error_rise", "fid", "frechet_mini", "precision", "recall"),
    *("class_agreement", "flops_g", "time_ms_per_step"),
)
"""The metrics of a row, in this order."""

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
        metrics: Metric id -> value, of `JOINT_METRICS` those that were measured.

    """

    backbone: str
    dataset: str
    operator: str
    seed: int
    config: dict[str, Any]
    metrics: dict[str, Metric] = field(default_factory=dict)


def joint_rows(results: Path) -> list[JointRow]:
    """The rows of all finished runs under `results`, no acceleration first.

    Times and FLOPs, which do not depend on a dataset, stand in every row of their operator.
    """
    rows: dict[str, JointRow] = {}
    measured = [found for folder in run_folders(results) if (found := _read(results, folder.name))]
    for config, metrics in measured:
        if config["task"]["name"] != "efficiency":
            _take(rows.setdefault(_key(config), _row(config)), metrics)
    for config, metrics in measured:
        if config["task"]["name"] == "efficiency":
            for row in rows.values():
                if _model(row.config) == _model(config):
                    _take(row, metrics)
    return sorted(rows.values(), key=_order)


def _read(results: Path, name: str) -> tuple[dict[str, Any], dict[str, Metric]] | None:
    store = RunStore(results, name)
    if store.status() != "done":
        return None
    frame = read_metrics(store.folder)
    columns = ("metric", "value", "n", "ci_low", "ci_high", "unit")
    metrics = [Metric(*row) for row in frame[[*columns]].itertuples(index=False, name=None)]
    return store.manifest()["config"], {metric.metric: metric for metric in metrics}


def _take(row: JointRow, metrics: Mapping[str, Metric]) -> None:
    for name in JOINT_METRICS:
        if name in metrics and metrics[name].n > (
            row.metrics[name].n if name in row.metrics else 0
        ):
            row.metrics[name] = metrics[name]


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
