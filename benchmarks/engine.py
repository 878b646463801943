"""Images per second of the classifier, and of what it would be without each of its parts.

`python benchmarks/engine.py` compares, in turn and in several processes:

    ours                the classifier of `task=classification` at its best batch size
    plain loop          one image at a time, as it is usually written (`plain_loop.py`), at its best
    no sharing          ours without computing once what does not depend on the class
    one image a time    ours, but batches are never filled with trials of the next images
    bfloat16            ours in that precision
    compile             ours with compile=true; time to compile does not count; only with --compile
    compile + bfloat16  both; only with --compile

All have one thread, and processor time is counted.  The best batch sizes are found first, in turn.
The mini backbones have their weights and the protocol of the profile `mini`.  Images never end
there: a call classifies until so many images were decided, and its time is divided by the rows that
it computed, so the end of a run does not count.  The others have random weights, few classes and
one trial, which fill one batch; only the first three are measured.  The predictions of each variant
are compared with those of the plain loop; in float32, not compiled, those of a mini backbone must
be equal.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
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
from bigain.patching import sharing
from bigain.patching.compiling import Compiled
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol

__all__ = ["best_size", "main"]

_CPU = torch.device("cpu")
_MINI = ("mini_unet", "mini_dit")
_FULL_SIZE_CLASSES = 3
_FULL_SIZE_BATCH = 3

_COMPILED = {"compile": "float32", "compile + bfloat16": "bfloat16"}
_EXACT = ("ours", "plain loop", "no sharing", "one image a time")

Variants = dict[str, Callable[[], list[int]]]


class Sizes(NamedTuple):
    """Batch sizes of ours and of the plain loop."""

    ours: int
    plain: int


def main() -> None:
    """Measure, print the ratios to the plain loop, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=[*_MINI, "sd20", "dit_xl2_512"])
    parser.add_argument("--images", type=int, default=4, help="of the mini backbones")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 32, 64])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=3, help="at most 2 for the others")
    parser.add_argument("--compile", action="store_true", help="of the mini backbones")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    file = timing.RowFile(options.csv, {**timing.conditions(), "threads": 1})
    for name in options.backbones:
        is_mini = name in _MINI
        sizes = Sizes(_FULL_SIZE_BATCH, _FULL_SIZE_BATCH)
        if is_mini:
            found = timing.in_fresh_process(_try_sizes, name, options.sizes, 2)
            for row in found:
                file.add(**row)
            sizes = Sizes(best_size(found, "ours"), best_size(found, "plain loop"))
        for process in range(options.processes if is_mini else min(2, options.processes)):
            images = options.images if is_mini else 1
            compiled = _COMPILED if options.compile else {}
            compare = partial(_compare_mini, compiled) if is_mini else _compare
            rows = timing.in_fresh_process(compare, name, sizes, images, options.rounds)
            for row in rows:
                file.add(**{**row, "process": process})
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


def _ours(work: Work, size: int) -> list[int]:
    """Predictions of the classifier."""
    classifier = DiffusionClassifier(
        work.backbone, work.protocol, LOSSES["l2"], seed=0, batch_size=size, device=_CPU
    )
    return [result.prediction for result in classifier.classify(work.images)]


def _without_sharing() -> AbstractContextManager[object]:
    """A context in which a classifier that begins shares nothing."""
    return mock.patch.object(sharing, "shared_modules", return_value=[])


def _unshared(work: Work, size: int) -> list[int]:
    with _without_sharing():
        return _ours(work, size)


def _plain(work: Work, size: int) -> list[int]:
    return classify_plainly(work.backbone, work.protocol, work.images, size, _CPU)


def _try_sizes(name: str, sizes: list[int], count: int) -> list[dict[str, Any]]:
    """Rows of ours and of the plain loop at each batch size, process -1."""
    torch.set_num_threads(1)
    work = _work(name, count)
    variants: Variants = {f"ours/{size}": Steady(_work(name, count), size) for size in sizes}
    variants |= {f"plain loop/{size}": partial(_plain, work, size) for size in sizes}
    rows = []
    for row in _timed(name, work, variants, rounds=2):
        variant, _, size = row["variant"].partition("/")
        rows.append({**row, "variant": variant, "batch_size": int(size), "process": -1})
    return rows


def _compare(name: str, sizes: Sizes, count: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of the variants of a large backbone in this process, whose calls are single batches."""
    torch.set_num_threads(1)
    work = _work(name, count)
    variants: Variants = {
        "ours": partial(_ours, work, sizes.ours),
        "plain loop": partial(_plain, work, sizes.plain),
    }
    if ARCHITECTURES[name].blocks is None:
        variants["no sharing"] = partial(_unshared, work, sizes.ours)
    rows = _timed(name, work, variants, rounds=rounds)
    return [{**row, "batch_size": _size(row["variant"], sizes)} for row in rows]


def _compare_mini(
    compiled: dict[str, str], name: str, sizes: Sizes, count: int, rounds: int
) -> list[dict[str, Any]]:
    """Rows of all variants of a mini backbone; raises SystemExit if predictions differ."""
    torch.set_num_threads(1)
    plain = _work(name, count)
    make = partial(_work, name, count)
    variants: Variants = {
        "ours": Steady(make(), sizes.ours),
        "plain loop": partial(_plain, plain, sizes.plain),
        "one image a time": Steady(make(), sizes.ours, is_separate=True),
        "bfloat16": Steady(make("bfloat16"), sizes.ours),
    }
    if ARCHITECTURES[name].blocks is None:
        with _without_sharing():
            variants["no sharing"] = Steady(make(), sizes.ours)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for variant, dtype in compiled.items():
            work = make(dtype)
            stack.enter_context(Compiled(work.backbone.denoiser, folder, by_block=False))
            variants[variant] = Steady(work, sizes.ours)
        # Each beginning discards what others compiled: the first round, which does not count,
        # finds it in the folder.
        rows = _timed(name, plain, variants, rounds=rounds)
    wrong = {
        row["variant"]
        for row in rows
        if row["variant"] in _EXACT and row["equal_predictions"] < count
    }
    if wrong:
        raise SystemExit(f"{name}: other predictions than the plain loop's: {sorted(wrong)}")
    return [{**row, "batch_size": _size(row["variant"], sizes)} for row in rows]


def _size(variant: str, sizes: Sizes) -> int:
    return sizes.plain if variant == "plain loop" else sizes.ours


def _timed(name: str, work: Work, variants: Variants, *, rounds: int) -> list[dict[str, Any]]:
    """A row for each round that counts; seconds are those of the images' evaluations."""
    predictions: dict[str, list[int]] = {}

    def noted(variant: str) -> None:
        predictions[variant] = variants[variant]()

    tasks = {variant: partial(noted, variant) for variant in variants}
    found = timing.interleaved(tasks, rounds, clock=time.process_time)
    plain = next(value for key, value in predictions.items() if key.startswith("plain loop"))
    classes, count = work.backbone.num_classes, len(work.images)
    evaluations = count * work.protocol.evaluations(classes)
    rows = []
    for variant, seconds in found.items():
        equal = sum(a == b for a, b in zip(predictions[variant], plain, strict=True))
        own_rows = getattr(variants[variant], "rows", [evaluations] * rounds)
        for at, (taken, own) in enumerate(zip(seconds, own_rows[-rounds:], strict=True)):
            rows.append(
                {
                    **{"backbone": name, "variant": variant, "batch_size": 0, "images": count},
                    **{"classes": classes, "evaluations": evaluations},
                    **{"equal_predictions": equal, "process": 0, "round": at},
                    "seconds": round(taken * evaluations / own, 4),
                }
            )
    return rows


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
            f"{name:12}{variant:20}{faster} times as fast as the plain loop, "
            f"{equal} of {count} predictions are equal",
            flush=True,
        )


if __name__ == "__main__":
    main()
