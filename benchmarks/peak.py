"""The share of this machine's arithmetic that a denoiser reaches; `python benchmarks/peak.py`.

The peak is measured, not looked up: the product of two square matrices of float32.  It and one
forward of each denoiser, with random weights, run in turn, with one thread.  A forward's FLOPs are
the counted ones of `bigain flops`.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import timing
import torch

from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.machine import keep_freed_memory
from bigain.tasks.flops import count_flops

__all__ = ["main", "matrix_product"]

_SIDE = 2048
_BATCHES = {"mini_unet": 32, "mini_dit": 32, "sd20": 1, "dit_xl2_512": 1}


def main() -> None:
    """Measure, print the shares, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=list(_BATCHES), choices=list(_BATCHES))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    file = timing.RowFile(options.csv, timing.conditions())
    for name in options.backbones:
        batch = _BATCHES[name]
        denoiser = build_denoiser(name)
        forward = partial(denoiser, **example_inputs(name, batch))
        product, product_flops = matrix_product(_SIDE, torch.device("cpu"), torch.float32)
        with torch.inference_mode():
            tasks = {"product": product, "forward": forward}
            seconds = timing.interleaved(tasks, options.rounds, clock=time.process_time)
        flops = batch * count_flops(name).total
        peaks = [product_flops / each for each in seconds["product"]]
        shares = timing.ratios([flops / each for each in seconds["forward"]], peaks)
        for number, (peak, share) in enumerate(zip(peaks, shares, strict=True)):
            file.add(
                backbone=name,
                batch=batch,
                round=number,
                forward_gflops=round(flops / 1e9, 3),
                forward_s=round(seconds["forward"][number], 5),
                peak_gflop_per_s=round(peak / 1e9, 2),
                share_of_peak=round(share, 4),
            )
        print(f"{name:12} {timing.spread(shares)} of {max(peaks) / 1e9:.0f} GFLOP/s", flush=True)


def matrix_product(side: int, device: torch.device, dtype: torch.dtype) -> tuple[partial, int]:  # type: ignore[type-arg]
    """A product of two `side` x `side` matrices, as a function, and its FLOPs."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return partial(torch.mm, a, b), 2 * side**3


if __name__ == "__main__":
    main()
