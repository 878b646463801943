"""Figure 2: what operators cost in accuracy and Frechet distance, beside the paper's curves.

Measured points are paired differences to the baseline with their intervals.  A pure function of the
configuration, the records, runs.csv and the paper's CSV.  Merging removes up to 70 % of
the tokens, downsampling 75 to 98 % of the keys and values, so the axis is stretched above 72.5 %.
"""

import math
import statistics
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from bigain.config.paper import PaperValues, load_paper
from bigain.figures.curves import (
    PAIRS,
    TASKS,
    Curve,
    Pair,
    PlannedPoint,
    Runs,
    measured_curves,
    missing_commands,
    paper_curves,
    read_runs,
    table_points,
)
from bigain.figures.request import FigureRequest
from bigain.figures.style import INK, OPERATORS, publication, save
from bigain.runs.archive import Archive

__all__ = ["Chart", "charts_of", "draw_charts", "place_of", "produce"]

_LABELS = {
    "acc1": "Acc@1, points",
    "frechet_mini": "Frechet distance (mini)",
    "fid": "FID",
}
_NOUNS = {"classification": "images", "generation": "samples"}
_BETWEEN_FAMILIES, _STRETCH = 72.5, 2.7
_RATIOS, _FACTORS = (0, 20, 40, 60), (2, 3, 4, 8)
_DODGE = {"tome": -0.8, "lgtm": 0.8, "todo": -1.8, "ie_kvd": 1.8}
"""Sideways shift in axis units, so that intervals at the same sparsity do not overlap."""

_WIDE = 10.0
"""An axis is logarithmic away from 0 if the largest difference of distances is at least this
multiple of their median."""


@dataclass(frozen=True)
class Chart:
    """One square of the figure: differences in one metric, either measured or from the paper.

    Attributes:
        title: One or two lines.
        metric: `acc1`, `frechet_mini` or `fid`.
        curves: One for each operator with values.
        is_paper: Whether the values are the paper's.
        commands: Commands for the missing runs, if no operator has been measured.

    """

    title: str
    metric: str
    curves: tuple[Curve, ...]
    is_paper: bool
    commands: tuple[str, ...] = ()


def produce(request: FigureRequest) -> Iterator[str]:
    """Write Figure 2; yield the files written, and commands for the missing runs."""
    names = request.chosen([pair.backbone for pair in PAIRS[request.profile]])
    pairs = [pair for pair in PAIRS[request.profile] if pair.backbone in names]
    archive, paper = Archive(request.results, request.profile), load_paper()
    runs = read_runs(archive.runs_csv)
    rows: list[list[Chart]] = []
    notes: list[str] = []
    for pair in pairs:
        row: list[Chart] = []
        for task in TASKS:
            points = table_points(request, pair, task)
            wanted = table_points(request, pair, task, "default")
            commands = missing_commands(request, pair, wanted, runs)
            ids = {point.run_id for point in wanted}
            row += charts_of(pair, points, archive, paper, commands, ids)
            notes += _coverage(request, pair, wanted, runs)
        rows.append(row)
    yield from map(str, save(draw_charts(rows), request.folder / "figure2"))
    yield from notes


def charts_of(
    pair: Pair,
    points: Sequence[PlannedPoint],
    archive: Archive,
    paper: PaperValues,
    missing: Sequence[str],
    wanted: Collection[str] = (),
) -> list[Chart]:
    """Two charts of one task: what was measured, and what the paper prints.

    A point of `points` is drawn if it and the baseline have a run; `missing` are the commands that
    a chart without any curve shows.  A curve is broken where one of the runs `wanted` is missing.
    """
    task, images = points[0].task, points[0].config.dataset.num_images
    metric, printed = pair.metric(task), "acc1" if task == "classification" else "fid"
    curves = tuple(measured_curves(points, archive, wanted))
    commands = () if curves else tuple(missing)
    title = f"{pair.title}\nmeasured, n = {images:,} {_NOUNS[task]}"
    papers = f"{pair.paper_title}\nas the paper prints"
    return [
        Chart(title, metric, curves, is_paper=False, commands=commands),
        Chart(papers, printed, tuple(paper_curves(paper, pair, task)), is_paper=True),
    ]


def place_of(sparsity: float) -> float:
    """Position of a share in [0, 1] on the axis: percent, stretched above 72.5 %."""
    percent = 100 * sparsity
    return percent + (_STRETCH - 1) * max(0.0, percent - _BETWEEN_FAMILIES)


@publication()
def draw_charts(rows: Sequence[Sequence[Chart]]) -> Figure:
    """The figure of rows of charts, with one legend."""
    layout = ConstrainedLayoutEngine(w_pad=0.08)
    figure = Figure(figsize=(10.4, 0.4 + 2.6 * len(rows)), layout=layout)
    grid = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for line, charts in zip(grid, rows, strict=True):
        for axis, chart in zip(line, charts, strict=True):
            _draw(axis, chart)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=len(OPERATORS))
    return figure


def _coverage(
    request: FigureRequest,
    pair: Pair,
    wanted: Sequence[PlannedPoint],
    runs: Runs,
) -> Iterator[str]:
    task = wanted[0].task
    done = sum((point.run_id, pair.metric(task)) in runs for point in wanted)
    yield f"figure 2: {pair.title}, {task}: {done} of {len(wanted)} points have a run"
    for command in missing_commands(request, pair, wanted, runs):
        yield f"  to fill it: {command}"


def _draw(axis: Axes, chart: Chart) -> None:
    if chart.curves:
        look = OPERATORS["none"]
        axis.axhline(0, color=look.colour, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    for curve in chart.curves:
        _draw_operator(axis, curve)
    axis.set_title(chart.title, loc="left", color=INK)
    log = ", log scale" if _made_logarithmic(axis, chart) else ""
    axis.set_ylabel(f"{_LABELS[chart.metric]},\nminus no acceleration{log}")
    axis.margins(y=0.1)
    _sparsity_axis(axis)
    if chart.is_paper:
        axis.set_facecolor("#F3F3F1")
    if chart.commands:
        _say_no_run(axis, chart.commands)
    if not chart.curves:
        axis.set_yticks([])


def _draw_operator(axis: Axes, curve: Curve) -> None:
    look = OPERATORS[curve.operator]
    measured = not all(math.isnan(point.low) for point in curve.points)
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


def _made_logarithmic(axis: Axes, chart: Chart) -> bool:
    """Make the axis of a wide range of distances logarithmic, but linear around 0."""
    values = (point.value for curve in chart.curves for point in curve.points)
    sizes = [abs(value) for value in values if not math.isnan(value)]
    if chart.metric == "acc1" or not sizes or max(sizes) < _WIDE * statistics.median(sizes):
        return False
    linear = 10 ** math.ceil(math.log10(max(statistics.median(sizes), max(sizes) / 1000)))
    axis.set_yscale("symlog", linthresh=linear)
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    return True


def _sparsity_axis(axis: Axes) -> None:
    """Ticks: ratios of merging, then shares of removed keys and values with their factors."""
    shares = {factor: 1 - 1 / factor**2 for factor in _FACTORS}
    places = [*map(float, _RATIOS), *map(place_of, shares.values())]
    labels = [f"{100 * share:.0f}\n{factor}x" for factor, share in shares.items()]
    axis.set_xticks(places, [*map(str, _RATIOS), *labels])
    axis.set_xlim(0, place_of(1))
    axis.axvline(_BETWEEN_FAMILIES, color="#BBBBBB", linewidth=0.6, zorder=0)
    # In two lines, since the layout does not make room for one that is wider than its axis.
    axis.set_xlabel("tokens merged (left), or keys\nand values removed (right), %", fontsize=7)


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
