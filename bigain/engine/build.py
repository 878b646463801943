"""From settings to objects: the one place that knows which class a name stands for."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from bigain.backbones.base import Backbone
from bigain.backbones.cache import TensorCache
from bigain.backbones.mini import load_mini
from bigain.backbones.pipeline import Caches
from bigain.config import (
    BackboneConfig,
    ClassificationConfig,
    DatasetConfig,
    MiniBackboneConfig,
    NoneConfig,
    RunConfig,
)
from bigain.data.base import Dataset
from bigain.data.loaders import load_dataset
from bigain.devices import DTYPES
from bigain.engine.build_operator import build_operator
from bigain.patching.apply import apply
from bigain.patching.selection import SiteSelection
from bigain.tasks.classifier import DiffusionClassifier
from bigain.tasks.losses import LOSSES
from bigain.tasks.protocol import StagedProtocol

__all__ = [
    "build_acceleration",
    "build_backbone",
    "build_caches",
    "build_classifier",
    "build_dataset",
    "build_sites",
]


def build_dataset(config: DatasetConfig) -> Dataset:
    """The dataset with its limit; raises UserError if data is missing."""
    return load_dataset(config)


def build_backbone(
    config: BackboneConfig, device: torch.device, dtype: str, caches: Caches | None = None
) -> Backbone:
    """The backbone with its weights on `device`; raises UserError if they are not as named.

    It knows no class before `condition_on`, unless it was made for one dataset alone.  Without
    `caches` it computes every latent and every embedding again.
    """
    if isinstance(config, MiniBackboneConfig):
        return load_mini(config.name, config.revision, device, DTYPES[dtype])
    caches = caches or Caches(TensorCache(None, 0), TensorCache(None, 0))
    return _published(config.name)(config, device, DTYPES[dtype], caches)


def _published(name: str) -> Callable[..., Backbone]:
    """The class of a published backbone; imported here, since text encoders take a second."""
    from bigain.backbones.dit import ClassConditionalDiT  # noqa: PLC0415
    from bigain.backbones.stable_diffusion import StableDiffusion  # noqa: PLC0415

    return ClassConditionalDiT if name == "dit_xl2_512" else StableDiffusion


def build_caches(config: RunConfig) -> Caches:
    """Where latents and prompt embeddings are kept between runs; nothing is read or made yet."""
    settings, folder = config.cache, config.paths.cache
    return Caches(
        latents=TensorCache(folder / "latents" if settings.latents else None, settings.gigabytes),
        prompts=TensorCache(folder / "prompts" if settings.prompts else None, settings.gigabytes),
    )


def build_sites(config: RunConfig) -> SiteSelection:
    """Where the operator acts: the backbone's blocks, and the operator's scope inside them."""
    sites, scope = config.backbone.sites, getattr(config.operator, "scope", "self")
    return SiteSelection(stages=sites.stages, levels=sites.levels, blocks=sites.blocks, scope=scope)


def build_acceleration(config: RunConfig, denoiser: nn.Module) -> AbstractContextManager[object]:
    """The operator at its sites for as long as the context lasts.

    Without an operator (`operator=none`) the denoiser stays untouched: the baseline of every
    comparison runs without a hook.  Raises UserError if the sites do not exist.
    """
    if isinstance(config.operator, NoneConfig):
        return nullcontext()
    operator, sites = build_operator(config.operator), build_sites(config)
    return apply(denoiser, operator, sites=sites, seed=config.seed)


def build_classifier(
    config: RunConfig, backbone: Backbone, device: torch.device
) -> DiffusionClassifier:
    """The classifier of `task=classification` around `backbone`."""
    task = config.task_as(ClassificationConfig)
    return DiffusionClassifier(
        backbone,
        StagedProtocol(tuple(task.trial_list), tuple(task.keep_list)),
        LOSSES[task.loss],
        seed=config.seed,
        batch_size=config.batch_size,
        device=device,
    )
