"""`bigain analysis bands`: errors by frequency of a backbone, without and with operators.

The trials are those of the first stage of the runs that the same settings make, with their noise.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bigain.config import ClassificationConfig, RunConfig
from bigain.data.images import UnreadableImage
from bigain.devices import choose_threads, limited_threads, resolve_device
from bigain.engine import build
from bigain.engine.build_operator import check_operator
from bigain.errors import UserError
from bigain.metrics.bands import ALL, BandErrors, band_estimates
from bigain.metrics.margins import Estimate
from bigain.runs.identity import dataset_name, resolved
from bigain.runs.progress import Meter
from bigain.tasks.batches import MicroBatches
from bigain.tasks.classification import latents_of
from bigain.tasks.error_maps import BandRecorder
from bigain.tasks.protocol import StagedProtocol

__all__ = ["BandRow", "measure_bands"]


@dataclass(frozen=True)
class BandRow:
    """One number of `bigain.metrics.bands.band_estimates`.

    Attributes:
        backbone, dataset, seed: What was measured.
        operator: Its title, `none` for the baseline.
        timestep: Of one trial; `all` for all trials of the first stage.
        band: `low`, `mid`, `high` or `all`.
        quantity: Its name.
        n: Number of images.
        estimate: A fraction of the baseline's, with its 95 % interval.

    """

    backbone: str
    dataset: str
    seed: int
    operator: str
    timestep: str
    band: str
    quantity: str
    n: int
    estimate: Estimate


def measure_bands(configs: Sequence[RunConfig]) -> list[BandRow]:
    """The rows of all runs, those that differ in the operator alone after their own baseline.

    Raises:
        UserError: A setting is not allowed here, or data or weights are missing; all settings are
            checked before anything is loaded.

    """
    for config in configs:
        _check(config)
    rows = Counter((*_place(config), config.operator.title) for config in configs)
    (backbone, _, seed, title), times = rows.most_common(1)[0]
    if times > 1:
        raise UserError(
            f"analysis bands: {backbone} {title}, seed {seed}, comes {times} times; allowed: "
            "several values of backbone, dataset, seed, operator and what its title shows"
        )
    groups: dict[str, list[RunConfig]] = {}
    for config in configs:
        groups.setdefault(str({**resolved(config), "operator": None}), []).append(config)
    return [row for group in groups.values() for row in _measured(group)]


def _check(config: RunConfig) -> None:
    """Raise UserError for a setting under which the maps would not be those of a run."""
    task = config.task
    if not isinstance(task, ClassificationConfig):
        raise UserError(f"task={task.name}: allowed: classification (analysis bands)")
    operator, shards = config.operator, config.shard.count
    checks = {
        "task.allocation=racing: allowed: staged, whose classes share trials": task.is_race,
        f"task.loss={task.loss}: allowed: l2, a sum over frequencies": task.loss != "l2",
        f"task.score={task.scored}: allowed: noise": task.scored != "noise",
        "operator.draws=per_forward: allowed: paired, per_sample": operator.draws_per_forward,
        "operator.plan=shared: allowed: each_class, because two classes are computed": (
            operator.shares_plans
        ),
        "compile=true: allowed: false": config.compile,
        f"shard.count={shards}: allowed: 1": shards > 1,
    }
    for line, is_wrong in checks.items():
        if is_wrong:
            raise UserError(f"{line} (analysis bands)")
    if StagedProtocol(task.trial_list, task.keep_list).first_stage < 2:
        trials = list(task.trial_list)
        raise UserError(f"task.trial_list={trials}: allowed: at least 2 first (analysis bands)")
    check_operator(config)


def _place(config: RunConfig) -> tuple[str, str, int]:
    """Backbone, dataset and seed."""
    return config.backbone.name, dataset_name(resolved(config)), config.seed


def _measured(configs: Sequence[RunConfig]) -> Iterator[BandRow]:
    """The rows of runs that differ in the operator alone."""
    config, operators = configs[0], [each for each in configs if not each.operator.is_baseline]
    task = config.task_as(ClassificationConfig)
    protocol = StagedProtocol(task.trial_list, task.keep_list)
    timesteps = protocol.timesteps[: protocol.first_stage]
    threads = choose_threads(config.threads, is_mini=config.backbone.is_mini)
    with limited_threads(threads.count):
        recorded = _recorded(config, operators, timesteps)
    trials: dict[str, Any] = {ALL: lambda each: each}
    trials |= {str(t): partial(BandErrors.at, trial=k) for k, t in enumerate(timesteps)}
    titles = ["none", *(each.operator.title for each in operators)]
    for title, own in zip(titles, recorded, strict=True):
        for timestep, chosen in trials.items():
            found = band_estimates(chosen(own), chosen(recorded[0]))
            for (quantity, band), estimate in found.items():
                names = *_place(config), title, timestep, band, quantity
                yield BandRow(*names, len(own.true), estimate)


def _recorded(
    config: RunConfig, operators: Sequence[RunConfig], timesteps: tuple[int, ...]
) -> list[BandErrors]:
    """The errors of all images, without an operator and under each."""
    device = resolve_device(config.device)
    dataset = build.build_dataset(config.dataset)
    if dataset[0].label is None:
        raise UserError(
            f"dataset={config.dataset.name}: allowed: a dataset whose images have one class each, "
            "such as fashion_mnist (analysis bands)"
        )
    backbone = build.build_backbone(
        config.backbone, device, config.dtype, build.build_caches(config)
    )
    backbone.condition_on(dataset)
    build.warn_of_lists(config.dataset, dataset)
    recorder = BandRecorder(
        backbone,
        timesteps,
        [partial(build.build_compression, each, backbone.denoiser) for each in operators],
        config.seed,
        MicroBatches(build.build_batch_size(config, backbone, device)),
        device,
    )
    images = (dataset[position] for position in range(len(dataset)))
    found: list[list[BandErrors]] = []
    with Meter(len(dataset), f"bands of {config.backbone.name}", "image", is_shown=True) as meter:
        for sample, encoded in latents_of(backbone, images, device):
            try:
                latents = encoded()
            except UnreadableImage as error:
                raise UserError(f"{error}: no image to measure bands with") from error
            found.append(recorder.errors(sample.image_id, latents, sample.labels[0]))
            meter.advance()
    return [_joined(each) for each in zip(*found, strict=True)]


def _joined(images: Sequence[BandErrors]) -> BandErrors:
    names = ("true", "wrong", "change")
    return BandErrors(*(np.concatenate([getattr(each, name) for each in images]) for name in names))
