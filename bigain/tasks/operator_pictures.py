"""Pictures of operators: a row of subplots that show what happens to the tokens of one image.

`operator_subplots` chooses the subplots by the kind of the operator.  For an unknown operator it
shows the image, the groups or kept tokens, and the image after the reduction.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
from bigain.operators.downsampling import pooling_window
from bigain.tasks import token_drawings as show
from bigain.tasks.token_maps import TokenMap, first_of_each_stage

__all__ = [
    "Subplot",
    "draw_rows",
    "groups_subplot",
    "image_subplot",
    "operator_subplots",
    "score_subplot",
    "score_subplots",
]

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Subplot:
    """One square of a picture.

    Attributes:
        title: One or two lines above it.
        note: Explanation below it.
        draw: Draws it on an axis.

    """

    title: str
    note: str
    draw: Callable[[Axes], object]


def operator_subplots(maps: Sequence[TokenMap], image: Image) -> list[Subplot]:
    """The subplots of an operator's maps of one forward (`token_maps`) over `image` (H, W).

    Shows one map per stage if stages differ (cached assignment, hybrids), else the first map.
    """
    stages = first_of_each_stage(maps)
    first = stages[0]
    start = image_subplot(image, first)
    if first.operator.shared_in_stage or len({each.operator for each in stages}) > 1:
        return [start, *(_stage_subplot(image, each) for each in stages)]
    return [start, *_decisions(image, first), _through_subplot(image, first)]


def score_subplots(each: TokenMap, image: Image) -> list[Subplot]:
    """The image, then one subplot per token score: its name, map, formula and range."""
    start = image_subplot(image, each)
    start = replace(start, note=f"{start.note}\nscores: dark is low, that is smooth")
    return [start, *(_formula_subplot(name, each.scores(name)) for name in SCORES)]


def draw_rows(path: Path, rows: Sequence[Sequence[Subplot]]) -> Figure:
    """Write rows of subplots to the PNG file `path`; equal subplots give equal bytes."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(2.35 * columns, 3.15 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, subplots in zip(axes, rows, strict=True):
        for axis in line[len(subplots) :]:
            axis.set_axis_off()
        for axis, subplot in zip(line, subplots, strict=False):
            subplot.draw(axis)
            axis.set_title(subplot.title, fontsize=9)
            axis.set_xlabel(_wrapped(subplot.note), fontsize=7.5)
    replace_file(
        path,
        lambda temporary: figure.savefig(
            temporary, format="png", dpi=100, metadata={"Software": None}
        ),
    )
    return figure


def image_subplot(image: Image, each: TokenMap, title: str | None = None) -> Subplot:
    """The image and its tokens."""
    h, w = each.grid
    note = f"{h}x{w} = {each.tokens} tokens, timestep {each.timestep}"
    return Subplot(title or "the image", note, lambda axis: show.show_image(axis, image, each.grid))


def score_subplot(each: TokenMap, score: str = "laplacian_l1") -> Subplot:
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
    return Subplot(f"{score} of the hidden states", note, draw)


def groups_subplot(image: Image, each: TokenMap, title: str | None = None) -> Subplot:
    """Which tokens are merged into which, or whose output they copy."""
    groups = each.groups()
    shared = sum(map(len, groups))
    what = "merged into, or copying," if not len(each.destinations) else "merged into"
    note = (
        f"colours: the {min(len(groups), len(show.PALETTE))} largest of {len(groups)} groups, "
        f"{what} the ringed token; grey-blue: smaller groups; bare: {each.tokens - shared} alone"
    )
    title = title or f"{each.tokens} -> {each.num_kept} tokens"
    return Subplot(title, note, lambda axis: show.show_groups(axis, image, each))


def _through_subplot(image: Image, each: TokenMap) -> Subplot:
    """The image with its patches reduced and restored like the model's tokens."""
    if isinstance(each.operator, KeyValueDownsampler):
        h, w = each.grid[0] // each.operator.factor, each.grid[1] // each.operator.factor
        title, note = _blend(each), f"{h}x{w} = {each.num_kept} keys and values, seen in pixels"
    elif isinstance(each.operator, KeyValueReducer):
        title, note = f"keys and values: {each.num_kept}", "the queries see only these"
    else:
        title, note = "reduced and restored", "the same map applied to the image's own patches"
    return Subplot(title, note, lambda axis: show.show_through(axis, image, each))


def _windows_subplot(image: Image, each: TokenMap, title: str | None = None) -> Subplot:
    """The tokens that downsampled keys and values are made of."""
    factor = getattr(each.operator, "factor", 1)
    align = getattr(each.operator, "align", "") if any(side % factor for side in each.grid) else ""
    high, wide = pooling_window(each.grid, factor, align or "reference")
    parts = [] if each.alpha == 0 else ["filled: the nearest token"]
    parts += [] if each.alpha == 1 else [f"framed: the {high}x{wide} window that is averaged"]
    title = title or f"factor {factor}{', align=' * bool(align)}{align}"
    return Subplot(title, "; ".join(parts), lambda axis: show.show_windows(axis, image, each))


def _kept_subplot(image: Image, each: TokenMap, title: str | None = None) -> Subplot:
    """Which tokens are kept."""
    note = f"boxed: the {int(each.read.sum())} that stay; covered: dropped"
    title = title or f"{each.tokens} -> {each.num_kept} tokens"
    return Subplot(title, note, lambda axis: show.show_kept(axis, image, each))


def _tiles_subplot(image: Image, each: TokenMap) -> Subplot:
    """Which tiles are pooled."""
    note = f"blue: {len(each.groups())} smooth tiles, each becomes its mean; bare: kept as it is"
    title = f"{each.tokens} -> {each.num_kept} tokens"
    return Subplot(title, note, lambda axis: show.show_tiles(axis, image, each))


def _wrapped(note: str) -> str:
    return "\n".join(textwrap.fill(line, 44) for line in note.splitlines())


def _decisions(image: Image, each: TokenMap) -> list[Subplot]:
    """The subplots of what the operator decides, by its kind."""
    score = getattr(each.operator, "score", None)
    before = [score_subplot(each, score)] if score else []
    for kind, subplots in _SUBPLOTS:
        if isinstance(each.operator, kind):
            return [*before, *(subplot(image, each) for subplot in subplots)]
    return [*before, groups_subplot(image, each)]


def _stage_subplot(image: Image, each: TokenMap) -> Subplot:
    """One map with its stage and the sites that use it."""
    title = f"{each.stage}: {type(each.operator).__name__}\n{each.tokens} -> {each.num_kept}"
    if isinstance(each.operator, KeyValueDownsampler):
        return _windows_subplot(image, each, f"{title} keys/values")
    if isinstance(each.operator, KeyValueReducer):
        return _kept_subplot(image, each, f"{title} keys/values")
    subplot = groups_subplot(image, each, f"{title} tokens")
    if not each.operator.shared_in_stage:
        return subplot
    names = [name.removesuffix(".transformer_blocks.0") for name in each.sites]
    sites = f"one map for {len(names)} site{'s' * (len(names) > 1)}:"
    return Subplot(subplot.title, "\n".join([sites, *names]), subplot.draw)


_SAME_DRAW = {
    "paired": "all images and classes",
    "per_sample": "all classes of an image",
    "per_forward": "all of one batch",
}


def _random_subplot(image: Image, each: TokenMap) -> Subplot:
    cell = getattr(each.operator, "cell", (1, 1))

    def draw(axis: Axes) -> None:
        show.show_image(axis, image, each.grid)
        show.mark_destinations(axis, each)

    same = _SAME_DRAW[getattr(each.operator, "draws", "paired")]
    note = f"ring: one token of each {cell[0]}x{cell[1]} cell, the same for {same}"
    title = f"{len(each.destinations)} random destinations"
    return Subplot(title, note, draw)


def _copies_subplot(image: Image, each: TokenMap) -> Subplot:
    groups = each.groups()
    note = (
        f"colours: the {min(len(groups), len(show.PALETTE))} most copied of {len(groups)} kept "
        "tokens (ring) and those that take their output; grey-blue: other copies"
    )
    return Subplot("whose output is copied", note, lambda axis: show.show_groups(axis, image, each))


def _formula_subplot(name: str, values: npt.NDArray[np.float32]) -> Subplot:
    note = f"{score_formula(name)}\nfrom {values.min():.3g} to {values.max():.3g}"
    return Subplot(name, note, lambda axis: show.show_scores(axis, values))


def _blend(each: TokenMap) -> str:
    alpha = each.alpha if each.alpha is not None else float("nan")
    return {0.0: "average (alpha 0)", 1.0: "nearest (alpha 1)"}.get(alpha, f"alpha = {alpha:.3g}")


_SUBPLOTS: tuple[tuple[type[Operator], tuple[Callable[[Image, TokenMap], Subplot], ...]], ...] = (
    (ToMe, (_random_subplot, groups_subplot)),
    (ABM, (_tiles_subplot,)),
    (SiTo, (_kept_subplot, _copies_subplot)),
    (KeyValueDownsampler, (_windows_subplot,)),
    (KeyValueReducer, (_kept_subplot,)),
)
