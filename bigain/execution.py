"""Computing what a run still lacks: the part of a run that needs torch and the model."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tqdm import tqdm

from bigain import build
from bigain.backbones.base import Backbone
from bigain.config import RunConfig
from bigain.data.base import Dataset
from bigain.devices import (
    attention_backend,
    limited_threads,
    peak_memory,
    reset_peak_memory,
    resolve_device,
)
from bigain.runs import provenance
from bigain.runs.session import RunSession
from bigain.runs.store import RunStore
from bigain.runs.summary import summary_of
from bigain.tasks.classification import classify_images
from bigain.tasks.classifier import DiffusionClassifier

__all__ = ["describe", "execute"]


def execute(config: RunConfig, store: RunStore, *, progress: bool = True) -> int:
    """Compute and store the images of this shard that are missing; finish the run if it is whole.

    Args:
        config: The run.
        store: Where it lies.
        progress: Whether a terminal shows a bar over the images.

    Returns:
        How many images were computed (records taken over from a run of another limit not counted).

    Raises:
        UserError: data, weights or device are not what the configuration says, or another process
            works on the same shard.

    """
    device = resolve_device(config.device)
    reset_peak_memory(device)
    bar = partial(tqdm, desc=describe(config), disable=None if progress else True)
    with limited_threads(config.threads):
        dataset = build.build_dataset(config.dataset)
        caches = build.build_caches(config)
        backbone = build.build_backbone(config.backbone, device, config.dtype, caches)
        backbone.condition_on(dataset)
        origin = provenance.collect(
            attention_backend=attention_backend(backbone.denoiser),
            source=backbone.source,
            hashes={**backbone.hashes, f"dataset/{config.dataset.name}": dataset.content_hash},
        )
        with store.open(config, dataset.image_ids, origin) as session:
            session.adopt()
            classifier = build.build_classifier(config, backbone, device)
            computed = _classify(config, session, dataset, backbone, classifier, bar)
            facts = {
                "peak_memory_bytes": peak_memory(device),
                "micro_batch": classifier.micro_batch,
            }
            session.finish(summary_of(config, config.paths.results), facts)
    return computed


def describe(config: RunConfig) -> str:
    """The run in a few words, e.g. `mini_dit lgtm ratio=0.7 score=laplacian_l1`."""
    settings = config.operator.settings().items()
    told = [f"{key}={value}" for key, value in settings if value is not None and key != "scope"]
    return " ".join([config.backbone.name, config.operator.name, *told])


def _classify(
    config: RunConfig,
    session: RunSession,
    dataset: Dataset,
    backbone: Backbone,
    classifier: DiffusionClassifier,
    progress_bar: Callable[..., Any],
) -> int:
    """Classify what is left of this shard, one record on disk after the other."""
    position = {image_id: index for index, image_id in enumerate(dataset.image_ids)}
    todo = [position[image_id] for image_id in session.todo()]
    if not todo:
        return 0
    bar = progress_bar(total=len(todo), unit="image", leave=False)
    with bar, build.build_acceleration(config, backbone.denoiser):
        for record in classify_images(classifier, backbone, dataset, todo):
            session.append(record)
            bar.update()
    return len(todo)
