"""FLOPs of one forward of a denoiser, with or without an operator: counted, and in closed form.

Counted: torch's `FlopCounterMode` watches the operations of a real forward.  A multiply-accumulate
is 2 FLOPs; matrix products and convolutions count (an attention as its two products), soft-max,
norms, sorting, indexing and element-wise arithmetic do not.  On the meta device, where tensors have
shapes and no numbers, this needs neither weights nor memory, whatever the size of the model.

Closed form: the count without operator minus `SiteReport.flops_saved`, the sum over the sites of

    cost(N queries, N keys) - cost(q queries, k keys) - plan        (`bigain.patching.cost`)

Both are whole numbers and must be equal; where they are not, one of them is wrong.

The trap: torch has no formula for the fused attention of the CPU (nor for that of Metal), so its
counter sees no attention at all on real CPU tensors.  `FUSED_ATTENTION` supplies the formula.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.operators import Compression
from bigain.patching.apply import apply
from bigain.patching.selection import SiteSelection

__all__ = ["FUSED_ATTENTION", "KINDS", "FlopCount", "count_flops", "count_model_flops"]

KINDS: Mapping[str, str] = {
    "convolution": "all convolutions outside of operators",
    "mlp": "the feed-forward `ff` of transformer blocks",
    "self_attention": "the two products of the self-attention `attn1`",
    "self_projections": "its projections of queries, keys, values and output",
    "cross_attention": "the cross-attention `attn2`: products and projections",
    "operator": "what an operator computes around them: planning, reducing, restoring",
    "other": "the rest: embeddings, modulation, projections in and out of transformers",
}
"""Kinds of work in a `FlopCount`; those after convolution go by diffusers' names of modules."""

_Counts = Mapping[str, Mapping[Any, int]]


@dataclass(frozen=True)
class FlopCount:
    """FLOPs of one forward.

    Attributes:
        total: what was counted.
        by_kind: the same by kind of work (`KINDS`); sums to `total`.
        baseline: what was counted without an operator; `total` itself when there is none.
        closed_form: `baseline` minus what the closed forms say the operator saves.

    """

    total: int
    by_kind: Mapping[str, int]
    baseline: int
    closed_form: int

    @property
    def saved(self) -> int:
        """FLOPs less than without operator; negative if planning costs more than it saves."""
        return self.baseline - self.total

    def share(self, kind: str) -> float:
        """The part of `total` that is of `kind`, 0..1."""
        return self.by_kind[kind] / self.total if self.total else 0.0


def count_flops(
    backbone: str, operator: Compression | None = None, sites: SiteSelection | None = None
) -> FlopCount:
    """FLOPs of one forward of a backbone without weights: batch 1, no guidance, meta device.

    Args:
        backbone: a name in the configuration, such as "sd20" or "dit_xl2_512".
        operator: what to apply; None: nothing.
        sites: where; None: where the paper applies it (`bigain.patching.sites`).

    Raises:
        UserError: there is no such backbone, or the operator cannot act at these sites.

    """
    model, inputs, baseline = _on_meta(backbone)
    return baseline if operator is None else _accelerated(model, inputs, baseline, operator, sites)


def count_model_flops(
    model: nn.Module,
    inputs: Mapping[str, Any],
    operator: Compression | None = None,
    sites: SiteSelection | None = None,
) -> FlopCount:
    """FLOPs of `model(**inputs)` on any device; two forwards when there is an operator.

    Args:
        model: any module; an operator that is applied to it already counts as part of it.
        inputs: keyword arguments of its forward; the batch is the length of the first tensor.
        operator: what to apply, for a diffusers model; None: nothing.
        sites: where; None: where the paper applies it.

    Raises:
        UserError: the operator cannot act at these sites, or one is applied already.

    """
    baseline = _count(model, inputs)
    if operator is None:
        return baseline
    return _accelerated(model, inputs, baseline, operator, sites)


def _fused_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """2 B H q k (D + E) from the shapes (B, H, q, D), (B, H, k, D), (B, H, k, E)."""
    batch, heads, queries, width = query
    return int(2 * batch * heads * queries * key[-2] * (width + value[-1]))


def _missing_formulas() -> dict[Any, Callable[..., int]]:
    """The formula for those fused attentions of this torch that its counter does not know."""
    names = ("flash_attention_for_cpu", "attention_math_for_mps", "fused_attention_overrideable")
    found = (getattr(torch.ops.aten, f"_scaled_dot_product_{name}", None) for name in names)
    return {packet: _fused_attention for packet in found if packet is not None}


FUSED_ATTENTION: Mapping[Any, Callable[..., int]] = _missing_formulas()
"""What `FlopCounterMode(custom_mapping=dict(FUSED_ATTENTION))` needs on real tensors."""


# The model has no weights and `apply` leaves it as it was, so one serves all counts of a backbone.
@cache
def _on_meta(backbone: str) -> tuple[nn.Module, dict[str, Any], FlopCount]:
    model = build_denoiser(backbone, "meta")
    inputs = example_inputs(backbone, device="meta")
    return model, inputs, _count(model, inputs)


def _accelerated(
    model: nn.Module,
    inputs: Mapping[str, Any],
    baseline: FlopCount,
    operator: Compression,
    sites: SiteSelection | None,
) -> FlopCount:
    with apply(model, operator, sites=sites) as report:
        counted = _count(model, inputs)
        saved = report.flops_saved
    if saved is None:
        raise RuntimeError(f"{report!r}: a site was not reached by the forward that was counted")
    closed = baseline.total - _batch(inputs) * saved
    return FlopCount(counted.total, counted.by_kind, baseline.total, closed)


def _batch(inputs: Mapping[str, Any]) -> int:
    return next(len(value) for value in inputs.values() if isinstance(value, Tensor) and value.ndim)


@torch.no_grad()
def _count(model: nn.Module, inputs: Mapping[str, Any]) -> FlopCount:
    counter = FlopCounterMode(display=False, custom_mapping=dict(FUSED_ATTENTION))
    with counter, _watched(model, counter) as hooked:
        model(**inputs)
    total = int(counter.get_total_flops())
    return FlopCount(total, _by_kind(counter.get_flop_counts(), hooked, total), total, total)


@dataclass
class _Hooked:
    """FLOPs of operations that hooks run around modules, by last part of the module's name."""

    flops: dict[str, int] = field(default_factory=dict)
    _before: int = 0

    def begin(self, counter: FlopCounterMode) -> None:
        self._before = counter.get_total_flops()

    def end(self, part: str, counter: FlopCounterMode) -> None:
        spent = counter.get_total_flops() - self._before
        self.flops[part] = self.flops.get(part, 0) + spent


@contextmanager
def _watched(model: nn.Module, counter: FlopCounterMode) -> Iterator[_Hooked]:
    """Hooks around the hooks of every `attn1`, `attn2` and `ff`: first in, and last out."""
    hooked = _Hooked()
    with ExitStack() as installed:
        for name, module in model.named_modules():
            part = name.rpartition(".")[2]
            if part in _PARTS:
                for handle in _brackets(module, part, hooked, counter):
                    installed.callback(handle.remove)
        yield hooked


def _brackets(module: nn.Module, part: str, hooked: _Hooked, counter: FlopCounterMode) -> list[Any]:
    def begin(*_: object) -> None:
        hooked.begin(counter)

    def end(*_: object) -> None:
        hooked.end(part, counter)

    return [
        module.register_forward_pre_hook(begin, prepend=True),
        module.register_forward_pre_hook(end),
        module.register_forward_hook(begin, prepend=True),
        module.register_forward_hook(end),
    ]


_PARTS = ("attn1", "attn2", "ff")


def _by_kind(counts: _Counts, hooked: _Hooked, total: int) -> dict[str, int]:
    """Split `counts`, FLOPs by module (with all below it) and operation."""
    inside = {part: _inside(counts, part) for part in _PARTS}
    work = {part: inside[part] - hooked.flops.get(part, 0) for part in _PARTS}
    projections = _inside(counts, "attn1", below=1)
    kinds = {
        "convolution": _convolutions(counts),
        "mlp": work["ff"],
        "self_attention": work["attn1"] - projections,
        "self_projections": projections,
        "cross_attention": work["attn2"],
        "operator": sum(hooked.flops.values()),
    }
    return {**kinds, "other": total - sum(kinds.values())}


def _inside(counts: _Counts, part: str, below: int = 0) -> int:
    """FLOPs of the modules named `part`, or of those that many levels `below` them."""
    found = (name.split(".") for name in counts)
    named = [".".join(path) for path in found if _is_below(path, part, below)]
    return sum(sum(counts[name].values()) for name in named)


def _is_below(path: list[str], part: str, below: int) -> bool:
    """`to_out.0` is one level below `attn1`: the list between them is never called."""
    rest = path[path.index(part) + 1 :] if part in path else None
    return rest is not None and sum(not name.isdigit() for name in rest) == below


def _convolutions(counts: _Counts) -> int:
    """All convolutions but those inside the parts, where only operators convolve."""
    inside = [name for name in counts if name.rpartition(".")[2] in _PARTS]
    packets = torch.ops.aten.convolution, torch.ops.aten._convolution
    everywhere = sum(counts.get("Global", {}).get(packet, 0) for packet in packets)
    return everywhere - sum(counts[name].get(packet, 0) for name in inside for packet in packets)
