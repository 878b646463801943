"""From settings to objects: which class a name stands for."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn

from bigain.backbones.base import Backbone
from bigain.backbones.cache import TensorCache
from bigain.backbones.mini import garment, load_mini
from bigain.backbones.pipeline import Caches
from bigain.config import (
    BackboneConfig,
    ClassificationConfig,
    DatasetConfig,
    EfficiencyConfig,
    GenerationConfig,
    MiniBackboneConfig,
    RunConfig,
)
from bigain.data.base import SELECTIONS, OpenedDataset, load_dataset, load_reference
from bigain.data.contents import files_hash, require_readable
from bigain.devices import DTYPES, machine_name, reset_peak_memory, resolve_device
from bigain.engine.build_backbone import published_class
from bigain.engine.build_calibrated import build_placed
from bigain.engine.build_protocol import build_packing
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
from bigain.patching.apply import apply
from bigain.patching.compiling import Compiled
from bigain.patching.onednn import use_onednn
from bigain.patching.projections import KeptProjections
from bigain.runs.identity import resolved
from bigain.tasks.batch_size import evaluations_per_second, fastest_size, kept_size
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.efficiency import Stopwatch, TimeSettings, build_random
from bigain.tasks.flops import FlopCount, count_flops
from bigain.tasks.protocol import Allocation
from bigain.tasks.sampling import Sampler

_LOG = logging.getLogger(__name__)

__all__ = [
    "build_backbone",
    "build_batch_size",
    "build_caches",
    "build_classifier",
    "build_compiled",
    "build_compression",
    "build_dataset",
    "build_evaluator",
    "build_flops",
    "build_sampler",
    "build_stopwatch",
    "warn_of_lists",
]


def build_dataset(config: DatasetConfig) -> OpenedDataset:
    """The dataset with its limit; raises UserError if data is missing.

    Of the user's own images the headers are read: pixels of an unknown range are refused at once.
    """
    dataset = load_dataset(config)
    if config.kind.is_own:
        require_readable(dataset, range_only=True)
    return dataset


def warn_of_lists(config: DatasetConfig, dataset: OpenedDataset) -> None:
    """Say that the lists of a dataset have another number of images than the published split.

    Then the first images of the order are others, too.
    """
    if not dataset.is_published:
        _LOG.warning("dataset=%s: %d images %s", config.name, len(dataset), dataset.place)


def build_backbone(
    config: BackboneConfig, device: torch.device, dtype: str, caches: Caches | None = None
) -> Backbone:
    """The backbone with its weights on `device`; raises UserError if they are not as named.

    `condition_on` must follow, except for backbones that know the classes of one dataset.  Without
    `caches` every latent and every embedding is computed again.
    """
    backbone: Backbone
    if isinstance(config, MiniBackboneConfig):
        backbone = load_mini(config.name, config.revision, device, DTYPES[dtype])
    else:
        caches = caches or Caches(TensorCache(None, 0), TensorCache(None, 0))
        backbone = published_class(config)(config, device, DTYPES[dtype], caches)
    use_onednn(backbone.denoiser)
    return backbone


def build_caches(config: RunConfig) -> Caches:
    """The caches of latents and prompt embeddings; nothing is read or written yet."""
    settings, folder = config.cache, config.paths.cache
    return Caches(
        latents=TensorCache(folder / "latents" if settings.latents else None, settings.gigabytes),
        prompts=TensorCache(folder / "prompts" if settings.prompts else None, settings.gigabytes),
    )


def build_compiled(config: RunConfig, denoiser: nn.Module) -> Compiled | None:
    """What compiles the denoiser of the run; None with `compile=false`."""
    if not config.compile:
        return None
    return Compiled(denoiser, config.paths.cache / "code", by_block=not config.backbone.is_mini)


def build_compression(config: RunConfig, denoiser: nn.Module) -> AbstractContextManager[object]:
    """A context in which the operator is applied to the denoiser at its sites.

    With `operator=none` the denoiser stays as it is, so the baseline runs without a hook.  Raises
    UserError if the sites do not exist.
    """
    if config.operator.is_baseline:
        return nullcontext()
    operator, sites = build_placed(config)
    return apply(denoiser, operator, sites=sites, seed=config.seed)


def build_classifier(
    config: RunConfig, backbone: Backbone, protocol: Allocation, device: torch.device
) -> DiffusionClassifier:
    """The classifier of `task=classification` around `backbone` under `protocol`."""
    task = config.task_as(ClassificationConfig)
    packing, fixed = build_packing(config, protocol)
    return DiffusionClassifier(
        backbone,
        protocol,
        LOSSES[task.loss].of(task.scored),
        seed=config.seed,
        batch_size=build_batch_size(config, backbone, device),
        device=device,
        packing=packing,
        fixed=fixed,
    )


def build_batch_size(config: RunConfig, backbone: Backbone, device: torch.device) -> int:
    """The batch size of a classification; `auto` is measured where no file has it yet."""
    if config.batch_size != "auto":
        return config.batch_size
    plain = resolved(config)
    about = {
        **{"machine": machine_name(device), "threads": torch.get_num_threads()},
        **{key: plain[key] for key in ("dtype", "operator")},
        **{key: plain["backbone"].get(key) for key in ("name", "sites", "attention")},
        "classes": backbone.num_classes,
    }
    kept = KeptProjections(backbone.denoiser, backbone.encoder_hidden_states)
    rate = partial(evaluations_per_second, backbone, device, kept=kept)

    def measure() -> int:
        with build_compression(config, backbone.denoiser), kept:
            size = fastest_size(partial(rate, classes_each=backbone.num_classes))
        reset_peak_memory(device)
        return size

    return kept_size(config.paths.cache / "batch_sizes.json", about, measure)


def build_flops(config: RunConfig) -> FlopCount:
    """FLOPs of one forward of the run's backbone with its operator at its sites."""
    if config.operator.is_baseline:
        return count_flops(config.backbone.name, side=config.backbone.latent_side)
    operator, sites = build_placed(config)
    return count_flops(config.backbone.name, operator, sites, config.backbone.latent_side)


def build_stopwatch(config: RunConfig) -> Stopwatch:
    """The stopwatch around a randomly initialised denoiser, without and with the operator."""
    task = config.task_as(EfficiencyConfig)
    settings = TimeSettings(
        backbone=config.backbone.name,
        batch_size=config.named_batch_size,
        steps=task.steps,
        warmup=task.warmup,
        device=resolve_device(config.device),
        dtype=DTYPES[config.dtype],
        side=config.backbone.latent_side,
    )
    attention = getattr(config.backbone, "attention", "sdpa")
    denoiser = build_random(config.backbone.name, attention, config.seed, settings)
    is_baseline = config.operator.is_baseline
    compressed = None if is_baseline else partial(build_compression, config, denoiser)
    return Stopwatch(denoiser, compressed, settings)


def build_sampler(config: RunConfig, backbone: Backbone, device: torch.device) -> Sampler:
    """The sampler of the run around `backbone`."""
    task = config.task_as(GenerationConfig)
    return Sampler(
        backbone,
        scheduler=task.sampler,
        steps=task.steps,
        guidance_scale=task.guidance_scale,
        seed=config.seed,
        images_per_forward=task.named_images_per_forward,
        device=device,
    )


def build_evaluator(
    config: RunConfig, device: torch.device, *, progress: bool
) -> GenerationEvaluator:
    """The evaluator of the run's images, with its network loaded; real images are read later.

    Raises:
        UserError: The extractor's weights or the real images are missing, or a file of statistics
            cannot be read or has other features.

    """
    task = config.task_as(GenerationConfig)
    path = task.statistics
    real = _real_images(config, progress) if path is None else _statistics(path)
    extractor, classify = _extractor(task, device)
    return GenerationEvaluator(
        extractor,
        real.reference_for(extractor),
        real.content,
        classify,
        config.seed,
        decode_workers(),
        progress,
    )


@dataclass(frozen=True)
class _Real:
    """The real images of a comparison: their hash, and a function that prepares the reference.

    `reference_for(extractor)` checks what can be checked at once and returns a function without
    arguments that computes the reference when it is first called.
    """

    content: str
    reference_for: Callable[[Extractor], Callable[[], Reference]]


def _extractor(task: GenerationConfig, device: torch.device) -> tuple[Extractor, Classify | None]:
    if task.extractor == "mini":
        mini = MiniExtractor(device)
        return mini, mini.classify
    from bigain.features.inception import InceptionExtractor  # noqa: PLC0415 -- slow to import

    return InceptionExtractor(task.extractor_weights, device), None


def _statistics(path: Path) -> _Real:
    """Statistics of a file, read and checked before any network is loaded."""
    try:
        reference = read_reference(path)
    except UserError as error:
        raise UserError(f"task.reference={error}") from None

    def reference_for(extractor: Extractor) -> Callable[[], Reference]:
        check_fits(reference, extractor, f"task.reference={path}")
        return lambda: reference

    return _Real(file_sha256(path), reference_for)


def _real_images(config: RunConfig, progress: bool) -> _Real:
    which = config.task_as(GenerationConfig).reference
    images = load_reference(config.dataset, which)
    dataset = config.dataset
    content = files_hash(images, config.paths.cache) or images.content_hash
    split = "all" if which == "all" else dataset.facts.split
    selection = f"{SELECTIONS[which]}, {len(images)}"
    source = ReferenceSource(dataset.name, split, content, selection)
    folder = config.paths.cache / "references"

    def reference_for(extractor: Extractor) -> Callable[[], Reference]:
        # As the mini backbones see them: a folder's images have any size.
        view = garment if extractor.name == "mini" else None
        real, workers = DatasetImages(images, view), decode_workers()
        compute = partial(cached_reference, folder, source, extractor, real, workers)
        return cache(lambda: compute(progress=progress))

    return _Real(images.content_hash, reference_for)
