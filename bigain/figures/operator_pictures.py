"""Pictures of operators: a row of panels that show what happens to the tokens of one image.

`operator_panels` chooses the panels by the kind of the operator.  An unknown operator gets the
image, its groups or kept tokens, and the image after the reduction.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bigain.figures import token_panels as show
from bigain.figures.token_maps import TokenMap, first_of_each_stage
from bigain.files import replace_file
from bigain.operators import (
    ABM,
    SCORES,
    BipartiteMerge,
    KeyValueDownsampler,
    KeyValueReducer,
    Operator,
    SiTo,
    ToMe,
    score_formula,
)

__all__ = [
    "Panel",
    "draw_rows",
    "groups_panel",
    "image_panel",
    "operator_panels",
    "score_panel",
    "score_panels",
]

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """One square of a picture.

    Attributes:
        title: One or two lines above it.
        note: What it shows, below it.
        draw: Draws it on an axis.

    """

    title: str
    note: str
    draw: Callable[[Axes], None]


def operator_panels(maps: Sequence[TokenMap], image: Image) -> list[Panel]:
    """The panels of an operator's maps of one forward (`token_maps`) over `image` (H, W).

    Where stages differ (cached assignment, hybrids), one map per stage, else the first map.
    """
    stages = first_of_each_stage(maps)
    first = stages[0]
    start = image_panel(image, first)
    if first.operator.shared_in_stage or len({each.operator for each in stages}) > 1:
        return [start, *(_stage_panel(image, each) for each in stages)]
    return [start, *_decisions(image, first), _through_panel(image, first)]


def score_panels(each: TokenMap, image: Image) -> list[Panel]:
    """The image, then one panel per token score: its name, map, formula and range."""
    start = image_panel(image, each)
    start = replace(start, note=f"{start.note}\nscores: dark is low, that is smooth")
    return [start, *(_formula_panel(name, each.scores(name)) for name in SCORES)]


def draw_rows(path: Path, rows: Sequence[Sequence[Panel]]) -> Figure:
    """Write rows of panels to the PNG file `path`; equal panels give equal bytes."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(2.35 * columns, 3.15 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, panels in zip(axes, rows, strict=True):
        for axis in line[len(panels) :]:
            axis.set_axis_off()
        for axis, panel in zip(line, panels, strict=False):
            panel.draw(axis)
            axis.set_title(panel.title, fontsize=9)
            axis.set_xlabel(_wrapped(panel.note), fontsize=7.5)
    replace_file(
        path,
        lambda temporary: figure.savefig(
            temporary, format="png", dpi=100, metadata={"Software": None}
        ),
    )
    return figure


def image_panel(image: Image, each: TokenMap, title: str | None = None) -> Panel:
    """The image and its tokens."""
    h, w = each.grid
    note = f"{h}x{w} = {each.tokens} tokens, timestep {each.timestep}"
    return Panel(title or "the image", note, lambda axis: show.show_image(axis, image, each.grid))


def score_panel(each: TokenMap, score: str = "laplacian_l1") -> Panel:
    """A score as a map, with rings around the destinations of a merge."""
    cell = getattr(each.operator, "cell", None)
    values = each.scores(score)

    def draw(axis: Axes) -> None:
        show.show_scores(axis, values, cell)
        if isinstance(each.operator, BipartiteMerge):
            show.mark_destinations(axis, each)

    note = "dark is low, that is smooth"
    if isinstance(each.operator, BipartiteMerge):
        note = f"{note}; the smoothest token of each cell is its destination (ring)"
    return Panel(f"{score} of the hidden states", note, draw)


def groups_panel(image: Image, each: TokenMap, title: str | None = None) -> Panel:
    """Which tokens are merged into which, or whose output they copy."""
    groups = each.groups()
    shared = sum(map(len, groups))
    what = "merged into, or copying," if not len(each.destinations) else "merged into"
    note = (
        f"colours: the {min(len(groups), len(show.PALETTE))} largest of {len(groups)} groups, "
        f"{what} the ringed token; grey-blue: smaller groups; bare: {each.tokens - shared} alone"
    )
    title = title or f"{each.tokens} -> {each.num_kept} tokens"
    return Panel(title, note, lambda axis: show.show_groups(axis, image, each))


def _through_panel(image: Image, each: TokenMap) -> Panel:
    """The image with its patches reduced and restored like the model's tokens."""
    if isinstance(each.operator, KeyValueDownsampler):
        h, w = each.grid[0] // each.operator.factor, each.grid[1] // each.operator.factor
        title, note = _blend(each), f"{h}x{w} = {each.num_kept} keys and values, seen in pixels"
    elif isinstance(each.operator, KeyValueReducer):
        title, note = f"keys and values: {each.num_kept}", "the queries see only these"
    else:
        title, note = "reduced and restored", "the same map applied to the image's own patches"
    return Panel(title, note, lambda axis: show.show_through(axis, image, each))


def _windows_panel(image: Image, each: TokenMap, title: str | None = None) -> Panel:
    """The tokens that downsampled keys and values are made of."""
    factor = getattr(each.operator, "factor", 1)
    parts = [] if each.alpha == 0 else ["filled: the nearest token"]
    parts += [] if each.alpha == 1 else [f"framed: the {factor}x{factor} window that is averaged"]
    align = getattr(each.operator, "align", "") if any(side % factor for side in each.grid) else ""
    title = title or f"factor {factor}{', align=' * bool(align)}{align}"
    return Panel(title, "; ".join(parts), lambda axis: show.show_windows(axis, image, each))


def _kept_panel(image: Image, each: TokenMap, title: str | None = None) -> Panel:
    """Which tokens are kept."""
    note = f"boxed: the {int(each.read.sum())} that stay; covered: dropped"
    title = title or f"{each.tokens} -> {each.num_kept} tokens"
    return Panel(title, note, lambda axis: show.show_kept(axis, image, each))


def _tiles_panel(image: Image, each: TokenMap) -> Panel:
    """Which tiles are pooled."""
    note = f"blue: {len(each.groups())} smooth tiles, each becomes its mean; bare: kept as it is"
    title = f"{each.tokens} -> {each.num_kept} tokens"
    return Panel(title, note, lambda axis: show.show_tiles(axis, image, each))


def _wrapped(note: str) -> str:
    return "\n".join(textwrap.fill(line, 44) for line in note.splitlines())


def _decisions(image: Image, each: TokenMap) -> list[Panel]:
    """The panels of what the operator decides, by its kind."""
    score = getattr(each.operator, "score", None)
    before = [score_panel(each, score)] if score else []
    for kind, panels in _PANELS:
        if isinstance(each.operator, kind):
            return [*before, *(panel(image, each) for panel in panels)]
    return [*before, groups_panel(image, each)]


def _stage_panel(image: Image, each: TokenMap) -> Panel:
    """One map with its stage and the sites that use it."""
    title = f"{each.stage}: {type(each.operator).__name__}\n{each.tokens} -> {each.num_kept}"
    if isinstance(each.operator, KeyValueDownsampler):
        return _windows_panel(image, each, f"{title} keys/values")
    if isinstance(each.operator, KeyValueReducer):
        return _kept_panel(image, each, f"{title} keys/values")
    panel = groups_panel(image, each, f"{title} tokens")
    if not each.operator.shared_in_stage:
        return panel
    names = [name.removesuffix(".transformer_blocks.0") for name in each.sites]
    sites = f"one map for {len(names)} site{'s' * (len(names) > 1)}:"
    return Panel(panel.title, "\n".join([sites, *names]), panel.draw)


def _random_panel(image: Image, each: TokenMap) -> Panel:
    cell = getattr(each.operator, "cell", (1, 1))

    def draw(axis: Axes) -> None:
        show.show_image(axis, image, each.grid)
        show.mark_destinations(axis, each)

    note = f"ring: one token of each {cell[0]}x{cell[1]} cell, the same for all images and classes"
    title = f"{len(each.destinations)} random destinations"
    return Panel(title, note, draw)


def _copies_panel(image: Image, each: TokenMap) -> Panel:
    groups = each.groups()
    note = (
        f"colours: the {min(len(groups), len(show.PALETTE))} most copied of {len(groups)} kept "
        "tokens (ring) and those that take their output; grey-blue: other copies"
    )
    return Panel("whose output is copied", note, lambda axis: show.show_groups(axis, image, each))


def _formula_panel(name: str, values: npt.NDArray[np.float32]) -> Panel:
    note = f"{score_formula(name)}\nfrom {values.min():.3g} to {values.max():.3g}"
    return Panel(name, note, lambda axis: show.show_scores(axis, values))


def _blend(each: TokenMap) -> str:
    alpha = each.alpha if each.alpha is not None else float("nan")
    return {0.0: "average (alpha 0)", 1.0: "nearest (alpha 1)"}.get(alpha, f"alpha = {alpha:.3g}")


_PANELS: tuple[tuple[type[Operator], tuple[Callable[[Image, TokenMap], Panel], ...]], ...] = (
    (ToMe, (_random_panel, groups_panel)),
    (ABM, (_tiles_panel,)),
    (SiTo, (_kept_panel, _copies_panel)),
    (KeyValueDownsampler, (_windows_panel,)),
    (KeyValueReducer, (_kept_panel,)),
)
