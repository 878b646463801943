"""Images per second of the classifier, and of what it would be without each of its parts.

`python benchmarks/engine.py` compares:

    ours                     the classifier of `task=classification` at its best batch size
    plain loop               one image at a time, as usually written (`plain_loop.py`), at its best
    plain loop, memory kept  the same in a process that keeps freed memory, as ours does
    memory not kept          ours in a process that gives freed memory back
    no sharing               ours without computing once what does not depend on the class
    one image a time         ours, but batches are never filled with trials of the next images
    bfloat16                 ours in that precision
    compile                  ours with compile=true, but for the time to compile
    compile + bfloat16       both
    channels_last            ours, with weights and feature maps in the layout (B, H, W, C)
    compile + channels_last  both

Each variant has a process of its own, because what glibc does with freed memory is a setting of a
process, and depends on what else the process has done.  The processes work in turn, on one thread,
and processor time is counted.  The best batch sizes are found first, in the same way.  The mini
backbones have their weights and the protocol of the profile `mini`.  Images never end there: a call
classifies until so many images were decided, and its time is divided by the rows that it computed,
so the end of a run does not count.  The others have random weights, few classes and one trial,
which fill one batch; without `--variants` only ours, plain loop and no sharing are measured.  The
predictions of each variant are compared with those of the plain loop; in float32, not compiled,
they must be equal on a mini backbone.
"""

import argparse
import atexit
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import timing
import torch
from plain_loop import classify_plainly
from random_backbone import RandomBackbone
from steady import Steady, Work

from bigain.config.architectures import ARCHITECTURES
from bigain.engine.build import build_backbone, build_dataset
from bigain.launch.compose import compose_config
from bigain.machine import keep_freed_memory
from bigain.patching import sharing
from bigain.patching.compiling import Compiled
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol

__all__ = ["VARIANTS", "Round", "Variant", "best_size", "main"]

_CPU = torch.device("cpu")
_MINI = ("mini_unet", "mini_dit")
_FULL_SIZE_CLASSES = 3
_FULL_SIZE_BATCH = 3


class Variant(NamedTuple):
    """What classifies: ours, unless a field says otherwise."""

    is_plain: bool = False
    keeps_memory: bool = True
    is_shared: bool = True
    is_separate: bool = False
    dtype: str = "float32"
    is_compiled: bool = False
    is_channels_last: bool = False


VARIANTS = {
    "ours": Variant(),
    "plain loop": Variant(is_plain=True, keeps_memory=False),
    "plain loop, memory kept": Variant(is_plain=True),
    "memory not kept": Variant(keeps_memory=False),
    "no sharing": Variant(is_shared=False),
    "one image a time": Variant(is_separate=True),
    "bfloat16": Variant(dtype="bfloat16"),
    "compile": Variant(is_compiled=True),
    "compile + bfloat16": Variant(dtype="bfloat16", is_compiled=True),
    "channels_last": Variant(is_channels_last=True),
    "compile + channels_last": Variant(is_compiled=True, is_channels_last=True),
}
"""By the names in the CSV file."""

_FULL_SIZE = ("ours", "plain loop", "no sharing")
"""Each process has its own weights; more than three do not fit in 24 GB."""


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


def main() -> None:
    """Measure, print the ratios to the plain loop, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=[*_MINI, "sd20", "dit_xl2_512"])
    parser.add_argument("--images", type=int, default=4, help="of the mini backbones")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 32, 64])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=3, help="of each variant")
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), help="beside the plain loop"
    )
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    file = timing.RowFile(options.csv, {**timing.conditions(), "threads": 1})
    for name in options.backbones:
        for row in _of_backbone(name, options):
            file.add(**row)
        _show(name, [row for row in file.rows if row["backbone"] == name and row["process"] >= 0])


def _of_backbone(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the batch sizes, process -1, and of all variants in each process."""
    rows: list[dict[str, Any]] = []
    ours = plain = _FULL_SIZE_BATCH
    chosen = {"plain loop", *(options.variants or _default(name))}
    names = [each for each in VARIANTS if each in chosen]
    if name in _MINI:
        tried = [(each, size) for each in ("ours", "plain loop") for size in options.sizes]
        rows += [{**row, "process": -1} for row in _measured(name, tried, 2, 2)]
        ours, plain = best_size(rows, "ours"), best_size(rows, "plain loop")
    wanted = [(each, plain if VARIANTS[each].is_plain else ours) for each in names]
    images = options.images if name in _MINI else 1
    for process in range(options.processes):
        found = _measured(name, wanted, images, options.rounds)
        rows += [{**row, "process": process} for row in found]
    return rows


def _default(name: str) -> list[str]:
    """The variants that are measured if none are named; a DiT shares nothing."""
    names = [each for each in VARIANTS if name in _MINI or each in _FULL_SIZE]
    if ARCHITECTURES[name].blocks is not None:
        names.remove("no sharing")
    return names


def best_size(rows: list[dict[str, Any]], variant: str) -> int:
    """The batch size at which `variant` was fastest."""
    own = [row for row in rows if row["variant"] == variant]
    return int(min(own, key=lambda row: row["seconds"])["batch_size"])


def _measured(
    name: str, wanted: list[tuple[str, int]], count: int, rounds: int
) -> list[dict[str, Any]]:
    """Rows of variants at batch sizes, in turn; raises SystemExit if predictions differ."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tasks = {}
        for variant, size in wanted:
            apart = timing.Apart(_begin, VARIANTS[variant], name, size, count, folder)
            tasks[f"{variant}/{size}"] = stack.enter_context(closing(apart))
        found: Mapping[str, list[Round]] = timing.in_turn(tasks, rounds)
    labels = {f"{variant}/{size}": (variant, size) for variant, size in wanted}
    plain = next(found[key][-1] for key, (each, _) in labels.items() if each == "plain loop")
    return [
        row
        for key, label in labels.items()
        for row in _rows(name, *label, found[key], plain.predictions)
    ]


def _rows(
    name: str, variant: str, size: int, found: list[Round], plain: list[int]
) -> list[dict[str, Any]]:
    """A row for each round that counts; seconds are those of the images' evaluations."""
    equal = sum(a == b for a, b in zip(found[-1].predictions, plain, strict=True))
    setting = VARIANTS[variant]
    is_exact = name in _MINI and setting.dtype == "float32" and not setting.is_compiled
    if is_exact and equal < len(plain):
        raise SystemExit(f"{name}: {variant} has other predictions than the plain loop")
    classes, protocol = _protocol(name)
    evaluations = len(plain) * protocol.evaluations(classes)
    return [
        {
            **{"backbone": name, "variant": variant, "batch_size": size, "images": len(plain)},
            **{"classes": classes, "evaluations": evaluations, "equal_predictions": equal},
            **{"process": 0, "round": at},
            "seconds": round(each.seconds * evaluations / each.rows, 4),
        }
        for at, each in enumerate(found)
    ]


def _protocol(name: str) -> tuple[int, StagedProtocol]:
    """Classes, and how they are evaluated."""
    if name in _MINI:
        return 10, StagedProtocol((5, 20), (5, 1))
    return _FULL_SIZE_CLASSES, StagedProtocol((1,), (1,))


def _work(name: str, count: int, dtype: str = "float32") -> Work:
    protocol = _protocol(name)[1]
    if name not in _MINI:
        backbone = RandomBackbone(name, _FULL_SIZE_CLASSES, _CPU)
        return Work(backbone, protocol, backbone.images(count))
    config = compose_config([f"backbone={name}"])
    mini = build_backbone(config.backbone, _CPU, dtype)
    data = build_dataset(config.dataset)
    images = [(data[at].image_id, mini.encode(data[at].image)) for at in range(count)]
    return Work(mini, protocol, images)


def _begin(variant: Variant, name: str, size: int, count: int, folder: Path) -> Callable[[], Round]:
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
    work = _work(name, count, variant.dtype)
    if variant.is_plain:
        return partial(_round, partial(_plain, work, size), work)
    if variant.is_channels_last:
        work.backbone.denoiser.to(memory_format=torch.channels_last)
    if variant.is_compiled:
        compiled = ExitStack()
        compiled.enter_context(Compiled(work.backbone.denoiser, folder, by_block=False))
        atexit.register(compiled.close)
    if name in _MINI:
        with _sharing(variant.is_shared):
            return partial(_round, Steady(work, size, is_separate=variant.is_separate), work)
    return partial(_round, partial(_ours, work, size, is_shared=variant.is_shared), work)


def _round(classify: Callable[[], list[int]], work: Work) -> Round:
    started = time.process_time()
    predictions = classify()
    seconds = time.process_time() - started
    if isinstance(classify, Steady):
        return Round(seconds, classify.rows[-1], predictions)
    rows = len(work.images) * work.protocol.evaluations(work.backbone.num_classes)
    return Round(seconds, rows, predictions)


def _sharing(is_shared: bool) -> AbstractContextManager[object]:
    """A context in which a classifier that begins shares what it can, or nothing."""
    if is_shared:
        return nullcontext()
    return mock.patch.object(sharing, "shared_modules", return_value=[])


def _ours(work: Work, size: int, *, is_shared: bool) -> list[int]:
    """Predictions of the classifier."""
    with _sharing(is_shared):
        classifier = DiffusionClassifier(
            work.backbone, work.protocol, LOSSES["l2"], seed=0, batch_size=size, device=_CPU
        )
        return [result.prediction for result in classifier.classify(work.images)]


def _plain(work: Work, size: int) -> list[int]:
    return classify_plainly(work.backbone, work.protocol, work.images, size, _CPU)


def _show(name: str, rows: list[Any]) -> None:
    plain = [row["seconds"] for row in rows if row["variant"] == "plain loop"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row["seconds"] for row in rows if row["variant"] == variant]
        faster = timing.spread(timing.ratios(plain, own))
        equal, count = (
            next(row[key] for row in rows if row["variant"] == variant)
            for key in ("equal_predictions", "images")
        )
        print(
            f"{name:12}{variant:25}{faster} times as fast as the plain loop, "
            f"{equal} of {count} predictions are equal",
            flush=True,
        )


if __name__ == "__main__":
    main()
