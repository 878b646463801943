"""Time of an operator compared with the attention it shortens; `python benchmarks/operators.py`.

For each shape (batch, side of the grid, channels) it measures, in milliseconds per call and
interleaved in one process: plan, reduce and restore of every operator; one plain self-attention
(projections and fused kernel); the attention with the operator; and, if installed, plan, merge and
unmerge of `tomesd`, whose sum ours is compared with.  Times are medians over `--repeats` rounds in
each of `--processes` processes, ratios are those of one round; with one thread this is CPU time.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor, nn

from bigain.errors import in_one_line
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    AvgPool,
    KeyValueReducer,
    KVSelect,
    Operator,
    RandomKey,
    SiTo,
    ToDo,
    ToMe,
)

__all__ = ["main"]

_OPERATORS: tuple[Operator, ...] = (
    *(ToMe(0.7), LGTM(0.7), ABM(0.7), SiTo(0.7)),
    *(ToDo(2), AvgPool(2), IEKVD(2, 0.9), KVSelect(0.75)),
)
_PARTS = ("plan", "reduce", "restore")
_SHAPES = ((10, 16, 48), (64, 16, 48), (10, 16, 128), (64, 16, 128), (1, 64, 320))


class _Attention(nn.Module):
    """A self-attention as in the models: four projections around torch's fused kernel."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))
        self.heads = heads

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q(x), self.k(context), self.v(context))
        )
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        output: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return output


def main() -> None:
    """Print one block per shape, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=timing.positive, default=6)
    parser.add_argument("--processes", type=timing.positive, default=2)
    parser.add_argument("--threads", type=timing.positive, default=1)
    parser.add_argument(
        "--shapes", type=timing.positive, default=len(_SHAPES), help="the first so many"
    )
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    file = timing.RowFile(options.csv, {**timing.conditions(), "threads": options.threads})
    for shape in _SHAPES[: options.shapes]:
        found: dict[str, list[float]] = {}
        for _ in range(options.processes):
            part = timing.in_fresh_process(_measured, shape, options.repeats, options.threads)
            for name, times in part.items():
                found.setdefault(name, []).extend(times)
        batch, side, channels = shape
        print(f"\nbatch {batch}, {side}x{side} tokens, {channels} channels, ms")
        for row in table(found):
            file.add(batch=batch, tokens=side * side, channels=channels, **row)
            print(*(f"{key} {value}" for key, value in row.items() if value != ""), sep="  ")


def table(seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A row per operator: medians in ms, its sum over that of tomesd, its attention over the plain.

    Args:
        seconds: Of each round, by "<operator> <part>" and "plain".

    """
    names = [key.removesuffix(" plan") for key in seconds if key.endswith(" plan")]
    sums = {name: _sum([seconds[f"{name} {part}"] for part in _PARTS]) for name in names}
    rows = []
    for name in names:
        row: dict[str, Any] = {"operator": name}
        for part in _PARTS:
            row[f"{part}_ms"] = round(1e3 * statistics.median(seconds[f"{name} {part}"]), 3)
        row["sum_ms"] = round(1e3 * statistics.median(sums[name]), 3)
        row |= _ratio("of_tomesd", sums[name], sums.get("tomesd"))
        row |= _ratio("of_attention", seconds.get(f"{name} whole"), seconds["plain"])
        rows.append(row)
    return rows


def _sum(parts: list[list[float]]) -> list[float]:
    return [sum(times) for times in zip(*parts, strict=True)]


def _ratio(name: str, own: list[float] | None, other: list[float] | None) -> dict[str, Any]:
    """Three columns, empty if one side was not measured."""
    columns = (name, f"{name}_low", f"{name}_high")
    if own is None or other is None:
        return dict.fromkeys(columns, "")
    values = timing.spread(timing.ratios(own, other))
    return dict(zip(columns, (round(value, 3) for value in values), strict=True))


def _measured(shape: tuple[int, int, int], repeats: int, threads: int) -> dict[str, list[float]]:
    """Seconds of every part in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    batch, side, channels = shape
    x = torch.randn(batch, side * side, channels)
    draw = RandomKey(timesteps=torch.arange(batch) % 5 * 200)
    attention = _Attention(channels, heads=4)
    tasks: dict[str, Callable[[], object]] = {"plain": lambda: attention(x)}
    with torch.inference_mode():
        for operator in _OPERATORS:
            tasks |= _tasks(operator, x, (side, side), draw, attention)
        if find_spec("tomesd"):
            tasks |= _tomesd_tasks(x, side)
        clock = time.process_time if threads == 1 else time.perf_counter
        return timing.interleaved(tasks, repeats, clock=clock)


def _tasks(
    operator: Operator, x: Tensor, grid: tuple[int, int], draw: RandomKey, attention: _Attention
) -> dict[str, Callable[[], object]]:
    name = type(operator).__name__
    plan = operator.plan(x, grid, draw)
    reduced = plan.reduce(x)

    def whole() -> Tensor:
        fresh = operator.plan(x, grid, draw)
        if isinstance(operator, KeyValueReducer):
            with_context: Tensor = attention(x, fresh.reduce(x))
            return with_context
        output: Tensor = attention(fresh.reduce(x))
        return fresh.restore(output)

    return {
        f"{name} plan": lambda: operator.plan(x, grid, draw),
        f"{name} reduce": lambda: plan.reduce(x),
        f"{name} restore": lambda: plan.restore(reduced),
        f"{name} whole": whole,
    }


def _tomesd_tasks(x: Tensor, side: int) -> dict[str, Callable[[], object]]:
    from tomesd.merge import bipartite_soft_matching_random2d  # noqa: PLC0415 - optional

    removed = int(x.shape[1] * 0.7)

    def plan() -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        maps: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
        maps = bipartite_soft_matching_random2d(x, side, side, 2, 2, removed, no_rand=True)
        return maps

    merge, unmerge = plan()
    merged = merge(x)
    return {
        "tomesd plan": plan,
        "tomesd reduce": lambda: merge(x),
        "tomesd restore": lambda: unmerge(merged),
    }


if __name__ == "__main__":
    sys.exit(in_one_line(main))
