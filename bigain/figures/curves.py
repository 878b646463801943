"""The curves of Figure 2 as data: differences to the baseline, against token sparsity.

A measured point is the mean difference of a run and the run without an operator over the images of
both, with its 95 % interval: by McNemar's counts for accuracy, by t for the Frechet distance.  The
paper prints values, so its points are differences of two values, without an interval.

A curve shows the runs that Tables 2 to 5 plan for the profile, found by their run ids.  Runs with
another protocol, seed or number of images have other ids and are never part of a curve.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigain.config import RunConfig
from bigain.config.paper import PaperValues
from bigain.figures.request import FigureRequest
from bigain.metrics import PairedResult, paired_accuracy, paired_difference
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import read_runs_csv
from bigain.runs.identity import run_id

__all__ = [
    "PAIRS",
    "TASKS",
    "Curve",
    "Pair",
    "PlannedPoint",
    "Point",
    "Runs",
    "Variant",
    "measured_curves",
    "missing_commands",
    "paper_curves",
    "plan_points",
    "read_runs",
    "sweeps",
    "table_points",
]

TASKS = ("classification", "generation")
_OPERATORS = ("none", "tome", "lgtm", "todo", "avg_pool", "ie_kvd")
"""The curves, in the order in which they are drawn."""
_TABLES = (2, 3, 4, 5)
_STRENGTH = re.compile(r"(ratio|factor)=([\d.]+)")


@dataclass(frozen=True)
class Pair:
    """A backbone and a dataset, and the pair of the paper that Figure 2 shows beside them.

    Attributes:
        backbone: Name in the configuration.
        dataset: Name in the configuration.
        title: Name of both for readers.
        distance: Metric of generated images, `frechet_mini` or `fid`.
        paper: Backbone and dataset of the paper's curves.
        paper_title: Their name for readers.

    """

    backbone: str
    dataset: str
    title: str
    distance: str
    paper: tuple[str, str]
    paper_title: str

    def metric(self, task: str) -> str:
        """The metric shown for a task."""
        return "acc1" if task == "classification" else self.distance


def _of_the_paper(backbone: str, dataset: str, title: str) -> Pair:
    return Pair(backbone, dataset, title, "fid", (backbone, dataset), title)


PAIRS = {
    "mini": (
        Pair(
            *("mini_unet", "fashion_mnist", "mini U-Net, Fashion-MNIST", "frechet_mini"),
            *(("sd20", "pets"), "SD-2.0, Pets"),
        ),
        Pair(
            *("mini_dit", "fashion_mnist", "mini DiT, Fashion-MNIST", "frechet_mini"),
            *(("dit_xl2_512", "imagenet100"), "DiT-XL/2, ImageNet-100"),
        ),
    ),
    "paper": (
        _of_the_paper("sd20", "pets", "SD-2.0, Pets"),
        _of_the_paper("sd20", "imagenet100", "SD-2.0, ImageNet-100"),
        _of_the_paper("sd20", "imagenet1k", "SD-2.0, ImageNet-1K"),
        _of_the_paper("sd20", "coco2017", "SD-2.0, COCO-2017"),
        _of_the_paper("dit_xl2_512", "imagenet100", "DiT-XL/2, ImageNet-100"),
    ),
}
"""Profile -> its pairs, one row of Figure 2 each."""


@dataclass(frozen=True)
class Variant:
    """An operator at one strength; `axis` is `ratio`, `factor`, or empty for the baseline."""

    operator: str
    axis: str = ""
    value: float = 0.0

    @property
    def sparsity(self) -> float:
        """Share of tokens merged away, or of keys and values removed: 1 - 1/f^2."""
        return 1 - 1 / self.value**2 if self.axis == "factor" else self.value

    @property
    def name(self) -> str:
        """Its name in the paper's CSV: `ratio=0.3`, `factor=2`, or empty for the baseline."""
        return f"{self.axis}={self.value:g}" if self.axis else ""

    @property
    def overrides(self) -> tuple[str, ...]:
        """Its overrides for `python -m bigain`."""
        strength = (f"operator.{self.name}",) if self.axis else ()
        return (f"operator={self.operator}", *strength)


@dataclass(frozen=True)
class PlannedPoint:
    """The run behind one point."""

    variant: Variant
    task: str
    config: RunConfig
    run_id: str


@dataclass(frozen=True)
class Point:
    """A difference to the baseline, its 95 % interval or NaN; a missing run has no value either."""

    sparsity: float
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Curve:
    """The points of one operator, by sparsity."""

    operator: str
    points: tuple[Point, ...]


Runs = Collection[tuple[str, str]]
"""(run id, metric) of everything that was measured."""


def table_points(
    request: FigureRequest, pair: Pair, task: str, grid: str = "full"
) -> list[PlannedPoint]:
    """The runs of one task that Tables 2 to 5 plan for a pair, the baseline first."""
    found: dict[Variant, PlannedPoint] = {}
    for number in _TABLES:
        runs = request.table_runs(number, request.profile, grid, request.extra, request.compose)
        for run in runs:
            if run.place == (pair.backbone, pair.dataset, task):
                variant = _variant(run.operator, run.setting)
                found[variant] = PlannedPoint(variant, task, run.config, run.run_id)
    order = sorted(found, key=lambda each: (_OPERATORS.index(each.operator), each.value))
    return [found[variant] for variant in order]


def _variant(operator: str, name: str) -> Variant:
    """An operator with a strength as the tables write it, such as `ratio=0.3`."""
    match = _STRENGTH.fullmatch(name)
    return Variant(operator, match[1], float(match[2])) if match else Variant(operator)


def plan_points(
    request: FigureRequest, pair: Pair, task: str, variants: Sequence[Variant]
) -> list[PlannedPoint]:
    """The run of each variant for a pair, with the profile's default settings."""
    configs = request.configs(
        [(*_place(pair), f"task={task}", *variant.overrides) for variant in variants]
    )
    return [
        PlannedPoint(variant, task, config, run_id(config))
        for variant, config in zip(variants, configs, strict=True)
    ]


def read_runs(path: Path) -> Runs:
    """What is in a runs.csv; empty if there is no such file.

    Raises:
        UserError: The file is damaged, or two lines have the same run and metric.

    """
    rows = (row for own in read_runs_csv(path).values() for row in own)
    return {(row.cells["run_id"], row.metric.metric) for row in rows}


def measured_curves(
    planned: Sequence[PlannedPoint], archive: Archive, wanted: Collection[str] = ()
) -> list[Curve]:
    """One curve for each operator that has at least one run; none without the baseline's run.

    A curve has a gap where a planned run is missing whose id is `wanted`.

    Raises:
        UserError: Records are damaged, or a run is of other weights or images than the baseline.

    """
    available = [plan for plan in planned if archive.is_available(plan.run_id)]
    baseline = next((plan for plan in available if plan.variant.operator == "none"), None)
    points: dict[str, list[Point]] = {}
    for plan in available if baseline else ():
        if baseline is not None and plan is not baseline:
            archive.check_comparable(plan.run_id, baseline.run_id)
            found = _difference(archive, plan, baseline)
            scale = 100.0 if plan.task == "classification" else 1.0
            numbers = (scale * each for each in (found.mean, found.ci_low, found.ci_high))
            point = Point(plan.variant.sparsity, *numbers)
            points.setdefault(plan.variant.operator, []).append(point)
    for plan in planned:
        own = points.get(plan.variant.operator)
        if own and plan not in available and plan.run_id in wanted:
            own.append(Point(plan.variant.sparsity, math.nan))
    return _curves(points)


def _difference(archive: Archive, plan: PlannedPoint, baseline: PlannedPoint) -> PairedResult:
    column = "correct" if plan.task == "classification" else "frechet_value"
    values = []
    for run in (plan, baseline):
        frame = archive.samples(run.run_id)
        assert frame is not None, "only finished runs are asked for"
        values.append(frame.set_index("image_id")[column])
    is_share = plan.task == "classification"
    return paired_accuracy(*values) if is_share else paired_difference(*values)


def paper_curves(paper: PaperValues, pair: Pair, task: str) -> list[Curve]:
    """The paper's curves for a pair, from its Tables 2 to 5; none if it prints no baseline."""
    metric = "acc1" if task == "classification" else "fid"
    points: dict[str, list[Point]] = {}
    for key, value in paper.items():
        here = (key.backbone, key.dataset) == pair.paper and key.metric == metric
        drawn = key.method in _OPERATORS and (not key.setting or _STRENGTH.fullmatch(key.setting))
        if here and key.table in _TABLES and drawn and value.text:
            variant = _variant(key.method, key.setting)
            point = Point(variant.sparsity, float(value.text))
            points.setdefault(variant.operator, []).append(point)
    baseline = {point.value for point in points.pop("none", [])}  # two tables print it
    if len(baseline) != 1:
        return []
    (zero,) = baseline
    apart = {n: [Point(p.sparsity, p.value - zero) for p in own] for n, own in points.items()}
    return _curves(apart)


def missing_commands(
    request: FigureRequest, pair: Pair, wanted: Sequence[PlannedPoint], runs: Runs
) -> list[str]:
    """The commands for the points of one task that have no run yet."""
    metric = pair.metric(wanted[0].task)
    return sweeps(request, pair, [plan for plan in wanted if (plan.run_id, metric) not in runs])


def sweeps(request: FigureRequest, pair: Pair, points: Sequence[PlannedPoint]) -> list[str]:
    """One command for each family of operators in `points`; it skips finished runs."""
    families = dict.fromkeys(point.variant.axis for point in points)
    return [
        _sweep(request, pair, [point for point in points if point.variant.axis == axis])
        for axis in families
    ]


def _sweep(request: FigureRequest, pair: Pair, points: Sequence[PlannedPoint]) -> str:
    names = dict.fromkeys(point.variant.operator for point in points)
    values = sorted({point.variant.value for point in points})
    axis = points[0].variant.axis
    grid = (f"operator.{axis}={','.join(f'{value:g}' for value in values)}",) if axis else ()
    words = (*_place(pair), f"task={points[0].task}", f"operator={','.join(names)}", *grid)
    return request.command(*words, sweep=len(points) > 1)


def _place(pair: Pair) -> tuple[str, ...]:
    return f"backbone={pair.backbone}", f"dataset={pair.dataset}"


def _curves(points: Mapping[str, Sequence[Point]]) -> list[Curve]:
    return [
        Curve(name, tuple(sorted(found, key=lambda point: point.sparsity)))
        for name, found in points.items()
    ]
