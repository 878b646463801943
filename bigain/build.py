"""From settings to objects: the one place that knows which class a name stands for."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from bigain.backbones.base import Backbone
from bigain.backbones.mini import load_mini
from bigain.build_operator import build_operator
from bigain.config import (
    BackboneConfig,
    ClassificationConfig,
    DatasetConfig,
    NoneConfig,
    RunConfig,
)
from bigain.data.base import Dataset
from bigain.data.fashion_mnist import FashionMNIST
from bigain.devices import DTYPES
from bigain.patching import apply
from bigain.site_selection import SiteSelection
from bigain.tasks.classifier import DiffusionClassifier
from bigain.tasks.losses import LOSSES
from bigain.tasks.protocol import StagedProtocol

__all__ = [
    "build_acceleration",
    "build_backbone",
    "build_classifier",
    "build_dataset",
    "build_sites",
]

_BACKBONES: dict[str, Callable[..., Backbone]] = {"mini_unet": load_mini, "mini_dit": load_mini}
_DATASETS: dict[str, Callable[[DatasetConfig], Dataset]] = {
    "fashion_mnist": lambda config: FashionMNIST(limit=config.limit, root=config.root),
}


def build_dataset(config: DatasetConfig) -> Dataset:
    """The dataset with its limit; raises UserError if data is missing."""
    return _DATASETS[config.name](config)


def build_backbone(config: BackboneConfig, device: torch.device, dtype: str) -> Backbone:
    """The backbone with its weights on `device`; raises UserError if they are not as named."""
    return _BACKBONES[config.name](config.name, config.revision, device, DTYPES[dtype])


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
