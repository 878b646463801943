"""Quality against cost as a picture: the largest group of each backbone, each task and both.

Dominated points are grey, a dashed line joins the others (`bigain.runs.pareto`); bars are the 95 %
interval of each run alone.
"""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bigain.figures.style import INK, OPERATORS, publication
from bigain.metrics import HIGHER_IS_BETTER, Metric
from bigain.runs.pareto import COSTS, Group, Point, fronts

__all__ = ["draw_pareto"]

_CLASSIFIES = ("best_margin", "acc1", "map_image")
_GENERATES = ("frechet_mini", "fid")
_PANELS = ((COSTS, _CLASSIFIES), (COSTS, _GENERATES), (_GENERATES, _CLASSIFIES))
"""What is drawn across and up: of each the first that the group has."""
_GREY = "#B0B5BA"
_OTHER = "#555555"


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
    return f"{group.backbone}, {group.dataset}, seed {group.seed}\n{tasks}"


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
    look = OPERATORS.get(point.operator)
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
    if is_best or point.operator == "none":
        place = (a.value, b.value)
        axis.annotate(point.label, place, (4, 4), textcoords="offset points", fontsize=6, color=INK)


def _bar(metric: Metric) -> list[list[float]] | None:
    """Lengths of an error bar, below and above; None if there is no interval."""
    lengths = [metric.value - metric.ci_low, metric.ci_high - metric.value]
    return None if any(map(math.isnan, lengths)) else [[max(0.0, each)] for each in lengths]
