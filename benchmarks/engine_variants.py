"""What `engine.py` compares: plain loops, and ours with and without each of its parts."""

import atexit
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from plain_loop import classify_plainly
from random_backbone import RandomBackbone
from steady import Steady, Work

from bigain.config.architectures import ARCHITECTURES
from bigain.engine.build import build_backbone, build_dataset
from bigain.launch.compose import compose_config
from bigain.machine import keep_freed_memory
from bigain.patching import onednn, projections, sharing
from bigain.patching.compiling import Compiled
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol

__all__ = ["MINI", "VARIANTS", "Round", "Variant", "begin", "can_differ", "protocol_of", "work_of"]

MINI = ("mini_unet", "mini_dit")
"""Backbones that ship with their weights."""

_CPU = torch.device("cpu")
_FULL_SIZE_CLASSES = 3


class Variant(NamedTuple):
    """What classifies: ours, unless a field says otherwise."""

    is_plain: bool = False
    keeps_memory: bool = True
    is_shared: bool = True
    keeps_projections: bool = True
    is_separate: bool = False
    uses_onednn: bool = True
    dtype: str = "float32"
    is_compiled: bool = False
    is_channels_last: bool = False


VARIANTS = {
    "ours": Variant(),
    "plain loop": Variant(is_plain=True, keeps_memory=False, uses_onednn=False),
    "plain loop, memory kept": Variant(is_plain=True, uses_onednn=False),
    "memory not kept": Variant(keeps_memory=False),
    "no sharing": Variant(is_shared=False),
    "no kept projections": Variant(keeps_projections=False),
    "linear layers by MKL": Variant(uses_onednn=False),
    "one image a time": Variant(is_separate=True),
    "bfloat16": Variant(dtype="bfloat16"),
    "compile": Variant(is_compiled=True),
    "compile, linear layers by MKL": Variant(is_compiled=True, uses_onednn=False),
    "compile + bfloat16": Variant(dtype="bfloat16", is_compiled=True),
    "channels_last": Variant(is_channels_last=True),
    "compile + channels_last": Variant(is_compiled=True, is_channels_last=True),
}
"""By the names in the CSV file."""


def can_differ(name: str, variant: str) -> bool:
    """Whether a variant is something else than ours on this backbone and this processor.

    A DiT shares nothing, only prompts have kept projections, and oneDNN is not always used.
    """
    about, setting = ARCHITECTURES[name], VARIANTS[variant]
    return (
        (setting.is_shared or about.blocks is None)
        and (setting.keeps_projections or about.conditioning == "prompts")
        and (setting.uses_onednn or setting.is_plain or onednn.is_faster())
    )


class Round(NamedTuple):
    """One call of a variant.

    Attributes:
        seconds: Of the processor.
        rows: Evaluations that it computed.
        predictions: Of the images.

    """

    seconds: float
    rows: int
    predictions: list[int]


def protocol_of(name: str) -> tuple[int, StagedProtocol]:
    """Classes of a backbone, and how they are evaluated."""
    if name in MINI:
        return 10, StagedProtocol((5, 20), (5, 1))
    return _FULL_SIZE_CLASSES, StagedProtocol((1,), (1,))


def work_of(name: str, count: int, dtype: str = "float32") -> Work:
    """A backbone, its protocol and `count` images."""
    protocol = protocol_of(name)[1]
    if name not in MINI:
        backbone = RandomBackbone(name, _FULL_SIZE_CLASSES, _CPU)
        return Work(backbone, protocol, backbone.images(count))
    config = compose_config([f"backbone={name}"])
    mini = build_backbone(config.backbone, _CPU, dtype)
    data = build_dataset(config.dataset)
    images = [(data[at].image_id, mini.encode(data[at].image)) for at in range(count)]
    return Work(mini, protocol, images)


def begin(variant: Variant, name: str, size: int, count: int, folder: Path) -> Callable[[], Round]:
    """Prepare this process for a variant; what it returns classifies `count` images.

    Args:
        variant: What classifies.
        name: The backbone.
        size: Batch size.
        count: Images of a call.
        folder: Of compiled code.

    """
    torch.set_num_threads(1)
    if variant.keeps_memory:
        keep_freed_memory()
    with _without(variant):
        work = work_of(name, count, variant.dtype)
    if variant.is_plain:
        return partial(_round, partial(_plain, work, size), work)
    if variant.is_channels_last:
        work.backbone.denoiser.to(memory_format=torch.channels_last)
    if variant.is_compiled:
        compiled = ExitStack()
        compiled.enter_context(Compiled(work.backbone.denoiser, folder, by_block=False))
        atexit.register(compiled.close)
    if name in MINI:
        with _without(variant):
            return partial(_round, Steady(work, size, is_separate=variant.is_separate), work)
    return partial(_round, partial(_ours, work, size, variant), work)


@contextmanager
def _without(variant: Variant) -> Iterator[None]:
    """In here backbones that are built and classifiers that begin lack what `variant` lacks."""
    with ExitStack() as stack:
        if not variant.is_shared:
            nothing = mock.patch.object(sharing, "shared_modules", return_value=[])
            stack.enter_context(nothing)
        if not variant.keeps_projections:
            stack.enter_context(mock.patch.object(projections, "LARGEST", 0))
        if not variant.uses_onednn:
            stack.enter_context(mock.patch.object(onednn, "is_faster", return_value=False))
        yield


def _round(classify: Callable[[], list[int]], work: Work) -> Round:
    started = time.process_time()
    predictions = classify()
    seconds = time.process_time() - started
    if isinstance(classify, Steady):
        return Round(seconds, classify.rows[-1], predictions)
    rows = len(work.images) * work.protocol.evaluations(work.backbone.num_classes)
    return Round(seconds, rows, predictions)


def _ours(work: Work, size: int, variant: Variant) -> list[int]:
    """Predictions of the classifier."""
    with _without(variant):
        classifier = DiffusionClassifier(
            work.backbone, work.protocol, LOSSES["l2"], seed=0, batch_size=size, device=_CPU
        )
        return [result.prediction for result in classifier.classify(work.images)]


def _plain(work: Work, size: int) -> list[int]:
    return classify_plainly(work.backbone, work.protocol, work.images, size, _CPU)
