"""Figures 3 and 4: the same samples under several operators, one row per operator.

Sample i of every run has the same initial noise and condition, so differences within a column come
from the operator.  Run folders are not committed: if runs are missing, the figure is not drawn and
an existing file stays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bigain.config import GenerationConfig
from bigain.errors import UserError
from bigain.figures.curves import PAIRS, PlannedPoint, Variant, plan_points, sweeps
from bigain.figures.request import FigureRequest
from bigain.figures.style import INK, OPERATORS, publication, save, show_square
from bigain.runs.images import RunImages
from bigain.runs.samples import read_samples
from bigain.runs.store import RunStore

__all__ = [
    "DOWNSAMPLING",
    "MERGING",
    "ImageRow",
    "draw_rows",
    "first_of_each",
    "produce_downsampling",
    "produce_merging",
]

MERGING = (Variant("none"), Variant("tome", "ratio", 0.7), Variant("lgtm", "ratio", 0.7))
"""The rows of Figure 3."""

DOWNSAMPLING = (Variant("none"), Variant("todo", "factor", 2), Variant("ie_kvd", "factor", 2))
"""The rows of Figure 4."""

_COLUMNS = 10
_TILE = 0.78

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageRow:
    """The images of one operator, left to right."""

    variant: Variant
    images: tuple[Image, ...]


def produce_merging(request: FigureRequest) -> Iterator[str]:
    """Write Figure 3 of each backbone, or name the command for its missing runs."""
    return _produce(request, 3, MERGING)


def produce_downsampling(request: FigureRequest) -> Iterator[str]:
    """Write Figure 4 of each backbone, or name the command for its missing runs."""
    return _produce(request, 4, DOWNSAMPLING)


def first_of_each(conditions: Sequence[str], count: int) -> list[int]:
    """Positions of the first sample of each condition, in order, at most `count`."""
    first: dict[str, int] = {}
    for position, condition in enumerate(conditions):
        first.setdefault(condition, position)
    return list(first.values())[:count]


@publication()
def draw_rows(rows: Sequence[ImageRow], conditions: Sequence[str]) -> Figure:
    """A row per operator and a column per sample, with its condition above."""
    size = (1.0 + _TILE * len(conditions), 0.25 + _TILE * len(rows))
    figure = Figure(
        figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    )
    grid = figure.subplots(len(rows), len(conditions), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axis, image in zip(line, row.images, strict=True):
            show_square(axis, image, cmap="gray", vmin=0, vmax=255)
        line[0].set_ylabel(_words(row.variant), rotation=0, ha="right", va="center", color=INK)
    for axis, condition in zip(grid[0], conditions, strict=True):
        axis.set_title(condition, fontsize=7, color=INK)
    return figure


def _produce(request: FigureRequest, number: int, variants: Sequence[Variant]) -> Iterator[str]:
    pairs = {pair.backbone: pair for pair in reversed(PAIRS[request.profile])}
    for backbone in request.chosen([*reversed(pairs)]):
        points = plan_points(request, pairs[backbone], "generation", variants)
        lacking = [point for point in points if not _store(request, point).is_finished()]
        if lacking:
            commands = "; ".join(sweeps(request, pairs[backbone], lacking))
            yield f"figure {number}, {backbone}: not drawn, these runs are missing: {commands}"
            continue
        figure = draw_rows(*_read(request, points))
        yield from map(str, save(figure, request.folder / f"figure{number}_{backbone}"))


def _read(
    request: FigureRequest, points: Sequence[PlannedPoint]
) -> tuple[list[ImageRow], list[str]]:
    """The rows and the conditions of their columns.

    Raises:
        UserError: The runs have different conditions, or an image is missing.

    """
    folders = [_store(request, point).folder for point in points]
    conditions = [list(read_samples(folder)["condition"].astype(str)) for folder in folders]
    for folder, found in zip(folders, conditions, strict=True):
        if found != conditions[0]:
            raise UserError(f"runs {folder.name} and {folders[0].name} have different conditions")
    positions = first_of_each(conditions[0], _COLUMNS)
    rows = []
    for point, folder in zip(points, folders, strict=True):
        kind = point.config.task_as(GenerationConfig).image_format
        images = RunImages(folder, len(conditions[0]), kind)
        rows.append(ImageRow(point.variant, tuple(images[position] for position in positions)))
    return rows, [conditions[0][position] for position in positions]


def _store(request: FigureRequest, point: PlannedPoint) -> RunStore:
    return RunStore(request.results, point.run_id)


def _words(variant: Variant) -> str:
    label = OPERATORS[variant.operator].label.replace(" (", "\n(")
    strength = {"ratio": f"{100 * variant.value:.0f} % merged", "factor": f"{variant.value:g}x"}
    return f"{label}\n{strength[variant.axis]}" if variant.axis else label
