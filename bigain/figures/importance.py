"""Figure 5: token importance of one image, averaged over noise draws, at several timesteps.

What L-GTM scores is the noisy hidden state, so one draw shows mostly noise where noise is strong;
the average over draws shows what of the image the model's features keep.  Without a condition, as
in the paper.  A pure function of (seed, image, timestep): draws are keyed noise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bigain.figures.request import FigureRequest
from bigain.figures.scene import Scene, scenes
from bigain.figures.style import INK, publication, save
from bigain.operators import Identity, score_map
from bigain.operators.recording import Recorder
from bigain.patching.apply import apply
from bigain.tasks.noise import keyed_noise

__all__ = ["DRAWS", "SCORE", "TIMESTEPS", "ImportanceRow", "draw_importance", "draws", "produce"]

SCORE = "laplacian_l1"
TIMESTEPS = (20, 100, 200, 400, 700)
DRAWS = 100
"""As many as in the paper."""

_AT_ONCE = 25
_NOTE = "Laplacian of the\nhidden states:\ndark is smooth,\nbright is contrast"

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ImportanceRow:
    """The maps of one scene: timestep -> scores of every draw (draws, h, w)."""

    scene: Scene
    maps: dict[int, Maps]


def produce(request: FigureRequest) -> Iterator[str]:
    """Write Figure 5.  Raises UserError if weights or data are missing."""
    with scenes(request) as found:
        rows = [_row(scene) for scene in found]
    yield from map(str, save(draw_importance(rows), request.folder / "figure5"))


@torch.inference_mode()
def draws(scene: Scene, timestep: int, count: int) -> Maps:
    """The scores of `count` noise draws on the image of `scene`, (count, h, w).

    Taken before the first self-attention of the highest resolution on the way up; of a model
    without a way up, before the first one that operators act at.
    """
    shape = tuple(scene.latents.shape[1:])
    noise = torch.stack(
        [
            keyed_noise(scene.seed, "importance", timestep, draw, shape=shape)
            for draw in range(count)
        ]
    )
    abar = scene.backbone.alphas_cumprod[timestep]
    noisy = abar.sqrt().float() * scene.latents.cpu() + (1 - abar).sqrt().float() * noise
    return np.concatenate([_scores(scene, part, timestep) for part in noisy.split(_AT_ONCE)])


@publication()
def draw_importance(rows: Sequence[ImportanceRow]) -> Figure:
    """Per scene two lines, one draw and the mean of all; a column per timestep, the image first."""
    columns = 1 + len(rows[0].maps)
    figure = Figure(figsize=(1.3 * columns + 0.3, 2.75 * len(rows)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, row in zip(parts, rows, strict=True):
        single, mean = part.subplots(2, columns)
        _show(single[0], row.scene.image, row.scene.title, "gray")
        mean[0].set_axis_off()
        mean[0].text(0.5, 0.5, _NOTE, transform=mean[0].transAxes, ha="center", va="center")
        for column, (timestep, maps) in enumerate(row.maps.items(), start=1):
            _show(single[column], maps[0], f"t = {timestep}")
            _show(mean[column], maps.mean(axis=0))
        single[1].set_ylabel("one draw")
        mean[1].set_ylabel(f"mean of {len(maps)}")
    return figure


def _row(scene: Scene) -> ImportanceRow:
    return ImportanceRow(scene, {t: draws(scene, t, DRAWS) for t in TIMESTEPS})


def _scores(scene: Scene, noisy: torch.Tensor, timestep: int) -> Maps:
    """The score of each of the noisy latents (B, C, H, W), (B, h, w); nothing is compressed."""
    recorder, batch = Recorder(Identity()), len(noisy)
    inputs = (
        noisy,
        torch.full((batch,), timestep),
        torch.full((batch,), scene.backbone.null_class),
    )
    with apply(scene.backbone.denoiser, recorder, seed=scene.seed) as report:
        scene.backbone.predict_noise(*(each.to(scene.device) for each in inputs))
    uses = {use.site.name: use for use in report.sites if use.part == "self"}
    upward = [call for call in recorder.calls if uses[call[0]].site.stage == "decoder"]
    name, metric, _ = (upward or recorder.calls)[0]
    grid = uses[name].grid
    assert grid is not None, "the site was planned for, so it has a grid"
    return np.asarray(score_map(SCORE, metric, grid).float().cpu().numpy())


def _show(axis: Axes, values: npt.NDArray[Any], title: str = "", colours: str = "cividis") -> None:
    """One square; each map has the whole range of colours."""
    axis.imshow(values, cmap=colours, interpolation="none")
    axis.set_title(title, color=INK)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
