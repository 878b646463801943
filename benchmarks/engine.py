"""Images per second of the classifier, and of what it would be without each of its parts.

`python benchmarks/engine.py` compares:

    ours                           the classifier of `task=classification` at its best batch size
    plain loop                     one image at a time, as usually written (`plain_loop.py`), at its
                                   best, with torch's own linear layers
    plain loop, memory kept        the same in a process that keeps freed memory, as ours does
    memory not kept                ours in a process that gives freed memory back
    no sharing                     ours without computing once what does not depend on the class
    no kept projections            ours with keys and values of prompts computed at every forward
    linear layers by MKL           ours with torch's own linear layers
    one image a time               ours, but batches are never filled with trials of the next images
    bfloat16                       ours in that precision
    compile                        ours with compile=true, but for the time to compile
    compile, linear layers by MKL  the same with torch's own linear layers
    compile + bfloat16             both
    channels_last                  ours, with weights and feature maps in the layout (B, H, W, C)
    compile + channels_last        both

Each variant has a process of its own, because what glibc does with freed memory is a setting of a
process, and depends on what else the process has done.  The processes work in turn, on one thread,
and processor time is counted.  The best batch sizes are found first, in the same way.  The mini
backbones have their weights and the protocol of the profile `mini`.  Images never end there: a call
classifies until so many images were decided, and its time is divided by the rows that it computed,
so the end of a run does not count.  The others have random weights, few classes and one trial,
which fill one batch; without `--variants` they have none that is compiled, or in another precision
or layout.  Each process has weights of its own, so these are measured in groups of at most three,
with a plain loop in each.

Variants that are ours on a backbone or this processor are left out: a DiT shares nothing, only
prompts have kept projections, and oneDNN is not always used.  The predictions of each variant are
compared with those of the plain loop; in float32, not compiled, they must be equal on a mini
backbone.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import timing
from engine_variants import MINI, VARIANTS, Round, begin, can_differ, protocol_of
from random_backbone import WITHOUT_FILES

from bigain.errors import in_one_line

__all__ = ["best_size", "default_variants", "groups", "main"]

_PLAIN = "plain loop"
_FULL_SIZE_BATCH = 3

_FULL_SIZE = (
    *("ours", _PLAIN, "plain loop, memory kept", "memory not kept", "no sharing"),
    *("no kept projections", "linear layers by MKL"),
)

_TOGETHER = 3
"""Processes with weights of full size that fit in 24 GB."""


def main() -> None:
    """Measure, print the ratios to the plain loop, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backbones", nargs="+", choices=WITHOUT_FILES, default=[*MINI, "sd20", "dit_xl2_512"]
    )
    parser.add_argument("--images", type=timing.positive, default=4, help="of the mini backbones")
    parser.add_argument("--sizes", type=timing.positive, nargs="+", default=[10, 20, 32, 64])
    parser.add_argument("--rounds", type=timing.positive, default=2)
    parser.add_argument("--processes", type=timing.positive, default=3, help="of each variant")
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
    names = options.variants or default_variants(name)
    if name in MINI:
        tried = [(each, size) for each in ("ours", _PLAIN) for size in options.sizes]
        rows += [{**row, "process": -1} for row in _measured(name, tried, 2, 2)]
        ours, plain = best_size(rows, "ours"), best_size(rows, _PLAIN)
    images = options.images if name in MINI else 1
    process = 0
    for _ in range(options.processes):
        for group in groups(name, names):
            wanted = [(each, plain if VARIANTS[each].is_plain else ours) for each in group]
            found = _measured(name, wanted, images, options.rounds)
            rows += [{**row, "process": process} for row in found]
            process += 1
    return rows


def default_variants(name: str) -> list[str]:
    """The variants that are measured if none are named."""
    names = [each for each in VARIANTS if name in MINI or each in _FULL_SIZE]
    return [each for each in names if can_differ(name, each)]


def groups(name: str, names: list[str]) -> list[list[str]]:
    """Variants whose processes exist at the same time, a plain loop in each group."""
    others = [each for each in VARIANTS if each in names and each != _PLAIN]
    size = max(1, len(others)) if name in MINI else _TOGETHER - 1
    parts = [others[at : at + size] for at in range(0, len(others), size)]
    return [[_PLAIN, *part] for part in parts or [[]]]


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
            apart = timing.Apart(begin, VARIANTS[variant], name, size, count, folder)
            tasks[f"{variant}/{size}"] = stack.enter_context(closing(apart))
        found: Mapping[str, list[Round]] = timing.in_turn(tasks, rounds)
    labels = {f"{variant}/{size}": (variant, size) for variant, size in wanted}
    plain = next(found[key][-1] for key, (each, _) in labels.items() if each == _PLAIN)
    return [
        row
        for key, label in labels.items()
        for row in _rows(name, *label, found[key], plain.predictions)
    ]


def _rows(
    name: str, variant: str, size: int, found: list[Round], plain: list[int]
) -> list[dict[str, Any]]:
    """A row for each round that counts; seconds are those of the images' evaluations.

    Predictions of an image are equal if they are in every round.
    """
    each_image = zip(plain, *(each.predictions for each in found), strict=True)
    equal = sum(len(set(same)) == 1 for same in each_image)
    setting = VARIANTS[variant]
    is_exact = name in MINI and setting.dtype == "float32" and not setting.is_compiled
    if is_exact and equal < len(plain):
        raise SystemExit(f"{name}: {variant} has other predictions than the plain loop")
    classes, protocol = protocol_of(name)
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


def _show(name: str, rows: list[Any]) -> None:
    plain = {_turn(row): row["seconds"] for row in rows if row["variant"] == _PLAIN}
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        faster = timing.spread(plain[_turn(row)] / row["seconds"] for row in own)
        equal = min(row["equal_predictions"] for row in own)
        print(
            f"{name:12}{variant:31}{faster} times as fast as the plain loop, "
            f"{equal} of {own[0]['images']} predictions are equal",
            flush=True,
        )


def _turn(row: Any) -> tuple[int, int]:
    return row["process"], row["round"]


if __name__ == "__main__":
    sys.exit(in_one_line(main))
