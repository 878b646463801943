"""Figures 5 and 6: token importance in one real image, and which tokens operators merge in it.

Figure 5 shows token importance at several timesteps, averaged over noise draws, without a condition
as in the paper.  L-GTM scores the noisy hidden state, so a single draw at strong noise shows mostly
noise; the average shows which parts of the image the model's features keep.

Figure 6 shows which tokens ToMe and L-GTM merge at 90 % with cells of 4x4.  Cells of 2x2 keep a
quarter of the tokens as destinations, so no more than 75 % could be merged; cells of 4x4 keep a
sixteenth.

Both are functions of (seed, image, timestep): the noise is keyed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.config import BACKBONE_TITLES, MiniBackboneConfig, RunConfig
from bigain.devices import limited_threads, resolve_device
from bigain.engine import build
from bigain.errors import UserError
from bigain.figures.request import FigureRequest
from bigain.figures.style import INK, OPERATORS, publication, save, show_square
from bigain.operators import LGTM, Identity, ToMe, score_map
from bigain.operators.recording import Recorder
from bigain.patching.apply import apply
from bigain.tasks import token_drawings as show
from bigain.tasks.batches import keyed_noise
from bigain.tasks.token_maps import TokenMap, add_noise, token_maps

__all__ = [
    "MaskRow",
    "Scene",
    "draw_importance",
    "draw_masks",
    "importance_maps",
    "produce_importance",
    "produce_masks",
    "scenes",
    "token_kinds",
]

SUBJECTS = {
    "mini": (("mini_unet", "fashion_mnist"), ("mini_dit", "fashion_mnist")),
    "paper": (("sd20", "pets"),),
}
"""Profile -> (backbone, dataset of the image)."""

IMAGE = 17
"""Position of the image in the dataset's fixed order."""

TIMESTEPS, DRAWS = (20, 100, 200, 400, 700), 100
"""Timesteps of Figure 5, and number of noise draws, as in the paper."""

RATIO, CELL, MASK_TIMESTEP = 0.9, (4, 4), 200
"""Merge ratio, cell and timestep of Figure 6, as in the paper."""

SCORE = "laplacian_l1"
MERGED, DESTINATION, KEPT = 0, 1, 2
"""Kinds of tokens (`token_kinds`)."""

_COLOURS = {
    MERGED: to_rgba("#A6A6A6", 0.82),
    DESTINATION: to_rgba("#56B4E9", 0.95),
    KEPT: to_rgba("#F0E442", 0.78),
}
_NAMES = {MERGED: "merged", DESTINATION: "destinations", KEPT: "left alone"}
_PADDING = 2
_DRAWS_AT_ONCE = 25
_NOTE = "Laplacian of the\nhidden states:\ndark is smooth,\nbright is contrast"

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """One image and one backbone.

    Attributes:
        title: Name of the backbone for readers.
        backbone: With its weights.
        device: Device of the backbone.
        seed: Seed of the noise.
        latents: Latents of the clean image, (1, C, H, W).
        image: Input of the backbone, (H, W) or (H, W, 3).
        label: Class of the image.

    """

    title: str
    backbone: Backbone
    device: torch.device
    seed: int
    latents: Tensor
    image: npt.NDArray[np.uint8]
    label: int


@dataclass(frozen=True, eq=False)
class MaskRow:
    """One scene, and the plan of each operator at the first site where it acts."""

    scene: Scene
    tome: TokenMap
    lgtm: TokenMap


@contextmanager
def scenes(request: FigureRequest) -> Iterator[list[Scene]]:
    """The scenes of a profile; torch uses one thread inside the context.

    Several threads would sum in another order and change the bytes of a picture.

    Raises:
        UserError: Weights or data are missing.

    """
    subjects = dict(SUBJECTS[request.profile])
    names = request.chosen(list(subjects))
    configs = request.configs([(f"backbone={name}", f"dataset={subjects[name]}") for name in names])
    with limited_threads(1):
        yield [_scene(config) for config in configs]


def produce_importance(request: FigureRequest) -> Iterator[str]:
    """Write Figure 5.  Raises UserError if weights or data are missing."""
    with scenes(request) as found:
        rows = [
            (scene, {t: importance_maps(scene, t, DRAWS) for t in TIMESTEPS}) for scene in found
        ]
    yield from map(str, save(draw_importance(rows), request.folder / "figure5"))


def produce_masks(request: FigureRequest) -> Iterator[str]:
    """Write Figure 6.  Raises UserError if weights or data are missing."""
    with scenes(request) as found:
        figure = draw_masks([_mask_row(scene) for scene in found])
    yield from map(str, save(figure, request.folder / "figure6"))


@torch.inference_mode()
def importance_maps(scene: Scene, timestep: int, count: int) -> Maps:
    """The scores of `count` noise draws on the image of `scene`, (count, h, w).

    Measured before the decoder's first self-attention at the highest resolution; in a model without
    a decoder, before the first self-attention where operators act.
    """
    shape = tuple(scene.latents.shape[1:])
    keys = [("importance", timestep, draw) for draw in range(count)]
    noise = torch.stack([keyed_noise(scene.seed, *key, shape=shape) for key in keys])
    noisy = add_noise(scene.backbone, scene.latents, noise, timestep)
    return np.concatenate([_scores(scene, part, timestep) for part in noisy.split(_DRAWS_AT_ONCE)])


@publication()
def draw_importance(rows: Sequence[tuple[Scene, dict[int, Maps]]]) -> Figure:
    """Figure 5 of scenes, each with timestep -> scores of every draw (draws, h, w).

    Each scene has two lines, one draw and the mean of all draws, and a column per timestep.
    """
    columns = 1 + len(rows[0][1])
    figure = Figure(figsize=(1.3 * columns + 0.3, 2.75 * len(rows)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (scene, by_timestep) in zip(parts, rows, strict=True):
        single, mean = part.subplots(2, columns)
        show_square(single[0], scene.image, scene.title, cmap="gray")
        mean[0].set_axis_off()
        mean[0].text(0.5, 0.5, _NOTE, transform=mean[0].transAxes, ha="center", va="center")
        for column, (timestep, maps) in enumerate(by_timestep.items(), start=1):
            show_square(single[column], maps[0], f"t = {timestep}", cmap="cividis")
            show_square(mean[column], maps.mean(axis=0), cmap="cividis")
        single[1].set_ylabel("one draw")
        mean[1].set_ylabel(f"mean of {len(maps)}")
    return figure


def token_kinds(each: TokenMap) -> npt.NDArray[np.int64]:
    """(h, w): MERGED, DESTINATION or KEPT."""
    kinds = np.full(each.tokens, KEPT)
    for group in each.groups():
        kinds[group] = MERGED
    kinds[each.destinations] = DESTINATION
    return kinds.reshape(each.grid)


@publication()
def draw_masks(rows: Sequence[MaskRow]) -> Figure:
    """Figure 6: per scene the image, the score, the mask of ToMe and that of L-GTM."""
    figure = Figure(figsize=(8.6, 0.4 + 2.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 4, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        tokens = row.lgtm.grid
        show.show_image(line[0], row.scene.image, tokens)
        scores = show.show_scores(line[1], row.lgtm.scores(SCORE), CELL)
        bar = figure.colorbar(scores, ax=line[1], fraction=0.046, pad=0.03)
        bar.ax.tick_params(labelsize=5)
        _show_mask(line[2], row.scene.image, row.tome)
        _show_mask(line[3], row.scene.image, row.lgtm)
        line[0].set_ylabel(f"{row.scene.title}, {tokens[0]}x{tokens[1]} tokens", color=INK)
    heads = [("image", INK), (f"Laplacian score, t = {MASK_TIMESTEP}", INK)]
    heads += [(OPERATORS[name].label, OPERATORS[name].colour) for name in ("tome", "lgtm")]
    for axis, (text, colour) in zip(grid[0], heads, strict=True):
        axis.set_title(text, color=colour)
    handles = [Patch(facecolor=_COLOURS[kind], label=name) for kind, name in _NAMES.items()]
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles))
    return figure


def _scene(config: RunConfig) -> Scene:
    dataset = build.build_dataset(config.dataset)
    if len(dataset) <= IMAGE:
        allowed = f"{IMAGE + 1} or more, since the figure shows image {IMAGE}"
        raise UserError(f"dataset.limit={len(dataset)}: allowed: {allowed}")
    device, name = resolve_device(config.device), config.backbone.name
    caches = build.build_caches(config)
    backbone = build.build_backbone(config.backbone, device, config.dtype, caches)
    backbone.condition_on(dataset)
    sample = dataset[IMAGE]
    latents = backbone.encode(sample.image)
    is_mini = isinstance(config.backbone, MiniBackboneConfig)
    image = np.pad(sample.image, _PADDING) if is_mini else backbone.decode(latents)
    return Scene(
        BACKBONE_TITLES[name], backbone, device, config.seed, latents, image, sample.labels[0]
    )


def _scores(scene: Scene, noisy: Tensor, timestep: int) -> Maps:
    """The scores (B, h, w) of noisy latents (B, C, H, W) in a forward without an operator."""
    recorder, batch = Recorder(Identity()), len(noisy)
    conditions = torch.full((batch,), scene.backbone.null_class)
    inputs = (noisy, torch.full((batch,), timestep), conditions)
    with apply(scene.backbone.denoiser, recorder, seed=scene.seed) as report:
        scene.backbone.predict(*(each.to(scene.device) for each in inputs))
    uses = {use.site.name: use for use in report.sites if use.part == "self"}
    upward = [call for call in recorder.calls if uses[call[0]].site.stage == "decoder"]
    name, metric, _ = (upward or recorder.calls)[0]
    grid = uses[name].grid
    assert grid is not None, "a site with a plan has a grid"
    return np.asarray(score_map(SCORE, metric, grid).float().cpu().numpy())


def _mask_row(scene: Scene) -> MaskRow:
    tome, lgtm = (
        token_maps(
            operator,
            scene.backbone,
            scene.latents,
            label=scene.label,
            timestep=MASK_TIMESTEP,
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
