"""Images per second of the classifier, and of what it would be without each of its parts.

`python benchmarks/engine.py` compares, in turn and in several processes:

    ours              the classifier of `task=classification` at its best batch size
    plain loop        one image at a time, as it is usually written (`plain_loop.py`), at its best
    no sharing        ours without computing once what does not depend on the class
    one image a time  ours, but batches are never filled with trials of the next images
    bfloat16          ours in that precision

The best batch sizes are found first, each in turn with the others.  The mini backbones have their
weights and the protocol of the profile `mini`, one thread, and processor time is counted.  The
others have random weights, few classes and one trial, all threads, and wall time is counted.  In
float32 all variants of a mini backbone must predict the same classes.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import timing
import torch
from plain_loop import classify_plainly
from random_backbone import RandomBackbone

from bigain.backbones.base import Backbone
from bigain.config.architectures import ARCHITECTURES
from bigain.engine.build import build_backbone, build_dataset
from bigain.launch.compose import compose_config
from bigain.patching import sharing
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol

__all__ = ["best_size", "main"]

_CPU = torch.device("cpu")
_MINI = ("mini_unet", "mini_dit")
_FULL_SIZE_CLASSES = 3
_FULL_SIZE_BATCH = 3

Variants = dict[str, Callable[[], list[int]]]


class Sizes(NamedTuple):
    """Batch sizes of ours and of the plain loop."""

    ours: int
    plain: int


class Work(NamedTuple):
    """What is classified."""

    backbone: Backbone
    protocol: StagedProtocol
    images: list[tuple[int, torch.Tensor]]


def main() -> None:
    """Measure, print the ratios to the plain loop, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=[*_MINI, "sd20", "dit_xl2_512"])
    parser.add_argument("--images", type=int, default=3, help="of the mini backbones")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 32, 64])
    parser.add_argument("--rounds", type=int, default=2, help="of the mini backbones; others: 1")
    parser.add_argument("--processes", type=int, default=3, help="at most 2 for the others")
    parser.add_argument("--threads", type=int, default=2, help="of the others")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    file = timing.RowFile(options.csv, timing.conditions())
    for name in options.backbones:
        is_mini = name in _MINI
        threads = 1 if is_mini else options.threads
        sizes = Sizes(_FULL_SIZE_BATCH, _FULL_SIZE_BATCH)
        if is_mini:
            found = timing.in_fresh_process(_try_sizes, name, options.sizes, 2)
            for row in found:
                file.add(**row, threads=threads)
            sizes = Sizes(best_size(found, "ours"), best_size(found, "plain loop"))
        for process in range(options.processes if is_mini else min(2, options.processes)):
            rounds = options.rounds if is_mini else 1
            images = options.images if is_mini else 1
            rows = timing.in_fresh_process(_compare, name, sizes, images, rounds, threads)
            for row in rows:
                file.add(**{**row, "process": process}, threads=threads)
        _show(name, [row for row in file.rows if row["backbone"] == name and row["process"] >= 0])


def best_size(rows: list[dict[str, Any]], variant: str) -> int:
    """The batch size at which `variant` was fastest."""
    own = [row for row in rows if row["variant"] == variant]
    return int(min(own, key=lambda row: row["seconds"])["batch_size"])


def _work(name: str, count: int, dtype: str = "float32") -> Work:
    if name not in _MINI:
        backbone = RandomBackbone(name, _FULL_SIZE_CLASSES, _CPU)
        return Work(backbone, StagedProtocol((1,), (1,)), backbone.images(count))
    config = compose_config([f"backbone={name}"])
    mini = build_backbone(config.backbone, _CPU, dtype)
    data = build_dataset(config.dataset)
    images = [(data[at].image_id, mini.encode(data[at].image)) for at in range(count)]
    return Work(mini, StagedProtocol((5, 20), (5, 1)), images)


def _ours(work: Work, size: int, at_once: int | None = None) -> list[int]:
    """Predictions of the classifier; `at_once` images at a time, None: all."""
    classifier = DiffusionClassifier(
        work.backbone, work.protocol, LOSSES["l2"], seed=0, batch_size=size, device=_CPU
    )
    step = at_once or len(work.images)
    groups = [work.images[at : at + step] for at in range(0, len(work.images), step)]
    return [result.prediction for group in groups for result in classifier.classify(group)]


def _without_sharing(work: Work, size: int) -> list[int]:
    with mock.patch.object(sharing, "shared_modules", return_value=[]):
        return _ours(work, size)


def _plain(work: Work, size: int) -> list[int]:
    return classify_plainly(work.backbone, work.protocol, work.images, size, _CPU)


def _try_sizes(name: str, sizes: list[int], count: int) -> list[dict[str, Any]]:
    """Rows of ours and of the plain loop at each batch size, process -1."""
    torch.set_num_threads(1)
    work = _work(name, count)
    tasks = {("ours", size): partial(_ours, work, size) for size in sizes}
    tasks |= {("plain loop", size): partial(_plain, work, size) for size in sizes}
    names = {f"{variant}/{size}": (variant, size) for variant, size in tasks}
    found = timing.interleaved(
        {key: tasks[pair] for key, pair in names.items()}, 1, warmup=0, clock=time.process_time
    )
    return [
        _row(name, work, variant, size, -1, 0, found[key][0])
        for key, (variant, size) in names.items()
    ]


def _compare(
    name: str, sizes: Sizes, count: int, rounds: int, threads: int
) -> list[dict[str, Any]]:
    """Rows of all variants in this process; raises SystemExit if predictions differ."""
    torch.set_num_threads(threads)
    work = _work(name, count)
    variants: Variants = {
        "ours": partial(_ours, work, sizes.ours),
        "plain loop": partial(_plain, work, sizes.plain),
    }
    if ARCHITECTURES[name].blocks is None:
        variants["no sharing"] = partial(_without_sharing, work, sizes.ours)
    if count > 1:
        variants["one image a time"] = partial(_ours, work, sizes.ours, 1)
    _first_calls(name, variants)
    if name in _MINI:
        variants["bfloat16"] = partial(_ours, _work(name, count, "bfloat16"), sizes.ours)
    clock = time.process_time if threads == 1 else time.perf_counter
    found = timing.interleaved(variants, rounds, warmup=0, clock=clock)
    return [
        _row(name, work, variant, sizes.plain if variant == "plain loop" else sizes.ours, 0, at, s)
        for variant, seconds in found.items()
        for at, s in enumerate(seconds)
    ]


def _first_calls(name: str, variants: Variants) -> None:
    """They do not count.  With random weights classes may be nearly equal, so none is expected."""
    predictions = {variant: classify() for variant, classify in variants.items()}
    if name in _MINI and len({tuple(each) for each in predictions.values()}) > 1:
        raise SystemExit(f"{name}: the variants disagree: {predictions}")


def _row(
    name: str, work: Work, variant: str, size: int, process: int, round_: int, seconds: float
) -> dict[str, Any]:
    classes, count = work.backbone.num_classes, len(work.images)
    return {
        **{"backbone": name, "variant": variant, "batch_size": size, "images": count},
        **{"classes": classes, "evaluations": count * work.protocol.evaluations(classes)},
        **{"process": process, "round": round_, "seconds": round(seconds, 4)},
    }


def _show(name: str, rows: list[Any]) -> None:
    plain = [row["seconds"] for row in rows if row["variant"] == "plain loop"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row["seconds"] for row in rows if row["variant"] == variant]
        faster = timing.spread(timing.ratios(plain, own))
        print(f"{name:12}{variant:18} {faster} times as fast as the plain loop", flush=True)


if __name__ == "__main__":
    main()
