"""Errors of images at all trials, outside the evaluation; each image is computed once and kept."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.config import ClassificationConfig, RunConfig
from bigain.data.base import Dataset
from bigain.devices import choose_threads, limited_threads, resolve_device
from bigain.engine import build
from bigain.engine.cache_folder import make_cache, named_cache
from bigain.engine.kept_measurements import as_json
from bigain.runs.calibrations import errors_folder
from bigain.runs.provenance import weights_of
from bigain.tasks.calibration import FullGrid, calibration_errors
from bigain.tasks.classifier import LOSSES, DiffusionClassifier

__all__ = ["RaceErrors", "gather_errors"]


@dataclass(frozen=True)
class RaceErrors:
    """All errors of some images.

    Attributes:
        errors: fp64 from fp32, shape (images, trials, classes of an image).
        hashes: Of the weights that they were computed with.
        computed: Images whose errors were computed now, and not kept before.

    """

    errors: Tensor
    hashes: Mapping[str, str]
    computed: int


def gather_errors(config: RunConfig, images: Dataset, positions: Sequence[int]) -> RaceErrors:
    """The errors of the images at these positions, in this order, of `task.race.classes` classes.

    Raises:
        UserError: Weights are missing, or an image cannot be read, or `paths.cache` cannot be used.

    """
    make_cache(config.paths.cache)
    ids = [images.image_ids[position] for position in positions]
    device = resolve_device(config.device)
    threads = choose_threads(config.threads, is_mini=config.backbone.is_mini)
    with named_cache(config.paths.cache), limited_threads(threads.count):
        caches = build.build_caches(config)
        backbone = build.build_backbone(config.backbone, device, config.dtype, caches)
        backbone.condition_on(images)
        weights = weights_of(backbone.hashes)
        kept = as_json(errors_folder(config) / _digest(weights), Tensor.tolist, _fp64)
        at = dict(zip(ids, positions, strict=True))

        def measure(left: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
            return _errors(config, backbone, images, device, [at[image] for image in left])

        computed = kept.complete(ids, measure, f"calibration of {config.title}")
    errors = torch.stack([kept[image_id] for image_id in ids])
    return RaceErrors(errors, weights, computed)


def _errors(
    config: RunConfig,
    backbone: Backbone,
    images: Dataset,
    device: torch.device,
    positions: Sequence[int],
) -> Iterator[tuple[int, Tensor]]:
    task = config.task_as(ClassificationConfig)
    grid = FullGrid(task.trial_list[-1], task.of_race.calibration_classes, config.seed)
    classifier = DiffusionClassifier(
        backbone,
        grid,
        LOSSES[task.loss].of(task.scored),
        seed=config.seed,
        batch_size=build.build_batch_size(config, backbone, device),
        device=device,
    )
    with build.build_compression(config, backbone.denoiser):
        yield from calibration_errors(classifier, backbone, images, positions)


def _digest(weights: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(weights, sort_keys=True).encode()).hexdigest()[:12]


def _fp64(plain: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(plain, dtype=torch.float64)
