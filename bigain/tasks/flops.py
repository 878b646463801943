"""FLOPs of one forward of a denoiser, with or without an operator: counted, and in closed form.

Counted: torch's `FlopCounterMode` records the operations of a real forward.  A multiply-accumulate
is 2 FLOPs.  Matrix products and convolutions count, an attention as its two products; soft-max,
norms, sorting, indexing and element-wise arithmetic do not.  On the meta device, where tensors have
shapes but no numbers, counting a model of any size needs neither weights nor memory.

Closed form: the count of the baseline minus `SiteReport.flops_saved`, the sum over all sites of

    cost(N queries, N keys) - cost(q queries, k keys) - plan - reduce and restore

(`bigain.patching.cost`, `Operator.plan_flops`, `Operator.apply_flops`).

Both are integers and must be equal; otherwise one of them is wrong.

A trap: torch has no formula for the fused attention of the CPU and of Metal, so its counter misses
all attention on real CPU tensors.  `FUSED_ATTENTION` adds the formula.
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


@dataclass(frozen=True)
class FlopCount:
    """FLOPs of one forward.

    Attributes:
        total: the count.
        by_kind: the count by kind of work (`KINDS`); its sum is `total`.
        baseline: the count without an operator; equals `total` if there is none.
        closed_form: `baseline` minus what the operator saves in closed form.

    """

    total: int
    by_kind: Mapping[str, int]
    baseline: int
    closed_form: int

    @property
    def saved(self) -> int:
        """FLOPs saved over the baseline; negative if planning costs more than it saves."""
        return self.baseline - self.total

    def share(self, kind: str) -> float:
        """The share of `kind` in `total`, in [0, 1]."""
        return self.by_kind[kind] / self.total if self.total else 0.0


def count_flops(
    backbone: str,
    operator: Compression | None = None,
    sites: SiteSelection | None = None,
    side: int | None = None,
) -> FlopCount:
    """FLOPs of one forward of a backbone: batch 1, no guidance, meta device, no weights.

    Args:
        backbone: a name in the configuration, such as "sd20" or "dit_xl2_512".
        operator: the operator to apply; None: the baseline.
        sites: where to apply it; None: at the paper's sites (`bigain.patching.sites`).
        side: side of the latents; None: that of the backbone.

    Raises:
        UserError: unknown backbone, or the operator cannot act at these sites.

    """
    model, inputs, baseline = _on_meta(backbone, side)
    if operator is None:
        return baseline
    return _count_operator(model, inputs, baseline, operator, sites)


def count_model_flops(
    model: nn.Module,
    inputs: Mapping[str, Any],
    operator: Compression | None = None,
    sites: SiteSelection | None = None,
) -> FlopCount:
    """FLOPs of `model(**inputs)` on any device; with an operator it runs two forwards.

    Args:
        model: any module; an operator already applied counts as part of it.
        inputs: keyword arguments of its forward; the first tensor gives the batch size.
        operator: the operator to apply to a diffusers model; None: the baseline.
        sites: where to apply it; None: at the paper's sites.

    Raises:
        UserError: the operator cannot act at these sites, or another one is applied already.

    """
    baseline = _count(model, inputs)
    if operator is None:
        return baseline
    return _count_operator(model, inputs, baseline, operator, sites)


def _fused_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """2 B H q k (D + E) from the shapes (B, H, q, D), (B, H, k, D), (B, H, k, E)."""
    batch, heads, queries, width = query
    return int(2 * batch * heads * queries * key[-2] * (width + value[-1]))


def _missing_formulas() -> dict[Any, Callable[..., int]]:
    """The formula for the fused attentions of this torch version that its counter lacks."""
    names = ("flash_attention_for_cpu", "attention_math_for_mps", "fused_attention_overrideable")
    found = (getattr(torch.ops.aten, f"_scaled_dot_product_{name}", None) for name in names)
    return {packet: _fused_attention for packet in found if packet is not None}


FUSED_ATTENTION: Mapping[Any, Callable[..., int]] = _missing_formulas()
"""On real tensors, use `FlopCounterMode(custom_mapping=dict(FUSED_ATTENTION))`."""


# One model serves all counts of a backbone: it has no weights, and `apply` restores it.
@cache
def _on_meta(backbone: str, side: int | None) -> tuple[nn.Module, dict[str, Any], FlopCount]:
    model = build_denoiser(backbone, "meta")
    inputs = example_inputs(backbone, device="meta", side=side)
    return model, inputs, _count(model, inputs)


def _count_operator(
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
        raise RuntimeError(f"{report!r}: the counted forward did not reach a site")
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
    """FLOPs of the hooks around modules, by the last part of the module's name.

    Torch's counter takes what runs before a module as part of it, and what runs after it as part of
    the module around it.
    """

    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    _before: int = 0

    def begin(self, counter: FlopCounterMode) -> None:
        self._before = counter.get_total_flops()

    def end(self, part: str, counter: FlopCounterMode, found: dict[str, int]) -> None:
        spent = counter.get_total_flops() - self._before
        found[part] = found.get(part, 0) + spent


@contextmanager
def _watched(model: nn.Module, counter: FlopCounterMode) -> Iterator[_Hooked]:
    """Count what the hooks of each of `_PARTS` compute, with hooks around them."""
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


def _by_kind(counts: _Counts, hooked: _Hooked, total: int) -> dict[str, int]:
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
    return sum(sum(counts[name].values()) for name in named)


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
