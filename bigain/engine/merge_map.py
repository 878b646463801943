"""A picture of what the operator of a run does to its first image, for dashboards.

It is drawn from one more forward of the model, at the end of a run and only for a tracker.  The
results of the run do not depend on it.
"""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from bigain.backbones.base import Backbone
from bigain.config import RunConfig
from bigain.engine.build_operator import build_operator, build_sites
from bigain.runs.images import MERGE_MAP
from bigain.tasks.classification import ClassificationTask
from bigain.tasks.generation import GenerationTask
from bigain.tasks.task import Task

__all__ = ["draw_merge_map", "wants_merge_map"]

_LOG = logging.getLogger(__name__)

_TIMESTEP = 325
"""Where the images are noisy, and their shapes still there."""
_PADDING = 2
"""The mini backbones see images with a border of two pixels."""


def wants_merge_map(config: RunConfig) -> bool:
    """Whether somebody shows the run, and it has images and merged tokens to show."""
    is_shown = bool(config.tracking.trackers) and config.tracking.mode != "disabled"
    reduces_tokens = not (config.operator.is_baseline or config.operator.is_calibrated)
    return is_shown and config.needs_images and reduces_tokens


def draw_merge_map(config: RunConfig, task: Task, folder: Path) -> None:
    """Write `merge_map.png` into the folder of a run; if that fails there is one warning.

    Args:
        config: The run.
        task: Its task, whose operator is not applied now.
        folder: The folder of the run; generated images must be in it.

    """
    try:
        _draw(config, task, folder / MERGE_MAP)
    except Exception as error:  # a picture never costs a result
        reason = " ".join(str(error).split())
        _LOG.warning("%s: not drawn (%s: %s)", MERGE_MAP, type(error).__name__, reason)


def _draw(config: RunConfig, task: Task, path: Path) -> None:
    from bigain.tasks.operator_pictures import draw_rows, operator_subplots  # noqa: PLC0415
    from bigain.tasks.token_maps import token_maps  # noqa: PLC0415 -- matplotlib is dear to import

    assert isinstance(task, ClassificationTask | GenerationTask)
    image, condition = _first(task)
    backbone = task.backbone
    latents = backbone.encode(image)
    maps = token_maps(
        build_operator(config.operator),
        backbone,
        latents,
        label=condition,
        timestep=_TIMESTEP,
        seed=config.seed,
        sites=build_sites(config),
        device=task.device,
    )
    seen = _seen(backbone, latents, is_mini=config.backbone.is_mini)
    draw_rows(path, [operator_subplots(maps, seen)])


def _first(task: ClassificationTask | GenerationTask) -> tuple[npt.NDArray[np.uint8], int]:
    """The first image of a run, and the condition under which the model sees it."""
    if isinstance(task, GenerationTask):
        return task.images[0], task.conditions.numbers[0]
    sample = task.dataset[0]
    return sample.image, sample.labels[0] if sample.labels else task.backbone.null_class


def _seen(backbone: Backbone, latents: torch.Tensor, *, is_mini: bool) -> npt.NDArray[np.uint8]:
    """The image (H, W) as the model sees it, in grey."""
    decoded = backbone.decode(latents)
    grey = np.asarray(Image.fromarray(decoded).convert("L"))
    return np.pad(grey, _PADDING) if is_mini else grey
