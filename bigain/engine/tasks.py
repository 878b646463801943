"""The task object of a run: `TASKS` maps `task.name` to the function that builds it."""

import sys
from collections.abc import Callable, Mapping
from functools import partial

import torch

from bigain.backbones.base import Backbone, Classes
from bigain.config import EfficiencyConfig, GenerationConfig, RunConfig
from bigain.devices import attention_backend, reset_peak_memory, resolve_device
from bigain.engine import build
from bigain.engine.build_calibrated import check_calibrated
from bigain.engine.build_operator import check_operator
from bigain.engine.build_protocol import build_protocol, check_weights
from bigain.engine.inputs import contents_of, stamps_of
from bigain.patching.compiling import require_compiler
from bigain.runs.baselines import baseline_samples, check_baseline
from bigain.runs.identity import run_id
from bigain.runs.images import RunImages
from bigain.runs.provenance import Origin
from bigain.runs.store import RunStore
from bigain.tasks.classification import ClassificationTask
from bigain.tasks.efficiency import EfficiencyTask
from bigain.tasks.generation import GenerationTask, conditions_of
from bigain.tasks.task import Task

__all__ = ["TASKS", "build_task"]


def build_task(config: RunConfig) -> Task:
    """The task of a run, with model, data and operator loaded.

    Raises:
        UserError: A setting of the operator is not allowed, data, weights or device are not what
            the configuration says, or `compile=true` has no compiler.

    """
    check_operator(config)
    if config.compile:
        require_compiler(resolve_device(config.device))
    return TASKS[config.task.name](config)


def _classification(config: RunConfig) -> ClassificationTask:
    stamps = stamps_of(config)
    device = _fresh_device(config)
    dataset = build.build_dataset(config.dataset)
    protocol, calibrated_with = build_protocol(config, dataset)
    backbone = _backbone(config, device, dataset)
    check_weights(config, calibrated_with, backbone.hashes)
    check_calibrated(config, set(dataset.image_ids), backbone.hashes)
    origin = _origin(config, backbone, dataset.content_hash, stamps)
    check_baseline(config, config.paths.results, origin.hashes)
    build.warn_of_lists(config.dataset, dataset)
    return ClassificationTask(
        build.build_classifier(config, backbone, protocol, device),
        backbone,
        dataset,
        origin=origin,
        compressed=partial(build.build_compression, config, backbone.denoiser),
        baseline=partial(baseline_samples, config, config.paths.results),
        device=device,
        compiled=build.build_compiled(config, backbone.denoiser),
    )


def _generation(config: RunConfig) -> GenerationTask:
    task = config.task_as(GenerationConfig)
    stamps = stamps_of(config)
    device = _fresh_device(config)
    dataset = build.build_dataset(config.dataset)
    conditions = conditions_of(dataset)
    evaluator = build.build_evaluator(config, device, progress=sys.stderr.isatty())
    backbone = _backbone(config, device, conditions.classes)
    build.warn_of_lists(config.dataset, dataset)
    folder = RunStore(config.paths.results, run_id(config)).folder
    evaluated_with = {
        f"extractor/{evaluator.extractor.name}": evaluator.extractor.revision,
        f"reference/{config.dataset.name}": evaluator.content,
    }
    return GenerationTask(
        build.build_sampler(config, backbone, device),
        backbone,
        conditions,
        RunImages(folder, len(dataset), task.image_format),
        evaluator,
        title=f"{config.title}, seed {config.seed}",
        origin=_origin(config, backbone, dataset.content_hash, stamps, evaluated_with),
        compressed=partial(build.build_compression, config, backbone.denoiser),
        device=device,
        compiled=build.build_compiled(config, backbone.denoiser),
    )


def _efficiency(config: RunConfig) -> EfficiencyTask:
    task = config.task_as(EfficiencyConfig)
    is_timed = "time" in task.measures
    random = f"random, seed {config.seed}: time does not depend on their values"
    return EfficiencyTask(
        partial(build.build_flops, config) if "flops" in task.measures else None,
        build.build_stopwatch(config) if is_timed else None,
        repeats=task.repeats,
        has_operator=not config.operator.is_baseline,
        weights=random if is_timed else "none: counted on the meta device",
    )


def _fresh_device(config: RunConfig) -> torch.device:
    device = resolve_device(config.device)
    reset_peak_memory(device)
    return device


def _backbone(config: RunConfig, device: torch.device, classes: Classes) -> Backbone:
    caches = build.build_caches(config)
    backbone = build.build_backbone(config.backbone, device, config.dtype, caches)
    backbone.condition_on(classes)
    return backbone


def _origin(
    config: RunConfig,
    backbone: Backbone,
    content_hash: str,
    stamps: Mapping[str, str],
    evaluated_with: Mapping[str, str] | None = None,
) -> Origin:
    data = {f"dataset/{config.dataset.name}": content_hash}
    hashes = {**backbone.hashes, **data, **(evaluated_with or {}), **contents_of(config)}
    backend = attention_backend(backbone.denoiser)
    return Origin(backend, hashes, backbone.source, {"stamps": dict(stamps)})


TASKS: Mapping[str, Callable[[RunConfig], Task]] = {
    "classification": _classification,
    "generation": _generation,
    "efficiency": _efficiency,
}
"""`task.name` -> what builds the task."""
