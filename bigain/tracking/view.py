"""What a dashboard shows of a run, as plain data: the same for every tracker, live or afterwards.

A view is made from the run store alone.  Nothing of it names a user, a machine or a folder.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bigain.config.operator import operator_title
from bigain.metrics import Metric, wilson
from bigain.runs.flops import known_flops
from bigain.runs.manifests import public_config

__all__ = ["HISTORY", "Progress", "View", "history", "summary", "with_flops"]

_ACCURACY = ("running_acc1", "running_acc1_low", "running_acc1_high")
_GENERATED = "generated"

HISTORY = (*_ACCURACY, _GENERATED, "images_per_s", "peak_memory_gib")
"""The keys of a history.  Their last value counts, not their best."""


@dataclass(frozen=True)
class View:
    """The fixed part of what a dashboard shows of a run.

    Attributes:
        run_id: The id of the run, here and in the dashboard.
        name: The run in a few words.
        job_type: The task.
        tags: Backbone, dataset, operator, and those of the user.
        group: The sweep or table that the run belongs to; None if it is alone.
        config: The resolved configuration without folders.

    """

    run_id: str
    name: str
    job_type: str
    tags: tuple[str, ...]
    group: str | None
    config: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        run_id: str,
        config: Mapping[str, Any],
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> "View":
        """The view of the run with this resolved configuration, published or not."""
        names = [str(config[key]["name"]) for key in ("backbone", "dataset", "operator")]
        title = f"{names[0]} {operator_title(config['operator'])}"
        words = tuple(dict.fromkeys([*names, *tags]))
        return cls(run_id, title, config["task"]["name"], words, group, public_config(config))


def summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, float | int]:
    """Rows of metrics.csv as `acc1`, `acc1_low`, `acc1_high`, `acc1_n`, without empty cells."""
    names = {"value": "", "ci_low": "_low", "ci_high": "_high", "n": "_n"}
    return {
        f"{row['metric']}{ending}": row[key]
        for row in rows
        for key, ending in names.items()
        if row[key] is not None and not math.isnan(row[key])
    }


def with_flops(
    rows: Iterable[Mapping[str, Any]], config: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Rows of metrics.csv, and `flops_g` of one evaluation if it was ever counted.

    Args:
        rows: The rows of a run.
        config: Its configuration, published or not.

    """
    found = list(rows)
    if any(row["metric"] == "flops_g" for row in found):
        return found
    cache = config.get("paths", {}).get("cache")
    flops = known_flops(config, None if cache is None else Path(cache))
    return (
        found if flops is None else [*found, asdict(Metric.exact("flops_g", flops / 1e9, "GFLOPs"))]
    )


class Progress:
    """The points of a run's history: what is known after each record.

    Args:
        task: The task.  Classification has a running accuracy and generation a count.  Records of
            other tasks are measurements, of which there is no history.
        before: The records before the first one that is added.

    """

    def __init__(self, task: str, before: Iterable[Mapping[str, Any]] = ()) -> None:
        self.done = 0
        self._task = task
        self._correct = 0
        self._computed, self._seconds = 0, 0.0
        for each in before:
            self._count(each)

    def add(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The point after `record`: `done` counts the records of the whole run."""
        self._count(record)
        self._computed += 1
        self._seconds += record.get("seconds") or 0.0
        if self._task == "classification":
            shares = (self._correct / self.done, *wilson(self._correct, self.done))
            return {key: 100 * share for key, share in zip(_ACCURACY, shares, strict=True)}
        return {_GENERATED: float(self.done)} if self._task == "generation" else {}

    def rate(self) -> dict[str, float]:
        """`images_per_s`: records that were added per second of computing them, if known.

        What trackers, disks and the loading of weights take is not in it.
        """
        return {"images_per_s": self._computed / self._seconds} if self._seconds else {}

    def _count(self, record: Mapping[str, Any]) -> None:
        self.done += 1
        self._correct += bool(record.get("correct"))


def history(
    records: Sequence[Mapping[str, Any]], task: str, points: int = 200
) -> list[tuple[int, dict[str, float]]]:
    """(records done, point) of a finished run, in the order of `records`; at most `points`.

    The last point is that of all records.
    """
    progress, every = Progress(task), max(1, math.ceil(len(records) / points))
    found = [(at, progress.add(record)) for at, record in enumerate(records, start=1)]
    shown = (each for each in found if each[0] % every == 0 or each[0] == len(records))
    return [(at, point) for at, point in shown if point]
