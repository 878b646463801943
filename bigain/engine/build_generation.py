"""From the settings of `task=generation` to its objects: sampler, extractor, reference, judge."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from bigain.backbones.base import Backbone
from bigain.config import GenerationConfig, RunConfig
from bigain.data.references import SELECTIONS, load_reference
from bigain.errors import UserError
from bigain.features.base import DatasetImages, Extractor, decode_workers
from bigain.features.evaluator import Classify, GenerationEvaluator
from bigain.features.mini import MiniExtractor
from bigain.features.reference import (
    Reference,
    ReferenceSource,
    cached_reference,
    check_fits,
    read_reference,
)
from bigain.files import file_sha256
from bigain.tasks.sampling import Sampler

__all__ = ["build_evaluator", "build_sampler"]

_OF_EXTRACTOR = Callable[[Extractor], Callable[[], Reference]]


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


def build_evaluator(
    config: RunConfig, device: torch.device, *, progress: bool
) -> GenerationEvaluator:
    """What tells the worth of the run's images, its network loaded and its reference found.

    Raises:
        UserError: the extractor's weights or the real images are not there, or a file of statistics
            cannot be read or is of other features.

    """
    task = config.task_as(GenerationConfig)
    path = task.statistics
    real = _real_images(config, progress) if path is None else _statistics(path)
    extractor, classify = _extractor(task, device)
    reference, workers = real.of(extractor), decode_workers()
    return GenerationEvaluator(
        extractor, reference, real.content, classify, config.seed, workers, progress
    )


@dataclass(frozen=True)
class _Real:
    """What images are compared with: what tells it from others, and its reference by extractor."""

    content: str
    of: _OF_EXTRACTOR


def _extractor(task: GenerationConfig, device: torch.device) -> tuple[Extractor, Classify | None]:
    if task.extractor == "mini":
        mini = MiniExtractor(device)
        return mini, mini.classify
    from bigain.features.inception import InceptionExtractor  # noqa: PLC0415 -- dear to import

    return InceptionExtractor(task.extractor_weights, device), None


def _statistics(path: Path) -> _Real:
    """Statistics of a file, read and checked before any network is loaded."""
    try:
        reference = read_reference(path)
    except UserError as error:
        raise UserError(f"task.reference={error}") from None

    def of(extractor: Extractor) -> Callable[[], Reference]:
        check_fits(reference, extractor, f"task.reference={path}")
        return lambda: reference

    return _Real(file_sha256(path), of)


def _real_images(config: RunConfig, progress: bool) -> _Real:
    which = config.task_as(GenerationConfig).reference
    images = load_reference(config.dataset, which)
    dataset, content = config.dataset, images.content_hash
    split = "all" if which == "all" else dataset.split
    selection = f"{SELECTIONS[which]}, {len(images)}"
    source = ReferenceSource(dataset.name, split, content, selection)
    folder = config.paths.cache / "references"

    def of(extractor: Extractor) -> Callable[[], Reference]:
        real, workers = DatasetImages(images), decode_workers()
        compute = partial(cached_reference, folder, source, extractor, real, workers)
        return cache(lambda: compute(progress=progress))

    return _Real(content, of)
