"""Figure 6: which tokens ToMe and L-GTM merge at 90 %, with 4x4 cells, on one real image.

Cells of 2x2 keep a quarter of the tokens as destinations, so nothing above 75 % can be merged; 4x4
cells keep a sixteenth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bigain.figures import token_panels as show
from bigain.figures.request import FigureRequest
from bigain.figures.scene import Scene, scenes
from bigain.figures.style import INK, OPERATORS, publication, save
from bigain.figures.token_maps import TokenMap, token_maps
from bigain.operators import LGTM, ToMe, score_map

__all__ = ["CELL", "RATIO", "SCORE", "TIMESTEP", "MaskRow", "draw_masks", "produce", "token_kinds"]

RATIO, CELL, TIMESTEP, SCORE = 0.9, (4, 4), 200, "laplacian_l1"
"""Those of the paper's figure."""

MERGED, DESTINATION, KEPT = 0, 1, 2
"""What becomes of a token, as `token_kinds` says it."""

_COLOURS = {
    MERGED: to_rgba("#A6A6A6", 0.82),
    DESTINATION: to_rgba("#56B4E9", 0.95),
    KEPT: to_rgba("#F0E442", 0.78),
}
_NAMES = {MERGED: "merged", DESTINATION: "destinations", KEPT: "left alone"}


@dataclass(frozen=True, eq=False)
class MaskRow:
    """One scene, and what each operator planned at the first site that it acts at."""

    scene: Scene
    tome: TokenMap
    lgtm: TokenMap


def produce(request: FigureRequest) -> Iterator[str]:
    """Write Figure 6.  Raises UserError if weights or data are missing."""
    with scenes(request) as found:
        rows = [_row(scene) for scene in found]
        figure = draw_masks(rows)
    yield from map(str, save(figure, request.folder / "figure6"))


def token_kinds(each: TokenMap) -> npt.NDArray[np.int64]:
    """(h, w): MERGED, DESTINATION or KEPT."""
    kinds = np.full(each.tokens, KEPT)
    for group in each.groups():
        kinds[group] = MERGED
    kinds[each.destinations] = DESTINATION
    return kinds.reshape(each.grid)


@publication()
def draw_masks(rows: Sequence[MaskRow]) -> Figure:
    """Per scene: the image, the score, the mask of ToMe and that of L-GTM."""
    figure = Figure(figsize=(8.0, 0.4 + 2.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 4, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        tokens = row.lgtm.grid
        values = score_map(SCORE, row.lgtm.metric, tokens)[0].float().cpu().numpy()
        show.show_image(line[0], row.scene.image, tokens)
        show.show_scores(line[1], values, CELL)
        _show_mask(line[2], row.scene.image, row.tome)
        _show_mask(line[3], row.scene.image, row.lgtm)
        line[0].set_ylabel(f"{row.scene.title}, {tokens[0]}x{tokens[1]} tokens", color=INK)
    tome, lgtm = OPERATORS["tome"], OPERATORS["lgtm"]
    heads = [("image", INK), (f"Laplacian score, t = {TIMESTEP}", INK)]
    heads += [(look.label, look.colour) for look in (tome, lgtm)]
    for axis, (text, colour) in zip(grid[0], heads, strict=True):
        axis.set_title(text, color=colour)
    handles = [Patch(facecolor=_COLOURS[kind], label=name) for kind, name in _NAMES.items()]
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles))
    return figure


def _row(scene: Scene) -> MaskRow:
    tome, lgtm = (
        token_maps(
            operator,
            scene.backbone,
            scene.latents,
            label=scene.label,
            timestep=TIMESTEP,
            seed=scene.seed,
            device=scene.device,
        )[0]
        for operator in (ToMe(RATIO, cell=CELL), LGTM(RATIO, cell=CELL, score=SCORE))
    )
    return MaskRow(scene, tome, lgtm)


def _show_mask(axis: Axes, image: npt.NDArray[np.uint8], each: TokenMap) -> None:
    show.show_image(axis, image, each.grid)
    kinds = token_kinds(each)
    colours = np.array([_COLOURS[kind] for kind in (MERGED, DESTINATION, KEPT)])
    axis.imshow(colours[kinds], extent=(0, each.grid[1], each.grid[0], 0), interpolation="none")
    counts = [f"{(kinds == kind).sum()} {name}" for kind, name in _NAMES.items()]
    axis.set_xlabel(", ".join(counts), fontsize=6)
