"""The ten token scores as maps over one image, each with its formula."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bigain.figures import token_panels as show
from bigain.figures.operator_pictures import Panel, image_panel
from bigain.figures.token_maps import TokenMap
from bigain.operators import SCORES, score_formula, score_map

__all__ = ["score_maps", "score_panels"]


def score_maps(each: TokenMap) -> dict[str, npt.NDArray[np.float32]]:
    """Every score of the tokens that `each` was planned on, (h, w), by name."""
    return {
        name: score_map(name, each.metric, each.grid)[0].float().cpu().numpy() for name in SCORES
    }


def score_panels(each: TokenMap, image: npt.NDArray[np.uint8]) -> list[Panel]:
    """The image, then one panel per score: its name, its map, its formula and its range."""
    start = image_panel(image, each)
    start = replace(start, note=f"{start.note}\nscores: dark is low, that is smooth")
    return [start, *(_panel(name, values) for name, values in score_maps(each).items())]


def _panel(name: str, values: npt.NDArray[np.float32]) -> Panel:
    note = f"{score_formula(name)}\nfrom {values.min():.3g} to {values.max():.3g}"
    return Panel(name, note, lambda axis: show.show_scores(axis, values))
