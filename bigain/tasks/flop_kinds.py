"""FLOPs of one forward by kind of work, from what torch's counter says of each module."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["KINDS", "Hooked", "by_kind", "watched"]

KINDS: Mapping[str, str] = {
    "convolution": "all convolutions outside operators",
    "mlp": "the feed-forward `ff` of transformer blocks",
    "self_attention": "the two products of the self-attention `attn1`, of SD3 the joint `attn`",
    "self_projections": "its projections of queries, keys, values and output",
    "cross_attention": "the cross-attention `attn2`: products and projections (of SD3.5 the second "
    "self-attention)",
    "operator": "what the operator itself computes: planning, reducing, restoring",
    "other": "the rest: embeddings, modulation, projections in and out of transformers",
}
"""The kinds of work in a `FlopCount`, by diffusers' module names (except convolution)."""

_Counts = Mapping[str, Mapping[Any, int]]


@dataclass
class Hooked:
    """FLOPs of the hooks around modules, by the last part of the module's name.

    Torch's counter takes what runs before a module as part of it, and what runs after it as part of
    the module around it.
    """

    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    _before: int = 0

    def begin(self, counter: FlopCounterMode) -> None:
        """Hooks begin to compute."""
        self._before = counter.get_total_flops()

    def end(self, part: str, counter: FlopCounterMode, found: dict[str, int]) -> None:
        """Those of a module named `part` have finished."""
        spent = counter.get_total_flops() - self._before
        found[part] = found.get(part, 0) + spent


@contextmanager
def watched(model: nn.Module, counter: FlopCounterMode) -> Iterator[Hooked]:
    """Count what the hooks of each of `_PARTS` compute, with hooks around them."""
    hooked = Hooked()
    with ExitStack() as installed:
        for name, module in model.named_modules():
            part = name.rpartition(".")[2]
            if part in _PARTS:
                for handle in _brackets(module, part, hooked, counter):
                    installed.callback(handle.remove)
        yield hooked


def _brackets(module: nn.Module, part: str, hooked: Hooked, counter: FlopCounterMode) -> list[Any]:
    def begin(*_: object) -> None:
        hooked.begin(counter)

    def end_before(*_: object) -> None:
        hooked.end(part, counter, hooked.before)

    def end_after(*_: object) -> None:
        hooked.end(part, counter, hooked.after)

    return [
        module.register_forward_pre_hook(begin, prepend=True),
        module.register_forward_pre_hook(end_before),
        module.register_forward_hook(begin, prepend=True),
        module.register_forward_hook(end_after),
    ]


_PARTS = ("attn1", "attn", "attn2", "ff")


def by_kind(counts: _Counts, hooked: Hooked, total: int) -> dict[str, int]:
    """Split `counts`, the FLOPs by module (including submodules) and operation, by kind."""
    inside = {part: _inside(counts, part) for part in _PARTS}
    work = {part: inside[part] - hooked.before.get(part, 0) for part in _PARTS}
    projections = sum(_inside(counts, part, below=1) for part in ("attn1", "attn"))
    kinds = {
        "convolution": _convolutions(counts),
        "mlp": work["ff"],
        "self_attention": work["attn1"] + work["attn"] - projections,
        "self_projections": projections,
        "cross_attention": work["attn2"],
        "operator": sum((*hooked.before.values(), *hooked.after.values())),
    }
    return {**kinds, "other": total - sum(kinds.values())}


def _inside(counts: _Counts, part: str, below: int = 0) -> int:
    """FLOPs of the modules named `part`, or of those `below` levels under them."""
    found = (name.split(".") for name in counts)
    named = [".".join(path) for path in found if _is_below(path, part, below)]
    # `attn1.0` is a version of the module that stands in the place `attn1`, and counted there.
    outer = [n for n in named if not any(n.startswith(f"{other}.") for other in named)]
    return sum(sum(counts[name].values()) for name in outer)


def _is_below(path: list[str], part: str, below: int) -> bool:
    """Whether `path` is `below` levels under `part`; numbers do not count: `to_out.0` is one."""
    rest = path[path.index(part) + 1 :] if part in path else None
    return rest is not None and sum(not name.isdigit() for name in rest) == below


def _convolutions(counts: _Counts) -> int:
    """All convolutions except those inside `_PARTS`, where only operators convolve."""
    inside = [name for name in counts if name.rpartition(".")[2] in _PARTS]
    packets = torch.ops.aten.convolution, torch.ops.aten._convolution
    everywhere = sum(counts.get("Global", {}).get(packet, 0) for packet in packets)
    return everywhere - sum(counts[name].get(packet, 0) for name in inside for packet in packets)
