"""How the time of a classification grows with its classes, trials, tokens and images.

`python benchmarks/growth.py` classifies random latents with the architecture of the mini U-Net and
random weights, one thread.  One quantity changes at a time; its values run in turn.  It prints the
exponent p of time ~ quantity^p, fitted to the medians of each process, with the spread over the
processes: 1 is proportional.  Tokens change with the side of the latents, with and without an
operator.  Every point is a whole number of full batches.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import timing
import torch
from random_backbone import RandomBackbone

import bigain
from bigain.errors import in_one_line
from bigain.operators import Operator, ToMe
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol

__all__ = ["exponent", "main"]

_CPU = torch.device("cpu")
_AXES: dict[str, tuple[int, ...]] = {
    "classes": (4, 8, 16, 32),
    "trials": (4, 8, 16, 32),
    "images": (1, 2, 4, 8),
    "tokens": (256, 1024, 4096),
    "tokens, ToMe 0.7": (256, 1024, 4096),
}

_OTHERS = {"classes": 8, "trials": 8, "images": 1}
"""What does not grow."""

_BATCH = 32
_OF_TOKENS = {"classes": 4, "trials": 2, "images": 1}
"""The same of tokens: one batch of 8."""


def main() -> None:
    """Measure, print the exponents, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", nargs="+", default=list(_AXES), choices=list(_AXES))
    parser.add_argument(
        "--points", type=timing.positive, default=4, help="at most so many values of each"
    )
    parser.add_argument("--rounds", type=timing.positive, default=2)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--processes", type=timing.positive, default=1)
    options = parser.parse_args()
    file = timing.RowFile(options.csv, {**timing.conditions(), "threads": 1})
    for axis in options.axes:
        values = _AXES[axis][: options.points]
        powers = []
        for process in range(options.processes):
            found = timing.in_fresh_process(_measured, axis, values, options.rounds)
            for value, times in found.items():
                about = {"axis": axis, "value": value, "process": process}
                for number, seconds in enumerate(times):
                    file.add(**about, round=number, seconds=round(seconds, 5))
            medians = [statistics.median(times) for times in found.values()]
            powers.append(exponent(values, medians))
        print(f"{axis:20} time ~ n^p, p = {timing.spread(powers)}", flush=True)


def _measured(axis: str, values: Sequence[int], rounds: int) -> dict[int, list[float]]:
    """Seconds at each value, in turn, in this process."""
    torch.set_num_threads(1)
    tasks = {str(value): _task(axis, value) for value in values}
    found = timing.interleaved(tasks, rounds, clock=time.process_time)
    return {int(value): times for value, times in found.items()}


def exponent(values: Sequence[float], seconds: Sequence[float]) -> float:
    """The p of seconds ~ values^p, by least squares of the logarithms."""
    logs = ([math.log(value) for value in values], [math.log(each) for each in seconds])
    return statistics.linear_regression(*logs).slope


def _task(axis: str, value: int) -> partial[None]:
    is_tokens = axis.startswith("tokens")
    counts = _OF_TOKENS if is_tokens else {**_OTHERS, axis: value}
    size = min(_BATCH, math.prod(counts.values()))
    side = math.isqrt(value) if is_tokens else None
    backbone = RandomBackbone("mini_unet", counts["classes"], _CPU, side=side)
    protocol = StagedProtocol((counts["trials"],), (1,))
    images = backbone.images(counts["images"])
    operator = ToMe(0.7) if "ToMe" in axis else None
    return partial(_classify, backbone, protocol, images, size, operator)


def _classify(
    backbone: RandomBackbone,
    protocol: StagedProtocol,
    images: list[tuple[int, torch.Tensor]],
    size: int,
    operator: Operator | None,
) -> None:
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=0, batch_size=size, device=_CPU
    )
    with bigain.apply(backbone.denoiser, operator) if operator else nullcontext():
        for _ in classifier.classify(images):
            pass


if __name__ == "__main__":
    sys.exit(in_one_line(main))
