"""Time of an operator compared with the attention it shortens; `python benchmarks/operators.py`.

For each shape (batch, side of the grid, channels) it measures, in milliseconds per call and
interleaved in one process: plan, reduce and restore of every operator; one plain self-attention
(projections and fused kernel); the attention with the operator; and, if installed, plan, merge and
unmerge of `tomesd`, whose sum ours is compared with.  It prints the best of `--repeats`, because
other work on the machine only adds time; with one thread this is CPU time.
"""

import argparse
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

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
_HEADER = (
    "operator    plan  reduce  restore      sum  of tomesd's  with attention  of plain attention"
)


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
    """Print one block per shape."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        for batch, side, channels in _SHAPES:
            _report(batch, side, channels, arguments.repeats)


def _report(batch: int, side: int, channels: int, repeats: int) -> None:
    grid = (side, side)
    x = torch.randn(batch, side * side, channels)
    draw = RandomKey(timesteps=torch.arange(batch) % 5 * 200)
    attention = _Attention(channels, heads=4)
    tasks: dict[str, Callable[[], object]] = {"plain": lambda: attention(x)}
    for operator in _OPERATORS:
        tasks |= _tasks(operator, x, grid, draw, attention)
    if find_spec("tomesd"):
        tasks |= _tomesd_tasks(x, side)
    best = _interleaved(tasks, repeats)
    threads = torch.get_num_threads()
    _say(f"\nbatch {batch}, {side}x{side} tokens, {channels} channels, {threads} thread(s)")
    _say(f"plain attention {best['plain']:.2f} ms (scaled_dot_product_attention)")
    _say(_HEADER)
    rival = sum(best.get(f"tomesd {part}", float("nan")) for part in _PARTS)
    for name in (*(type(operator).__name__ for operator in _OPERATORS), "tomesd"):
        if f"{name} plan" in best:
            _say(_row(name, best, rival))


def _row(name: str, best: dict[str, float], rival: float) -> str:
    parts = [best[f"{name} {part}"] for part in _PARTS]
    whole = best.get(f"{name} whole", float("nan"))
    return (
        "{:8s} {:7.3f} {:7.3f} {:8.3f} {:8.3f} {:12.2f} {:15.2f} {:19.2f}".format(
            name, *parts, sum(parts), sum(parts) / rival, whole, whole / best["plain"]
        )
    ).replace("nan", "  -")


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


def _interleaved(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Best time of every task in milliseconds; all tasks once per round."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(repeats):
        for name, task in tasks.items():
            start = clock()
            task()
            best[name] = min(best[name], 1e3 * (clock() - start))
    return best


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
