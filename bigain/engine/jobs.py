"""What each task measures: the one place that knows which work a task's name stands for.

A job is a finite list of records, each of which can be computed whether or not the others exist;
the rest of a run (identity, journal, locks, resume, metrics) is the same for all tasks.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bigain.config import EfficiencyConfig, GenerationConfig, NoneConfig, RunConfig
from bigain.devices import (
    DTYPES,
    attention_backend,
    peak_memory,
    reset_peak_memory,
    resolve_device,
)
from bigain.engine import build, build_generation
from bigain.engine.build_operator import build_operator
from bigain.metrics import Metric
from bigain.runs.identity import run_id
from bigain.runs.images import RunImages
from bigain.runs.session import Carry
from bigain.runs.store import RunStore
from bigain.runs.summary import Evaluate
from bigain.tasks.classification import classify_images
from bigain.tasks.conditions import conditions_of
from bigain.tasks.efficiency import (
    FLOPS_ID,
    Stopwatch,
    TimeSettings,
    build_random,
    flops_record,
)
from bigain.tasks.flops import FlopCount, count_flops
from bigain.tasks.generation import Write, generate_images

__all__ = ["JOBS", "Job", "configured_flops", "make_job"]

Record = dict[str, Any]
_LOG = logging.getLogger(__name__)


def _nothing(_records: Sequence[Mapping[str, Any]]) -> Generator[Record, None, None]:
    yield from ()


@dataclass(frozen=True)
class Job:
    """The work of a run.

    Attributes:
        ids: The `image_id` of every record, in order; for efficiency the number of the measurement.
        unit: What one record is of, for people.
        records: Computes the records with these ids, one after the other, in their order.
        attention_backend: How the model computes attention, None if no tensor has numbers.
        hashes: Name -> sha256 of weights and data that were loaded.
        notes: Further entries of the manifest.
        source: Where the weights came from.
        facts: What the manifest says of how it went, asked for when the records are made.
        lost: Of the given records those whose files are lost.
        again: Makes the files of the given records again, the same bytes.
        carry: Brings the files that belong to a record from the folder of another run.
        judge: Measures what only all records together tell; None if metrics follow from them.

    """

    ids: Sequence[int]
    unit: str
    records: Callable[[Sequence[int]], Generator[Record, None, None]]
    attention_backend: str | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    facts: Callable[[], Mapping[str, Any]] = dict
    lost: Callable[[Sequence[Record]], Sequence[Mapping[str, Any]]] = lambda _records: ()
    again: Callable[[Sequence[Mapping[str, Any]]], Generator[Record, None, None]] = _nothing
    carry: Carry = lambda _folder, _record: True
    judge: Evaluate | None = None


def make_job(config: RunConfig) -> Job:
    """The job of a run, with what it needs loaded.

    Raises:
        UserError: data, weights or device are not what the configuration says.

    """
    return JOBS[config.task.name](config)


def configured_flops(config: RunConfig) -> FlopCount:
    """FLOPs of one forward of the run's backbone with its operator at its sites."""
    if isinstance(config.operator, NoneConfig):
        return count_flops(config.backbone.name)
    operator, sites = build_operator(config.operator), build.build_sites(config)
    return count_flops(config.backbone.name, operator, sites)


def _classification(config: RunConfig) -> Job:
    device = resolve_device(config.device)
    reset_peak_memory(device)
    dataset = build.build_dataset(config.dataset)
    caches = build.build_caches(config)
    backbone = build.build_backbone(config.backbone, device, config.dtype, caches)
    backbone.condition_on(dataset)
    classifier = build.build_classifier(config, backbone, device)
    position = {image_id: index for index, image_id in enumerate(dataset.image_ids)}

    def records(ids: Sequence[int]) -> Generator[Record, None, None]:
        with build.build_acceleration(config, backbone.denoiser):
            yield from classify_images(classifier, backbone, dataset, [position[i] for i in ids])

    return Job(
        dataset.image_ids,
        "image",
        records,
        attention_backend(backbone.denoiser),
        {**backbone.hashes, f"dataset/{config.dataset.name}": dataset.content_hash},
        source=backbone.source,
        facts=lambda: {
            "peak_memory_bytes": peak_memory(device),
            "micro_batch": classifier.micro_batch,
        },
    )


def _generation(config: RunConfig) -> Job:
    task = config.task_as(GenerationConfig)
    device = resolve_device(config.device)
    reset_peak_memory(device)
    dataset = build.build_dataset(config.dataset)
    conditions = conditions_of(dataset)
    evaluator = build_generation.build_evaluator(config, device, progress=sys.stderr.isatty())
    backbone = build.build_backbone(
        config.backbone, device, config.dtype, build.build_caches(config)
    )
    backbone.condition_on(conditions.classes)
    sampler = build_generation.build_sampler(config, backbone, device)
    folder = RunStore(config.paths.results, run_id(config)).folder
    images = RunImages(folder, len(dataset), task.image_format)

    def drawn(write: Write, indices: Sequence[int]) -> Generator[Record, None, None]:
        evaluator.reference()  # a real image that cannot be read ends the run before it begins
        with build.build_acceleration(config, backbone.denoiser):
            yield from generate_images(sampler, backbone, conditions, write, indices)

    def again(lost: Sequence[Mapping[str, Any]]) -> Generator[Record, None, None]:
        promised = {record["image_id"]: record["sha256"] for record in lost}
        return drawn(lambda index, image: images.write(index, image, promised[index]), [*promised])

    def judged(made: list[Record]) -> tuple[list[Record], list[Metric]]:
        images.check(made)
        images.write_grid(f"{config.title}, seed {config.seed}", conditions.texts)
        with warnings.catch_warnings(record=True) as caught:
            evaluation = evaluator.evaluate(images, made)
        for each in {str(warning.message) for warning in caught}:
            _LOG.warning("%s", each)
        return evaluation.records, evaluation.metrics

    judged_by = {
        f"extractor/{evaluator.extractor.name}": evaluator.extractor.revision,
        f"reference/{config.dataset.name}": evaluator.content,
    }
    return Job(
        range(len(dataset)),
        "image",
        partial(drawn, images.write),
        attention_backend(backbone.denoiser),
        {**backbone.hashes, f"dataset/{config.dataset.name}": dataset.content_hash} | judged_by,
        source=backbone.source,
        facts=lambda: {
            "peak_memory_bytes": peak_memory(device),
            "images_per_forward": sampler.images_per_forward,
        },
        lost=images.lost,
        again=again,
        carry=images.take_over,
        judge=judged,
    )


def _efficiency(config: RunConfig) -> Job:
    task = config.task_as(EfficiencyConfig)
    stopwatch = _stopwatch(config) if "time" in task.measures else None
    ids = [FLOPS_ID] if "flops" in task.measures else []
    ids += range(FLOPS_ID + 1, FLOPS_ID + 1 + task.repeats) if stopwatch else []

    def records(todo: Sequence[int]) -> Generator[Record, None, None]:
        if FLOPS_ID in todo:
            has_operator = not isinstance(config.operator, NoneConfig)
            yield flops_record(configured_flops(config), has_operator=has_operator)
        repeats = [each for each in todo if each != FLOPS_ID]
        if stopwatch and repeats:
            yield from stopwatch.records(repeats)

    if stopwatch is None:
        return Job(ids, "count", records, notes={"weights": "none: counted on the meta device"})
    weights = f"random, seed {config.seed}: time does not depend on their values"
    return Job(ids, "repeat", records, stopwatch.attention, notes={"weights": weights})


def _stopwatch(config: RunConfig) -> Stopwatch:
    task = config.task_as(EfficiencyConfig)
    settings = TimeSettings(
        backbone=config.backbone.name,
        batch_size=config.batch_size,
        steps=task.steps,
        warmup=task.warmup,
        device=resolve_device(config.device),
        dtype=DTYPES[config.dtype],
    )
    attention = getattr(config.backbone, "attention", "sdpa")
    denoiser = build_random(config.backbone.name, attention, config.seed, settings)
    is_bare = isinstance(config.operator, NoneConfig)
    accelerate = None if is_bare else partial(build.build_acceleration, config, denoiser)
    return Stopwatch(denoiser, accelerate, settings)


JOBS: Mapping[str, Callable[[RunConfig], Job]] = {
    "classification": _classification,
    "generation": _generation,
    "efficiency": _efficiency,
}
"""Task -> what makes its job."""
