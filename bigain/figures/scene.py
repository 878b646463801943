"""What Figures 5 and 6 look at: one real image, and the models that see it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.config import MiniBackboneConfig, RunConfig
from bigain.devices import limited_threads, resolve_device
from bigain.engine import build
from bigain.errors import UserError
from bigain.figures.request import FigureRequest

__all__ = ["IMAGE", "SUBJECTS", "Scene", "scenes"]

SUBJECTS = {
    "mini": (("mini_unet", "fashion_mnist"), ("mini_dit", "fashion_mnist")),
    "paper": (("sd20", "pets"),),
}
"""Profile -> the backbones, and the dataset that the image is of."""

IMAGE = 17
"""Position of the image in the dataset's fixed order."""

_TITLES = {"mini_unet": "mini U-Net", "mini_dit": "mini DiT", "sd20": "SD-2.0"}
_PADDING = 2


@dataclass(frozen=True, eq=False)
class Scene:
    """One image and one backbone.

    Attributes:
        title: What readers call the backbone.
        backbone: With its weights.
        device: Where it lies.
        seed: Of the noise.
        latents: Of the image, clean, (1, C, H, W).
        image: As the backbone sees it, (H, W) or (H, W, 3).
        label: Its class.

    """

    title: str
    backbone: Backbone
    device: torch.device
    seed: int
    latents: Tensor
    image: npt.NDArray[np.uint8]
    label: int


@contextmanager
def scenes(request: FigureRequest) -> Iterator[list[Scene]]:
    """The scenes of a profile, for as long as the context lasts: torch keeps to one thread.

    Several threads add up in another order, and the bytes of a picture would depend on that.

    Raises:
        UserError: Weights or data are missing.

    """
    subjects = dict(SUBJECTS[request.profile])
    names = request.chosen(list(subjects))
    configs = request.configs([(f"backbone={name}", f"dataset={subjects[name]}") for name in names])
    with limited_threads(1):
        yield [_scene(config) for config in configs]


def _scene(config: RunConfig) -> Scene:
    dataset = build.build_dataset(config.dataset)
    if len(dataset) <= IMAGE:
        raise UserError(
            f"dataset.limit={len(dataset)}: allowed: {IMAGE + 1} or more, for its image"
        )
    device, name = resolve_device(config.device), config.backbone.name
    caches = build.build_caches(config)
    backbone = build.build_backbone(config.backbone, device, config.dtype, caches)
    backbone.condition_on(dataset)
    sample = dataset[IMAGE]
    latents = backbone.encode(sample.image)
    is_mini = isinstance(config.backbone, MiniBackboneConfig)
    image = np.pad(sample.image, _PADDING) if is_mini else backbone.decode(latents)
    return Scene(_TITLES[name], backbone, device, config.seed, latents, image, sample.labels[0])
