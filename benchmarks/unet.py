"""Time that operators save in a complete denoiser; `python benchmarks/unet.py`.

It uses the U-Net of SD-2.0 (or another `--backbone`) with random weights, since time does not
depend on weights.  One forward of the baseline, of `tomesd` if installed, and of each operator run
interleaved for `--repeats` rounds in each of `--processes` processes.  It prints the median time,
the ratio to the baseline of the same round (its median in each process), the ratio of the best
times, which other work on the machine disturbs least, and the ratio of the counted FLOPs.  `tomesd`
acts at the same sites (`max_downsample=1`).  With one thread it is processor time.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timing
import torch
from torch import nn

import bigain
from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.config.architectures import ARCHITECTURES
from bigain.errors import in_one_line
from bigain.operators import ABM, IEKVD, LGTM, CachedAssignment, Operator, SiTo, ToDo, ToMe
from bigain.tasks.flops import count_flops

__all__ = ["main"]

_OPERATORS: tuple[Operator, ...] = (
    *(ToMe(0.7), LGTM(0.7), CachedAssignment(0.7), ABM(0.7), SiTo(0.7), ToDo(2), IEKVD(2, 0.9)),
)

Contexts = dict[str, Callable[[], AbstractContextManager[object]]]

_NAMES = [name for name, about in ARCHITECTURES.items() if about.blocks is None]
"""The U-Nets."""


def main() -> None:
    """Print one line per operator, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbone", choices=_NAMES, default="sd20")
    parser.add_argument("--repeats", type=timing.positive, default=7)
    parser.add_argument("--processes", type=timing.positive, default=1)
    parser.add_argument("--threads", type=timing.positive, default=2)
    parser.add_argument("--batch", type=timing.positive, default=1)
    names = ["tomesd", *(type(operator).__name__ for operator in _OPERATORS)]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    place = {**timing.conditions(), "threads": options.threads}
    file = timing.RowFile(options.csv, place)
    for process in range(options.processes):
        arguments = (options.backbone, options.batch, options.threads, options.repeats)
        found = timing.in_fresh_process(_measured, *arguments, options.only)
        for name, times in found.items():
            ratio = timing.spread(timing.ratios(times, found["none"]))
            file.add(
                backbone=options.backbone,
                batch=options.batch,
                operator=name,
                process=process,
                rounds=options.repeats,
                ms=round(1e3 * statistics.median(times), 3),
                best_ms=round(1e3 * min(times), 3),
                over_baseline=round(ratio.median, 4),
                over_baseline_low=round(ratio.low, 4),
                over_baseline_high=round(ratio.high, 4),
            )
    _show(options.backbone, file.rows)


def _measured(
    backbone: str, batch: int, threads: int, repeats: int, only: list[str]
) -> dict[str, list[float]]:
    """Seconds of a forward, without and with each operator, in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    denoiser = build_denoiser(backbone)
    inputs = example_inputs(backbone, batch)
    sample = inputs.pop(next(iter(inputs)))  # by position, as tomesd wants it
    every = _contexts(denoiser)
    contexts = {name: every[name] for name in every if name in ("none", *only)}
    clock = time.process_time if threads == 1 else time.perf_counter
    tasks = {name: partial(denoiser, sample, **inputs) for name in contexts}
    with torch.inference_mode():
        return timing.interleaved(tasks, repeats, clock=clock, within=contexts)


def _show(backbone: str, rows: list[Any]) -> None:
    print("operator              ms   over the baseline: processes   best of best  of the FLOPs")
    best = min(row["best_ms"] for row in rows if row["operator"] == "none")
    for name, share in _flop_shares(backbone).items():
        own = [row for row in rows if row["operator"] == name]
        if own:
            ratio = timing.spread(row["over_baseline"] for row in own)
            print(
                f"{name:18s} {statistics.median(row['ms'] for row in own):8.1f}  {ratio!s:>25}  "
                f"{min(row['best_ms'] for row in own) / best:12.3f}  {share:12.3f}"
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


def _flop_shares(backbone: str) -> dict[str, float]:
    """Counted FLOPs of each operator divided by those of the baseline."""
    none = count_flops(backbone).total
    shares = {type(o).__name__: count_flops(backbone, o).total / none for o in _OPERATORS}
    return {"none": 1.0, "tomesd": shares["ToMe"], **shares}


if __name__ == "__main__":
    sys.exit(in_one_line(main))
