"""Merge maps over a real image: which tokens stay, which go, and into which.

For each merging operator the map of the first site in a real forward of the denoiser at one
timestep is drawn over the clean image: tokens of one colour are merged into one, a ring marks the
destination; bare tokens are kept as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bigain.atomic import replace_file
from bigain.backbones.base import Backbone
from bigain.operators import MergeReduction, TokenReducer, token_score
from bigain.operators.recording import Recording
from bigain.patching import apply
from bigain.site_selection import SiteSelection
from bigain.tasks.noise import keyed_noise

__all__ = ["MergeMap", "draw_merge_maps", "merge_map"]


@dataclass(frozen=True)
class MergeMap:
    """The map of one operator at one site.

    Attributes:
        title: Name of the operator and its setting.
        owner: Place of every token in the reduced sequence, shape (h, w).
        destinations: Token numbers of the destinations, shape (D,).
        score: Laplacian score of every token (Eq. 7), shape (h, w).

    """

    title: str
    owner: npt.NDArray[np.int64]
    destinations: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]


@torch.inference_mode()
def merge_map(
    title: str,
    operator: TokenReducer,
    backbone: Backbone,
    latents: Tensor,
    *,
    label: int,
    timestep: int,
    seed: int = 0,
    sites: SiteSelection | None = None,
) -> MergeMap:
    """Run `backbone` once on the noised `latents` (1, C, H, W) and take the map of its first site.

    Raises:
        UserError: the backbone has no such site.
        TypeError: the operator planned something that is not a merge.

    """
    recording = Recording(operator)
    noise = keyed_noise(seed, "merge map", timestep, shape=tuple(latents.shape))
    abar = backbone.alphas_cumprod[timestep]
    noisy = abar.sqrt().float() * latents + (1 - abar).sqrt().float() * noise
    with apply(backbone.denoiser, recording, sites=sites, seed=seed):
        backbone.predict_noise(noisy, torch.tensor([timestep]), torch.tensor([label]))
    _, metric, reduction = recording.calls[0]
    if not isinstance(reduction, MergeReduction):
        raise TypeError(f"{operator} planned {reduction}, which is not a merge")
    side = round(metric.shape[1] ** 0.5)
    score = token_score("laplacian_l1")(metric, (side, side))
    return MergeMap(
        title=title,
        owner=reduction.owner[0].view(side, side).cpu().numpy(),
        destinations=reduction.dst[0].cpu().numpy(),
        score=score[0].view(side, side).float().cpu().numpy(),
    )


def draw_merge_maps(
    path: Path, rows: Sequence[tuple[str, npt.NDArray[np.uint8], Sequence[MergeMap]]]
) -> None:
    """Draw one row per (caption, image of bytes (H, W), maps): image, score, then the maps."""
    columns = 2 + max(len(maps) for _, _, maps in rows)
    figure = Figure(figsize=(2.6 * columns, 2.9 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (caption, image, maps) in zip(axes, rows, strict=True):
        _show(line[0], image, caption)
        score = line[1].imshow(maps[0].score, cmap="cividis")
        line[1].set_title("Laplacian score", fontsize=9)
        figure.colorbar(score, ax=line[1], fraction=0.046)
        for axis, each in zip(line[2:], maps, strict=False):
            _draw_map(axis, image, each)
        for axis in line:
            axis.set_axis_off()
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=130))


def _show(axis: Axes, image: npt.NDArray[np.uint8], title: str) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
    axis.set_title(title, fontsize=9)


def _draw_map(axis: Axes, image: npt.NDArray[np.uint8], each: MergeMap) -> None:
    height, width = each.owner.shape
    sizes = np.bincount(each.owner.ravel())[each.owner]
    hues = (each.owner * 0.618034) % 1.0
    colours = mpl.colormaps["hsv"](hues)
    colours[..., 3] = np.where(sizes > 1, 0.62, 0.0)
    kept = len(np.unique(each.owner))
    _show(axis, image, f"{each.title}\n{height * width} -> {kept} tokens")
    axis.imshow(colours, extent=(0, 1, 1, 0))
    rows, columns = np.divmod(each.destinations, width)
    axis.plot((columns + 0.5) / width, (rows + 0.5) / height, "o", ms=3, mfc="none", mec="white")
    axis.set_xlim(0, 1)
    axis.set_ylim(1, 0)
