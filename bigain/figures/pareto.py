"""Quality against cost as a picture: the largest group of each backbone, each task and both.

Dominated points are grey, a dashed line joins the others (`bigain.runs.pareto`); bars are the 95 %
interval of each run alone.
"""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bigain.config import BACKBONE_TITLES
from bigain.figures.style import INK, MORE_OPERATORS, OPERATORS, publication
from bigain.metrics import HIGHER_IS_BETTER, Metric
from bigain.runs.pareto import COSTS, Group, Point, fronts

__all__ = ["draw_pareto"]

_CLASSIFIES = ("best_margin", "acc1", "map_image")
_GENERATES = ("frechet_mini", "fid")
_PANELS = ((COSTS, _CLASSIFIES), (COSTS, _GENERATES), (_GENERATES, _CLASSIFIES))
"""What is drawn across and up: of each the first that the group has."""
_FONT = 6
_LINE, _WIDTH, _BESIDE = 1.15 * _FONT, 0.56 * _FONT, 4
"""Of a label: height of a line, mean width of a letter, distance from its point, in points."""
_GREY = "#B0B5BA"
_LOOKS = OPERATORS | MORE_OPERATORS
_OTHER = "#C04000"
"""Of an operator that has no look: not a grey, which dominated points have."""


@publication()
def draw_pareto(groups: Sequence[Group], title: Callable[[str], str]) -> Figure:
    """The figure; `groups` are sorted, the largest of a backbone first.

    Args:
        groups: As `bigain.runs.pareto.groups` returns them.
        title: Name of a metric with its unit.

    """
    largest = list({group.backbone: group for group in reversed(groups)}.values())[::-1]
    drawn = [(group, axes) for group in largest if (axes := _axes_of(group))]
    columns, lines = max((len(axes) for _, axes in drawn), default=1), max(len(drawn), 1)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(4.2 * columns, 3.3 * lines), layout=layout)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axis in grid.flat:
        axis.set_visible(False)
    for line, (group, axes) in zip(grid, drawn, strict=False):
        for axis, (x, y) in zip(line, axes, strict=False):
            axis.set_visible(True)
            _draw(axis, group, x, y)
            axis.set(xlabel=_named(title, x), ylabel=_named(title, y))
        line[0].set_title(_heading(group), loc="left", color=INK)
    figure.draw_without_rendering()  # so that the layout is settled before labels are placed
    for line, (group, axes) in zip(grid, drawn, strict=False):
        for axis, (x, y) in zip(line, axes, strict=False):
            own = fronts(group)[x, y]
            named = [
                each for n, each in enumerate(group.points) if n in own or each.operator == "none"
            ]
            _label(axis, [each for each in named if {x, y} <= each.metrics.keys()], x, y)
    return figure


def _axes_of(group: Group) -> list[tuple[str, str]]:
    known = group.measured()
    found = [
        [next((name for name in names if name in known), None) for names in panel]
        for panel in _PANELS
    ]
    return [(x, y) for x, y in found if x and y]


def _heading(group: Group) -> str:
    tasks = "\n".join(f"{task}: {words}" for task, words in group.tasks.items())
    name = BACKBONE_TITLES.get(group.backbone, group.backbone)
    return f"{name}, {group.dataset}, seed {group.seed}\n{tasks}"


def _named(title: Callable[[str], str], metric: str) -> str:
    return f"{title(metric)}, {'more' if HIGHER_IS_BETTER[metric] else 'less'} is better"


def _draw(axis: Axes, group: Group, x: str, y: str) -> None:
    own = fronts(group)[x, y]
    for place, point in enumerate(group.points):
        if {x, y} <= point.metrics.keys():
            _draw_point(axis, point, x, y, is_best=place in own)
    best = [group.points[place].metrics for place in own]
    axis.step(
        [each[x].value for each in best],
        [each[y].value for each in best],
        where="post",
        color=INK,
        linewidth=0.8,
        linestyle="--",
        zorder=1,
    )
    axis.margins(x=0.12, y=0.1)


def _draw_point(axis: Axes, point: Point, x: str, y: str, *, is_best: bool) -> None:
    look = _LOOKS.get(point.operator)
    colour = (look.colour if look else _OTHER) if is_best else _GREY
    a, b = point.metrics[x], point.metrics[y]
    axis.errorbar(
        a.value,
        b.value,
        xerr=_bar(a),
        yerr=_bar(b),
        color=colour,
        marker=(look.marker if look else "") or "o",
        markersize=4.5,
        elinewidth=0.8,
        zorder=3 if is_best else 2,
    )


def _label(axis: Axes, points: Sequence[Point], x: str, y: str) -> None:
    """Names beside the points, from the lowest up; one that would cover another moves up."""
    to_points = 72.0 / axis.figure.dpi
    taken: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda each: each.metrics[y].value):
        value = point.metrics[x].value, point.metrics[y].value
        left, bottom = to_points * axis.transData.transform(value) + _BESIDE
        right, low = left + _WIDTH * len(point.label), bottom
        for start, end, height in sorted(taken, key=lambda each: each[2]):
            if start < right and left < end and abs(height - low) < _LINE:
                low = height + _LINE
        taken.append((left, right, low))
        axis.annotate(
            point.label,
            value,
            (_BESIDE, _BESIDE + low - bottom),
            textcoords="offset points",
            fontsize=_FONT,
            color=INK,
        )


def _bar(metric: Metric) -> list[list[float]] | None:
    """Lengths of an error bar, below and above; None if there is no interval."""
    lengths = [metric.value - metric.ci_low, metric.ci_high - metric.value]
    return None if any(map(math.isnan, lengths)) else [[max(0.0, each)] for each in lengths]
