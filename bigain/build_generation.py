"""From the settings of `task=generation` to its objects: sampler, extractor, reference, judge."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from bigain.backbones.base import Backbone
from bigain.build import build_dataset
from bigain.config import DatasetConfig, GenerationConfig, RunConfig
from bigain.data.base import Dataset
from bigain.data.fashion_mnist import SLICE_SIZE
from bigain.data.pets import load_all_pets
from bigain.features.base import DatasetImages, Extractor
from bigain.features.judge import Judge
from bigain.features.mini import MiniExtractor
from bigain.features.reference import Reference, ReferenceSource, cached_reference
from bigain.tasks.sampling import Sampler

__all__ = ["build_judge", "build_reference", "build_sampler"]

_WORKERS = 2


def build_sampler(config: RunConfig, backbone: Backbone, device: torch.device) -> Sampler:
    """The sampler of the run around `backbone`."""
    task = config.task_as(GenerationConfig)
    return Sampler(
        backbone,
        scheduler=task.sampler,
        steps=task.steps,
        guidance_scale=task.guidance_scale,
        seed=config.seed,
        images_per_forward=task.images_per_forward,
        device=device,
    )


def build_judge(config: RunConfig, device: torch.device, *, progress: bool) -> Judge:
    """What tells the worth of the run's images, its network loaded and its real images found.

    Raises:
        UserError: the extractor's weights or the real images are not there.

    """
    task = config.task_as(GenerationConfig)
    real = build_reference(config.dataset, task.reference)
    if task.extractor == "mini":
        mini = MiniExtractor(device)
        reference = _reference(config, mini, real, progress=progress)
        classify = mini.classify
        return Judge(mini, reference, real.content_hash, classify, config.seed, _WORKERS, progress)
    from bigain.features.inception import InceptionExtractor  # noqa: PLC0415 -- dear to import

    extractor = InceptionExtractor(task.extractor_weights, device)
    reference = _reference(config, extractor, real, progress=progress)
    return Judge(extractor, reference, real.content_hash, None, config.seed, _WORKERS, progress)


def build_reference(config: DatasetConfig, which: str) -> Dataset:
    """The real images: `split`, `images` or `all`, see `GenerationConfig`.

    The split of Fashion-MNIST is what ships of it, so that it is the same on every machine.

    Raises:
        UserError: data is missing.

    """
    if which == "images":
        return build_dataset(config)
    if which == "all":
        return load_all_pets(config.root)
    limit = SLICE_SIZE if config.name == "fashion_mnist" else None
    return build_dataset(config.model_copy(update={"limit": limit}))


def _reference(
    config: RunConfig, extractor: Extractor, real: Dataset, *, progress: bool
) -> Callable[[], Reference]:
    which = config.task_as(GenerationConfig).reference
    source = ReferenceSource(config.dataset.name, which, real.content_hash)
    folder: Path = config.paths.cache / "references"
    images = DatasetImages(real)
    return cache(
        lambda: cached_reference(folder, source, extractor, images, _WORKERS, progress=progress)
    )
