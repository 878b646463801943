"""Time that operators save in a complete denoiser; `python benchmarks/unet.py`.

It uses the U-Net of SD-2.0 (or another `--backbone`) with random weights, since time does not
depend on weights.  One forward of the baseline, of `tomesd` if installed, and of each operator run
interleaved in one process for `--repeats` rounds.  It prints the median time, the ratio to the
baseline of the same round (median, smallest and largest), the ratio of the best times, which other
work on the machine disturbs least, and the ratio of the counted FLOPs.  `tomesd` acts at the same
sites (`max_downsample=1`).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

import bigain
from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.devices import attention_backend
from bigain.operators import ABM, IEKVD, LGTM, CachedAssignment, Operator, SiTo, ToDo, ToMe
from bigain.tasks.flops import count_flops

__all__ = ["main"]

_OPERATORS: tuple[Operator, ...] = (
    *(ToMe(0.7), LGTM(0.7), CachedAssignment(0.7), ABM(0.7), SiTo(0.7), ToDo(2), IEKVD(2, 0.9)),
)

Contexts = dict[str, Callable[[], AbstractContextManager[object]]]


def main() -> None:
    """Print one line per operator."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbone", default="sd20")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    names = ["tomesd", *(type(operator).__name__ for operator in _OPERATORS)]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    denoiser = build_denoiser(arguments.backbone)
    inputs = example_inputs(arguments.backbone, arguments.batch)
    sample = inputs.pop(next(iter(inputs)))  # by position, as tomesd wants it
    every = _contexts(denoiser)
    contexts = {name: every[name] for name in every if name in ("none", *arguments.only)}
    with torch.inference_mode():
        seconds = _interleaved(contexts, lambda: denoiser(sample, **inputs), arguments.repeats)
    _say(
        f"{arguments.backbone}, batch {arguments.batch}, {arguments.threads} threads, float32, "
        f"{attention_backend(denoiser)}, {arguments.repeats} rounds"
    )
    _say("operator            seconds   over the baseline (range)   best of best  of the FLOPs")
    shares = _flop_shares(arguments.backbone)
    for name, times in seconds.items():
        ratios = [own / none for own, none in zip(times, seconds["none"], strict=True)]
        _say(
            f"{name:18s} {statistics.median(times):8.3f}  {statistics.median(ratios):18.3f} "
            f"({min(ratios):.3f}-{max(ratios):.3f})  {min(times) / min(seconds['none']):12.3f}"
            f"  {shares.get(name, float('nan')):12.3f}"
        )


def _contexts(denoiser: nn.Module) -> Contexts:
    """What is timed, by name: contexts that apply an operator and remove it again."""
    contexts: Contexts = {"none": nullcontext}
    if find_spec("tomesd"):
        contexts["tomesd"] = lambda: _tomesd(denoiser)
    for operator in _OPERATORS:
        contexts[type(operator).__name__] = partial(bigain.apply, denoiser, operator)
    return contexts


@contextmanager
def _tomesd(denoiser: nn.Module) -> Any:
    import tomesd  # noqa: PLC0415 -- optional

    tomesd.apply_patch(denoiser, ratio=0.7, max_downsample=1)
    try:
        yield
    finally:
        tomesd.remove_patch(denoiser)


def _interleaved(
    contexts: Contexts, forward: Callable[[], object], repeats: int
) -> dict[str, list[float]]:
    """Seconds of every forward; one round runs all names once, the first is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contexts}
    for counted in range(-1, repeats):
        for name, context in contexts.items():
            with context():
                start = time.perf_counter()
                forward()
                if counted >= 0:
                    seconds[name].append(time.perf_counter() - start)
    return seconds


def _flop_shares(backbone: str) -> dict[str, float]:
    """Counted FLOPs of each operator divided by those of the baseline."""
    none = count_flops(backbone).total
    shares = {type(o).__name__: count_flops(backbone, o).total / none for o in _OPERATORS}
    return {"none": 1.0, "tomesd": shares["ToMe"], **shares}


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
