"""Which operators are worth choosing: quality against cost, of runs that were made alike.

A group is one backbone and dataset with one seed, one way of classifying and one of generating (all
settings of the task, and the number of images): only its points are compared.  A point is an
operator with its settings (`bigain.runs.joint`).

Of points (x, y), each coordinate with a direction that is better, p dominates q if it is at least
as good in both and better in one.  The front are the points that none dominates, by their values
alone: an interval may still reach over the front.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations, product
from typing import Any

from bigain.metrics import HIGHER_IS_BETTER, Metric
from bigain.runs.joint import JointRow, JointRun, joint_view

__all__ = ["COSTS", "QUALITIES", "Group", "Point", "front", "fronts", "groups"]

QUALITIES = (
    *("best_margin", "acc1", "pairwise_auc", "acc1_first", "map_image", "eps_error_rise"),
    *("frechet_mini", "fid", "precision", "recall", "class_agreement"),
)
"""What a user wants, the primary endpoint first."""

COSTS = ("flops_g", "time_ms_per_step", "speedup")
"""What it takes."""

_RECREATED = ("dip_go", "mosaic_diff")
"""Operators after a method whose classifier is not published (docs/pruning.md); labels say so."""

_PROTOCOL = ("trial_list", "keep_list", "allocation", "steps", "sampler", "guidance_scale")
"""Settings of a task that name a group before all others."""


@dataclass(frozen=True)
class Point:
    """One operator of a group.

    Attributes:
        operator: Its name.
        label: With the settings that differ from the defaults; a re-creation is `after` its method.
        runs: Task -> the run that measured it.
        metrics: Metric id -> value with interval and n, those of `QUALITIES` and `COSTS`.  The
            speed-up of the baseline is 1 where its time was measured.
        config: The configuration of one of its runs.

    """

    operator: str
    label: str
    runs: Mapping[str, str]
    metrics: Mapping[str, Metric]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Points that may be compared.

    Attributes:
        backbone: Its name.
        dataset: Of both tasks.
        seed: Of the noise.
        tasks: Task -> how it was done and how many images, in words.
        points: The operators.

    """

    backbone: str
    dataset: str
    seed: int
    tasks: Mapping[str, str]
    points: Sequence[Point]

    def measured(self) -> list[str]:
        """The metrics that at least two points have, in the order of `QUALITIES` and `COSTS`."""
        counts = [name for point in self.points for name in point.metrics]
        return [name for name in (*QUALITIES, *COSTS) if counts.count(name) > 1]


def front(values: Sequence[tuple[float, float]], higher: tuple[bool, bool]) -> list[int]:
    """Positions of the points that no other one dominates, in the order of x, then y.

    Args:
        values: (x, y) of each point.
        higher: Whether more is better, of x and y.

    """
    signs = [-1 if each else 1 for each in higher]
    lost = [(signs[0] * x, signs[1] * y) for x, y in values]
    best, found = float("inf"), list[int]()
    for _, same in groupby(sorted(range(len(lost)), key=lost.__getitem__), lost.__getitem__):
        places = list(same)
        if lost[places[0]][1] < best:
            best, found = lost[places[0]][1], found + places
    return found


def fronts(group: Group) -> dict[tuple[str, str], list[int]]:
    """(metric of x, metric of y) -> positions in `group.points` of the front, in its order."""
    found = {}
    for x, y in permutations(group.measured(), 2):
        places = [i for i, p in enumerate(group.points) if {x, y} <= p.metrics.keys()]
        metrics = [group.points[place].metrics for place in places]
        values = [(each[x].value, each[y].value) for each in metrics]
        own = front(values, (HIGHER_IS_BETTER[x], HIGHER_IS_BETTER[y]))
        found[x, y] = [places[each] for each in own]
    return found


def groups(runs: Sequence[JointRun], machine: Callable[[JointRun], str]) -> list[Group]:
    """The groups of finished runs, the largest of each backbone first.

    A way of classifying and one of generating stand in one group if an operator has both.

    Args:
        runs: Of all tasks, with what was measured.
        machine: Where a time was measured, in words; times of one place and way are compared.

    """
    costs = [run for run in runs if run.task == "efficiency"]
    measured = [run for run in runs if run.task != "efficiency"]
    found = []
    for place in dict.fromkeys(run.place for run in measured):
        own = [run for run in measured if run.place == place]
        backbone = own[0].config["backbone"]["name"]
        timed = [run for run in costs if run.config["backbone"]["name"] == backbone]
        found += list(_groups(own, _of_one_machine(timed, machine)))
    return sorted(found, key=lambda g: (g.backbone, g.dataset, -len(g.points), g.seed))


def _of_one_machine(
    costs: Sequence[JointRun], machine: Callable[[JointRun], str]
) -> list[JointRun]:
    """Counts of FLOPs, and the times of the place and way that most operators were timed with."""
    times = [run for run in costs if "time_ms_per_step" in run.metrics]
    ways = {run.run_id: _text([run.task_settings, machine(run)]) for run in times}
    usual = max(sorted({*ways.values()}), key=[*ways.values()].count, default="")
    return [run for run in costs if ways.get(run.run_id, usual) == usual]


def _groups(runs: Sequence[JointRun], costs: Sequence[JointRun]) -> Iterator[Group]:
    """The groups of one backbone, dataset and seed."""
    ways: dict[str, dict[str, list[JointRun]]] = {"classification": {}, "generation": {}}
    for run in runs:
        way = _text([run.task_settings, run.images])
        ways[run.task].setdefault(way, []).append(run)
    words = {task: _words(of_task) for task, of_task in ways.items()}
    alone = {(task, way) for task, of_task in ways.items() for way in of_task}
    for pair in product(*([(task, way) for way in of_task] for task, of_task in ways.items())):
        rows = joint_view([run for task, way in pair for run in ways[task][way]]).rows
        if any(len(row.images) > 1 for row in rows):
            alone -= {*pair}
            yield _group({task: words[task][way] for task, way in pair}, pair, ways, costs)
    for task, way in sorted(alone):
        yield _group({task: words[task][way]}, [(task, way)], ways, costs)


def _group(
    tasks: Mapping[str, str],
    chosen: Sequence[tuple[str, str]],
    ways: Mapping[str, Mapping[str, Sequence[JointRun]]],
    costs: Sequence[JointRun],
) -> Group:
    runs = [run for task, way in chosen for run in ways[task][way]]
    rows = joint_view([*runs, *costs]).rows
    return Group(rows[0].backbone, rows[0].dataset, rows[0].seed, tasks, [_point(r) for r in rows])


def _point(row: JointRow) -> Point:
    found = {name: row.metrics[name] for name in (*QUALITIES, *COSTS) if name in row.metrics}
    shown = {name: metric for name, metric in found.items() if metric.is_known}
    config = row.run.config
    operator = config["operator"]["name"]
    if operator == "none" and "time_ms_per_step" in shown:
        shown["speedup"] = Metric.exact("speedup", 1.0, "ratio")
    label = f"after {row.operator}" if operator in _RECREATED else row.operator
    return Point(operator, label, row.runs, shown, config)


def _words(ways: Mapping[str, Sequence[JointRun]]) -> dict[str, str]:
    """Each way of doing a task in words: what names it, and what it does not share with others."""
    settings = {way: json.loads(runs[0].task_settings) for way, runs in ways.items()}
    keys = dict.fromkeys(key for each in settings.values() for key in each)
    named = [
        key
        for key in sorted(keys, key=[*_PROTOCOL, *keys].index)
        if key in _PROTOCOL or len({_text(each.get(key)) for each in settings.values()}) > 1
    ]
    found = {}
    for way, each in settings.items():
        parts = (f"{key}={_text(each[key])}" for key in named if each.get(key) is not None)
        found[way] = ", ".join([f"{ways[way][0].images} images", *parts]).replace('"', "")
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
