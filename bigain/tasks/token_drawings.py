"""Drawings of one token map on one matplotlib axis, over the image behind it.

Coordinates are tokens: token (row, column) covers the unit square from (column, row).  Colours are
those of Okabe and Ito, and cividis, which colour-blind readers can tell apart.
"""

from collections.abc import Iterable
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_rgba_array
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from bigain.operators import KeyValueDownsampler
from bigain.operators.downsampling import nearest_tokens, pooled_grid, pooling_window
from bigain.tasks.token_maps import TokenMap

__all__ = [
    "PALETTE",
    "mark_destinations",
    "show_groups",
    "show_image",
    "show_kept",
    "show_scores",
    "show_through",
    "show_tiles",
    "show_windows",
]

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00")
"""Colours of the five largest groups: orange, sky blue, green, yellow, vermilion."""

_TINT, _BLUE = "#8899BB", "#0072B2"

Image = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


def show_image(axis: Axes, image: Image, grid: tuple[int, int]) -> None:
    """The image and the borders of the tokens."""
    _under(axis, image, grid)
    _grid_lines(axis, grid, (1, 1), "#888888", 0.4)


def show_scores(
    axis: Axes, scores: npt.NDArray[np.float32], cell: tuple[int, int] | None = None
) -> AxesImage:
    """Scores (h, w), dark is low, and the borders of cells; returns what a colour bar is of."""
    grid = (scores.shape[0], scores.shape[1])
    shown = axis.imshow(scores, cmap="cividis", extent=(0, grid[1], grid[0], 0))
    _frame(axis, grid)
    if cell is not None:
        _grid_lines(axis, grid, cell, "white", 0.5)
    return shown


def mark_destinations(axis: Axes, each: TokenMap) -> None:
    """Ring the destinations of a merge."""
    _rings(axis, each.destinations, each.grid)


def show_groups(axis: Axes, image: Image, each: TokenMap) -> None:
    """The largest groups in colour, with lines to their ringed token; smaller groups tinted.

    The ringed token of a group is the destination of a merge, or the kept token that others copy.
    """
    _under(axis, image, each.grid)
    anchors, groups = _anchors(each), each.groups()
    for group in groups[len(PALETTE) :]:
        _fill(axis, group, each.grid, _TINT, alpha=0.72)
    for group, colour in zip(groups, PALETTE, strict=False):
        anchor = anchors[int(each.sources.ravel()[group[0]])]
        _fill(axis, group, each.grid, colour, alpha=0.9)
        ends = [[_centre(int(token), each.grid), _centre(anchor, each.grid)] for token in group]
        outline = [effects.withStroke(linewidth=1.8, foreground="black")]
        lines = LineCollection(ends, colors=colour, linewidths=0.9, path_effects=outline)
        axis.add_collection(lines)
    _rings(axis, np.array(sorted(anchors.values()), dtype=np.int64), each.grid)


def show_tiles(axis: Axes, image: Image, each: TokenMap) -> None:
    """The tokens of each group in one filled box."""
    _under(axis, image, each.grid)
    _grid_lines(axis, each.grid, (1, 1), "#777777", 0.3)
    boxes = [_box(group, each.grid) for group in each.groups()]
    _boxes(axis, boxes, facecolor=(0.34, 0.71, 0.91, 0.75), edgecolor="#003F66", linewidth=1)


def show_kept(axis: Axes, image: Image, each: TokenMap) -> None:
    """Kept tokens in boxes, dropped tokens covered."""
    _under(axis, image, each.grid)
    _fill(axis, np.flatnonzero(~each.read), each.grid, "#222255", alpha=0.62)
    boxes = [_box(np.array([token]), each.grid) for token in np.flatnonzero(each.read)]
    _boxes(axis, boxes, facecolor="none", edgecolor=PALETTE[0], linewidth=0.9)


def show_windows(axis: Axes, image: Image, each: TokenMap) -> None:
    """Sources of downsampled keys and values: averaged windows framed, nearest tokens filled.

    Raises:
        TypeError: The operator of the map does not downsample keys and values.

    """
    operator = each.operator
    if not isinstance(operator, KeyValueDownsampler):
        raise TypeError(f"{operator!r} does not downsample keys and values")
    alpha, factor = each.alpha, operator.factor
    _under(axis, image, each.grid, faded=True)
    _grid_lines(axis, each.grid, (1, 1), "#AAAAAA", 0.3)
    if alpha != 0:
        picks = nearest_tokens(each.grid, factor, operator.alignment, each.metric.device)
        _fill(axis, picks.cpu().numpy(), each.grid, PALETTE[4], alpha=0.85)
    if alpha != 1:
        rows, columns = pooled_grid(each.grid, factor)
        high, wide = pooling_window(each.grid, factor, operator.alignment)
        boxes = [
            Rectangle((j * wide + 0.08, i * high + 0.08), wide - 0.16, high - 0.16)
            for i, j in np.ndindex(rows, columns)
        ]
        _boxes(axis, boxes, facecolor="none", edgecolor=_BLUE, linewidth=1.2)


def show_through(axis: Axes, image: Image, each: TokenMap) -> None:
    """The image after the reduction (`TokenMap.seen_through`)."""
    h, w = each.grid
    seen = np.ma.masked_invalid(each.seen_through(image))
    axis.set_facecolor("#9AA5B8")
    axis.imshow(seen, cmap="gray", vmin=0, vmax=255, extent=(0, w, h, 0))
    _frame(axis, each.grid)


def _anchors(each: TokenMap) -> dict[int, int]:
    """Index of a reduced token -> its ringed token: the destination, or the token it copies."""
    assignment = each.sources.ravel()
    if len(each.destinations):
        return {int(assignment[token]): int(token) for token in each.destinations}
    copied = each.weights.argmax(axis=1)
    shared = {int(assignment[group[0]]) for group in each.groups()}
    return {place: int(copied[place]) for place in shared}


def _under(axis: Axes, image: Image, grid: tuple[int, int], *, faded: bool = False) -> None:
    shown = 150 + image / 255 * 105 if faded else image
    axis.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(0, grid[1], grid[0], 0))
    _frame(axis, grid)


def _frame(axis: Axes, grid: tuple[int, int]) -> None:
    axis.set_xlim(0, grid[1])
    axis.set_ylim(grid[0], 0)
    axis.set_xticks([])
    axis.set_yticks([])


def _grid_lines(
    axis: Axes, grid: tuple[int, int], cell: tuple[int, int], colour: str, width: float
) -> None:
    rows, columns = range(0, grid[0] + 1, cell[0]), range(0, grid[1] + 1, cell[1])
    lines = [[(0, y), (grid[1], y)] for y in rows] + [[(x, 0), (x, grid[0])] for x in columns]
    axis.add_collection(LineCollection(lines, colors=colour, linewidths=width))


def _fill(axis: Axes, tokens: Numbers, grid: tuple[int, int], colour: str, alpha: float) -> None:
    filled = np.zeros((*grid, 4))
    filled.reshape(-1, 4)[tokens] = to_rgba_array(colour, alpha)[0]
    axis.imshow(filled, extent=(0, grid[1], grid[0], 0))
    _frame(axis, grid)


def _box(group: Numbers, grid: tuple[int, int]) -> Rectangle:
    rows, columns = np.divmod(group, grid[1])
    corner = (int(columns.min()), int(rows.min()))
    return Rectangle(corner, int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)


def _boxes(axis: Axes, boxes: Iterable[Rectangle], **style: Any) -> None:
    axis.add_collection(PatchCollection(list(boxes), **style))


def _rings(axis: Axes, tokens: Numbers, grid: tuple[int, int]) -> None:
    rows, columns = np.divmod(tokens, grid[1])
    outline = [effects.withStroke(linewidth=2, foreground="black")]
    axis.plot(columns + 0.5, rows + 0.5, "o", ms=4.2, mfc="none", mec="white", path_effects=outline)


def _centre(token: int, grid: tuple[int, int]) -> tuple[float, float]:
    row, column = divmod(token, grid[1])
    return column + 0.5, row + 0.5
