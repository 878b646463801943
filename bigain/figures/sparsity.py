"""Figure 2: accuracy and Frechet distance against token sparsity, beside the paper's curves.

A pure function of the configuration, runs.csv and the paper's CSV.  Merging removes up to 70 % of
the tokens, downsampling 75 to 98 % of the keys: the axis is stretched from a line between the two.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from bigain.config.paper import PaperValues, load_paper
from bigain.figures.curves import (
    BLOCKS,
    TASKS,
    Block,
    Curve,
    PlannedPoint,
    Point,
    Runs,
    measured_curves,
    missing_commands,
    paper_curves,
    read_runs,
    table_points,
)
from bigain.figures.request import FigureRequest
from bigain.figures.style import INK, OPERATORS, publication, save

__all__ = ["Panel", "draw_panels", "panels_of", "place_of", "produce"]

_LABELS = {
    "acc1": "Acc@1, %",
    "frechet_mini": "Frechet distance (mini)",
    "fid": "FID",
}
_NOUNS = {"classification": "images", "generation": "samples"}
_BETWEEN_FAMILIES, _STRETCH = 72.5, 2.7
_RATIOS, _FACTORS = (0, 20, 40, 60), (2, 3, 4, 8)
_DODGE = {"tome": -0.8, "lgtm": 0.8, "todo": -1.8, "ie_kvd": 1.8}
"""Sideways shift on the axis, so that the intervals of one setting stay apart."""

_LOG_FROM = 4.0
"""Largest over smallest distance from which an axis is logarithmic."""


@dataclass(frozen=True)
class Panel:
    """What one square shows: curves of one metric, measured ones or the paper's.

    Attributes:
        title: One or two lines.
        metric: `acc1`, `frechet_mini` or `fid`.
        curves: Of the operators with values.
        is_paper: Whether the values are the paper's.
        commands: If nothing but the baseline was measured: what makes the runs.

    """

    title: str
    metric: str
    curves: tuple[Curve, ...]
    is_paper: bool
    commands: tuple[str, ...] = ()


def produce(request: FigureRequest) -> Iterator[str]:
    """Write Figure 2; say what was written, and which runs would fill it."""
    names = request.chosen([block.backbone for block in BLOCKS[request.profile]])
    blocks = [block for block in BLOCKS[request.profile] if block.backbone in names]
    runs, paper = read_runs(request.results / request.profile / "runs.csv"), load_paper()
    rows: list[list[Panel]] = []
    notes: list[str] = []
    for block in blocks:
        row: list[Panel] = []
        for task in TASKS:
            points = table_points(request, block, task)
            wanted = table_points(request, block, task, "default")
            row += panels_of(request, block, points, wanted, runs, paper)
            notes += _coverage(request, block, wanted, runs)
        rows.append(row)
    yield from map(str, save(draw_panels(rows), request.folder / "figure2"))
    yield from notes


def panels_of(
    request: FigureRequest,
    block: Block,
    points: Sequence[PlannedPoint],
    wanted: Sequence[PlannedPoint],
    runs: Runs,
    paper: PaperValues,
) -> list[Panel]:
    """Two panels of one task: what was measured, and what the paper prints.

    `points` may be drawn, if there is a run; `wanted` are those that the figure should have.
    """
    task, images = points[0].task, points[0].config.dataset.num_images
    metric, printed = block.metric(task), "acc1" if task == "classification" else "fid"
    curves = tuple(measured_curves(points, runs, metric))
    empty = all(curve.operator == "none" for curve in curves)
    commands = tuple(missing_commands(request, block, wanted, runs)) if empty else ()
    title = f"{block.title}\nmeasured, n = {images:,} {_NOUNS[task]}"
    papers = f"{block.paper_title}\nas the paper prints"
    return [
        Panel(title, metric, curves, is_paper=False, commands=commands),
        Panel(papers, printed, tuple(paper_curves(paper, block, task)), is_paper=True),
    ]


def place_of(sparsity: float) -> float:
    """Where a share 0 .. 1 stands on the axis: in percent, stretched between the two families."""
    percent = 100 * sparsity
    return percent + (_STRETCH - 1) * max(0.0, percent - _BETWEEN_FAMILIES)


@publication()
def draw_panels(rows: Sequence[Sequence[Panel]]) -> Figure:
    """The figure of rows of panels, with one legend."""
    layout = ConstrainedLayoutEngine(w_pad=0.08)
    figure = Figure(figsize=(10.4, 0.4 + 2.6 * len(rows)), layout=layout)
    grid = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for line, panels in zip(grid, rows, strict=True):
        for axis, panel in zip(line, panels, strict=True):
            _draw(axis, panel)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=len(OPERATORS))
    return figure


def _coverage(
    request: FigureRequest,
    block: Block,
    wanted: Sequence[PlannedPoint],
    runs: Runs,
) -> Iterator[str]:
    task = wanted[0].task
    done = sum((point.run_id, block.metric(task)) in runs for point in wanted)
    yield f"figure 2: {block.title}, {task}: {done} of {len(wanted)} points have a run"
    for command in missing_commands(request, block, wanted, runs):
        yield f"  to fill it: {command}"


def _draw(axis: Axes, panel: Panel) -> None:
    for curve in panel.curves:
        if curve.operator == "none":
            _draw_baseline(axis, curve.points[0])
        else:
            _draw_operator(axis, curve)
    axis.set_title(panel.title, loc="left", color=INK)
    log = ", log scale" if _made_logarithmic(axis, panel) else ""
    axis.set_ylabel(f"{_LABELS[panel.metric]}{log}")
    axis.margins(y=0.1)
    _sparsity_axis(axis)
    if panel.is_paper:
        axis.set_facecolor("#F3F3F1")
    if panel.commands:
        _say_no_run(axis, panel.commands)
    if not panel.curves:
        axis.set_yticks([])


def _draw_baseline(axis: Axes, point: Point) -> None:
    look = OPERATORS["none"]
    axis.axhline(point.value, color=look.colour, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    if not math.isnan(point.low):
        axis.axhspan(point.low, point.high, color=look.colour, alpha=0.08, linewidth=0, zorder=0)


def _draw_operator(axis: Axes, curve: Curve) -> None:
    look, measured = OPERATORS[curve.operator], not math.isnan(curve.points[0].low)
    shift = _DODGE.get(curve.operator, 0.0) if measured else 0.0
    places = [place_of(point.sparsity) + shift for point in curve.points]
    axis.plot(
        places,
        [point.value for point in curve.points],
        color=look.colour,
        marker=look.marker,
        markersize=4.4,
        linewidth=1.1,
        markeredgecolor="white",
        markeredgewidth=0.4,
        zorder=3,
    )
    if measured:
        ends = ([point.low for point in curve.points], [point.high for point in curve.points])
        axis.vlines(places, *ends, colors=look.colour, linewidth=0.9, zorder=2)


def _made_logarithmic(axis: Axes, panel: Panel) -> bool:
    """Distances that span much get a logarithmic axis, with plain numbers on it."""
    values = [point.value for curve in panel.curves for point in curve.points]
    if panel.metric == "acc1" or not values or min(values) <= 0:
        return False
    if max(values) / min(values) < _LOG_FROM:
        return False
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    return True


def _sparsity_axis(axis: Axes) -> None:
    """Ratios of merging, then shares of removed keys with the factors that give them."""
    shares = {factor: 1 - 1 / factor**2 for factor in _FACTORS}
    places = [*map(float, _RATIOS), *map(place_of, shares.values())]
    labels = [f"{100 * share:.0f}\n{factor}x" for factor, share in shares.items()]
    axis.set_xticks(places, [*map(str, _RATIOS), *labels])
    axis.set_xlim(0, place_of(1))
    axis.axvline(_BETWEEN_FAMILIES, color="#BBBBBB", linewidth=0.6, zorder=0)
    axis.set_xlabel("tokens merged  |  keys, values removed, %", fontsize=7)


def _say_no_run(axis: Axes, commands: Sequence[str]) -> None:
    lines = [textwrap.fill(command, 36, break_long_words=False) for command in commands]
    axis.text(
        0.5,
        0.5,
        "\n\n".join(["no run yet", *lines]),
        transform=axis.transAxes,
        ha="center",
        va="center",
        fontsize=4.8,
        color=INK,
        family="monospace",
        bbox={"facecolor": "white", "edgecolor": "#CCCCCC", "linewidth": 0.6, "alpha": 0.9},
    )


def _legend() -> list[Line2D]:
    baseline = (0, (4, 2))
    return [
        Line2D(
            [],
            [],
            color=look.colour,
            label=look.label,
            marker=look.marker,
            linestyle=baseline if name == "none" else "-",
            markersize=5,
            linewidth=1.1,
        )
        for name, look in OPERATORS.items()
    ]
