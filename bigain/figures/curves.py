"""The curves of Figure 2 as data: measured values and the paper's, against token sparsity.

The runs of a curve are those that Tables 2 to 5 plan for the profile, found by their ids.  Runs of
another protocol, seed or number of images have other ids, so they never get into a curve.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigain.config import RunConfig
from bigain.config.paper import PaperValues
from bigain.figures.request import FigureRequest
from bigain.metrics import Metric
from bigain.runs.archive_csv import read_runs_csv
from bigain.runs.identity import run_id
from bigain.tables.loading import load_spec
from bigain.tables.planner import BASELINE, Place, plan_table

__all__ = [
    "BLOCKS",
    "TASKS",
    "Block",
    "Curve",
    "PlannedPoint",
    "Point",
    "Runs",
    "Setting",
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
class Block:
    """One row of the figure: a backbone on a dataset, beside a pair of the paper's.

    Attributes:
        backbone, dataset: Of the runs.
        title: What readers call them.
        distance: The metric of generated images, `frechet_mini` or `fid`.
        paper: Backbone and dataset of the paper's curves.
        paper_title: What readers call those.

    """

    backbone: str
    dataset: str
    title: str
    distance: str
    paper: tuple[str, str]
    paper_title: str

    def metric(self, task: str) -> str:
        """The metric that is drawn of a task."""
        return "acc1" if task == "classification" else self.distance


def _of_the_paper(backbone: str, dataset: str, title: str) -> Block:
    return Block(backbone, dataset, title, "fid", (backbone, dataset), title)


BLOCKS = {
    "mini": (
        Block(
            *("mini_unet", "fashion_mnist", "mini U-Net, Fashion-MNIST", "frechet_mini"),
            *(("sd20", "pets"), "SD-2.0, Pets"),
        ),
        Block(
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
"""Profile -> the rows of its figure."""


@dataclass(frozen=True)
class Setting:
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
        """As the paper's CSV writes it: `ratio=0.3`, `factor=2`, or nothing."""
        return f"{self.axis}={self.value:g}" if self.axis else ""

    @property
    def overrides(self) -> tuple[str, ...]:
        """What `python -m bigain` needs for it."""
        strength = (f"operator.{self.name}",) if self.axis else ()
        return (f"operator={self.operator}", *strength)


@dataclass(frozen=True)
class PlannedPoint:
    """The run behind one point."""

    setting: Setting
    task: str
    config: RunConfig
    run_id: str


@dataclass(frozen=True)
class Point:
    """One value with its 95 % interval (NaN where there is none)."""

    sparsity: float
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Curve:
    """The points of one operator, by sparsity."""

    operator: str
    points: tuple[Point, ...]


Runs = Mapping[tuple[str, str], Point]
"""(run id, metric) -> what was measured; the sparsity is that of the setting."""


def table_points(
    request: FigureRequest, block: Block, task: str, grid: str = "full"
) -> list[PlannedPoint]:
    """The runs of one task that Tables 2 to 5 plan for a row of the figure, the baseline first."""
    place = Place(block.backbone, block.dataset, task)
    found: dict[Setting, PlannedPoint] = {}
    for number in _TABLES:
        spec = load_spec(number)
        if spec.profile(request.profile).backbone != block.backbone:
            continue
        plan = plan_table(spec, request.profile, grid, request.extra, request.compose)
        rows = {row.id: row for row in (BASELINE, *plan.rows) if not row.set}
        for cell, run in plan.runs.items():
            if cell.place == place and cell.row in rows:
                setting = _setting(rows[cell.row].method, cell.column)
                found[setting] = PlannedPoint(setting, task, run.config, run.run_id)
    order = sorted(found, key=lambda each: (_OPERATORS.index(each.operator), each.value))
    return [found[setting] for setting in order]


def _setting(operator: str, name: str) -> Setting:
    """An operator with a strength as the tables write it, such as `ratio=0.3`."""
    match = _STRENGTH.fullmatch(name)
    return Setting(operator, match[1], float(match[2])) if match else Setting(operator)


def plan_points(
    request: FigureRequest, block: Block, task: str, settings: Sequence[Setting]
) -> list[PlannedPoint]:
    """The profile's own run of every setting of a row."""
    configs = request.configs(
        [(*_place(block), f"task={task}", *setting.overrides) for setting in settings]
    )
    return [
        PlannedPoint(setting, task, config, run_id(config))
        for setting, config in zip(settings, configs, strict=True)
    ]


def read_runs(path: Path) -> Runs:
    """The measured values of a runs.csv; none if there is no such file.

    Raises:
        UserError: The file is damaged, or two lines claim one value.

    """
    rows = (row for own in read_runs_csv(path).values() for row in own)
    return {(row.cells["run_id"], row.metric.metric): _point(row.metric) for row in rows}


def measured_curves(planned: Sequence[PlannedPoint], runs: Runs, metric: str) -> list[Curve]:
    """The curves of one task's points: each operator with at least one run."""
    points: dict[str, list[Point]] = {}
    for plan in planned:
        measured = runs.get((plan.run_id, metric))
        if measured is not None:
            point = Point(plan.setting.sparsity, measured.value, measured.low, measured.high)
            points.setdefault(plan.setting.operator, []).append(point)
    return _curves(points)


def paper_curves(paper: PaperValues, block: Block, task: str) -> list[Curve]:
    """The curves that Tables 2-5 of the paper print for the row."""
    metric = "acc1" if task == "classification" else "fid"
    points: dict[str, list[Point]] = {}
    for key, value in paper.items():
        here = (key.backbone, key.dataset) == block.paper and key.metric == metric
        drawn = key.method in _OPERATORS and (not key.setting or _STRENGTH.fullmatch(key.setting))
        if here and key.table in _TABLES and drawn and value.text:
            setting = _setting(key.method, key.setting)
            point = Point(setting.sparsity, float(value.text))
            known = points.setdefault(setting.operator, [])
            known += [] if point in known else [point]  # the baseline stands in two tables
    return _curves(points)


def missing_commands(
    request: FigureRequest, block: Block, wanted: Sequence[PlannedPoint], runs: Runs
) -> list[str]:
    """The commands that make what is missing of one task's points."""
    metric = block.metric(wanted[0].task)
    return sweeps(request, block, [plan for plan in wanted if (plan.run_id, metric) not in runs])


def sweeps(request: FigureRequest, block: Block, points: Sequence[PlannedPoint]) -> list[str]:
    """One command for each family of operators in the points; finished runs are skipped."""
    families = dict.fromkeys(point.setting.axis for point in points)
    return [
        _sweep(request, block, [point for point in points if point.setting.axis == axis])
        for axis in families
    ]


def _sweep(request: FigureRequest, block: Block, points: Sequence[PlannedPoint]) -> str:
    names = dict.fromkeys(point.setting.operator for point in points)
    values = sorted({point.setting.value for point in points})
    axis = points[0].setting.axis
    grid = (f"operator.{axis}={','.join(f'{value:g}' for value in values)}",) if axis else ()
    words = (*_place(block), f"task={points[0].task}", f"operator={','.join(names)}", *grid)
    return request.command(*words, sweep=len(points) > 1)


def _place(block: Block) -> tuple[str, ...]:
    return f"backbone={block.backbone}", f"dataset={block.dataset}"


def _point(metric: Metric) -> Point:
    return Point(math.nan, metric.value, metric.ci_low, metric.ci_high)


def _curves(points: Mapping[str, Sequence[Point]]) -> list[Curve]:
    return [
        Curve(name, tuple(sorted(found, key=lambda point: point.sparsity)))
        for name, found in points.items()
    ]
