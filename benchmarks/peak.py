"""The share of this machine's arithmetic that a denoiser reaches; `python benchmarks/peak.py`.

The peak is measured, not looked up: the largest rate of a few products in float32, those of two
square matrices by torch's own code (MKL on x86) and by oneDNN, and a convolution.  They and one
forward of each denoiser, with random weights, run in turn, with one thread.  Linear layers are
those of a run (`bigain.patching.onednn`).  A forward's FLOPs are counted as by `bigain flops`.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import timing
import torch
from torch import nn

from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.errors import in_one_line
from bigain.patching.onednn import use_onednn
from bigain.tasks.flops import count_flops

__all__ = ["Peak", "main", "matrix_product", "peaks", "products"]

_CPU = torch.device("cpu")
_SIDE = 2048
_CHANNELS, _MAP, _IMAGES = 512, 32, 4
_BATCHES = {"mini_unet": 32, "mini_dit": 32, "sd20": 1, "dit_xl2_512": 1}


class Peak(NamedTuple):
    """The fastest product of a round, and its FLOP/s."""

    name: str
    rate: float


def main() -> None:
    """Measure, print the shares, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=list(_BATCHES), choices=list(_BATCHES))
    parser.add_argument("--rounds", type=timing.positive, default=2)
    parser.add_argument("--processes", type=timing.positive, default=1)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    file = timing.RowFile(options.csv, {**timing.conditions(), "threads": 1})
    for process in range(options.processes):
        for name in options.backbones:
            seconds, best = timing.in_fresh_process(_measured, name, options.rounds)
            flops = _BATCHES[name] * count_flops(name).total
            shares = timing.ratios([flops / each for each in seconds], [peak.rate for peak in best])
            for number, (peak, share) in enumerate(zip(best, shares, strict=True)):
                file.add(
                    backbone=name,
                    batch=_BATCHES[name],
                    process=process,
                    round=number,
                    forward_gflops=round(flops / 1e9, 3),
                    forward_s=round(seconds[number], 5),
                    peak_gflop_per_s=round(peak.rate / 1e9, 2),
                    peak_of=peak.name,
                    share_of_peak=round(share, 4),
                )
            top = max(best, key=lambda each: each.rate)
            print(
                f"{name:12} {timing.spread(shares)} of {top.rate / 1e9:.0f} GFLOP/s ({top.name})",
                flush=True,
            )


def _measured(name: str, rounds: int) -> tuple[list[float], list[Peak]]:
    """Seconds of a forward and the fastest product of each round, in this process."""
    torch.set_num_threads(1)
    denoiser = build_denoiser(name)
    use_onednn(denoiser)
    forward = partial(denoiser, **example_inputs(name, _BATCHES[name]))
    tried = products()
    tasks: dict[str, Callable[[], Any]] = {each: product for each, (product, _) in tried.items()}
    tasks[""] = forward
    with torch.inference_mode():
        seconds = timing.interleaved(tasks, rounds, clock=time.process_time)
    return seconds[""], peaks(seconds, {each: flops for each, (_, flops) in tried.items()})


def peaks(seconds: Mapping[str, Sequence[float]], flops: Mapping[str, int]) -> list[Peak]:
    """The fastest product of each round.

    Args:
        seconds: Of each call of each product, by its name.
        flops: Of each product.

    """
    rates = {name: [count / each for each in seconds[name]] for name, count in flops.items()}
    rounds = zip(*rates.values(), strict=True)
    return [max(map(Peak, rates, found), key=lambda each: each.rate) for found in rounds]


def products() -> dict[str, tuple[Callable[[], Any], int]]:
    """Name -> a product on the CPU in float32 and its FLOPs; without oneDNN one less."""
    side = _SIDE
    found: dict[str, tuple[Callable[[], Any], int]] = {}
    found[f"torch.mm {side} x {side}"] = matrix_product(side, _CPU, torch.float32)
    if torch.backends.mkldnn.is_available():
        a, b = torch.randn(side, side), torch.randn(side, side)
        product = partial(torch.ops.bigain.linear, a, b, None)
        found[f"oneDNN {side} x {side}"] = (product, 2 * side**3)
    convolution = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False)
    convolution.requires_grad_(False)
    maps = torch.randn(_IMAGES, _CHANNELS, _MAP, _MAP)
    flops = 2 * _IMAGES * _MAP**2 * 9 * _CHANNELS**2
    found[f"convolution {_CHANNELS} x {_CHANNELS} x 3 x 3"] = (partial(convolution, maps), flops)
    return found


def matrix_product(side: int, device: torch.device, dtype: torch.dtype) -> tuple[partial, int]:  # type: ignore[type-arg]
    """A product of two `side` x `side` matrices, as a function, and its FLOPs."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return partial(torch.mm, a, b), 2 * side**3


if __name__ == "__main__":
    sys.exit(in_one_line(main))
