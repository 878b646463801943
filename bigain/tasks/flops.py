"""FLOPs of one forward of a denoiser, with or without an operator: counted, and in closed form.

Counted: torch's `FlopCounterMode` records the operations of a real forward.  A multiply-accumulate
is 2 FLOPs.  Matrix products and convolutions count, an attention as its two products; soft-max,
norms, sorting, indexing and element-wise arithmetic do not.  On the meta device, where tensors have
shapes but no numbers, counting a model of any size needs neither weights nor memory.

Closed form: the count of the baseline minus `SiteReport.flops_saved`, the sum over all sites of

    cost(N queries, N keys) - cost(q queries, k keys) - plan - reduce and restore

(`bigain.patching.cost`, `Operator.plan_flops`, `Operator.apply_flops`).

Both are integers and must be equal; otherwise one of them is wrong.

Of an operator that acts by timestep both are means over the evaluations of an image.

A trap: torch has no formula for the fused attention of the CPU and of Metal, so its counter misses
all attention on real CPU tensors.  `FUSED_ATTENTION` adds the formula.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.operators import ByTimestep, Compression
from bigain.patching.apply import apply
from bigain.patching.forward import ModelCall
from bigain.patching.selection import SiteSelection
from bigain.tasks.flop_kinds import KINDS, by_kind, watched

__all__ = ["FUSED_ATTENTION", "KINDS", "FlopCount", "count_flops", "count_model_flops"]


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
    if isinstance(operator, ByTimestep):
        return _count_by_timestep(model, inputs, baseline, operator)
    with apply(model, operator, sites=sites) as report:
        counted = _count(model, inputs)
        saved = report.flops_saved
    if saved is None:
        raise RuntimeError(f"{report!r}: the counted forward did not reach a site")
    closed = baseline.total - _batch(inputs) * saved
    return FlopCount(counted.total, counted.by_kind, baseline.total, closed)


def _count_by_timestep(
    model: nn.Module, inputs: Mapping[str, Any], baseline: FlopCount, operator: ByTimestep
) -> FlopCount:
    """The mean over the evaluations of an image, rounded; equal timesteps are counted once."""
    evaluations: dict[Hashable, int] = {}
    example: dict[Hashable, int] = {}
    for timestep, count in operator.evaluations.items():
        pattern = operator.pattern(timestep)
        evaluations[pattern] = evaluations.get(pattern, 0) + count
        example.setdefault(pattern, timestep)
    totals, kinds, closed = 0, dict.fromkeys(baseline.by_kind, 0), 0
    with apply(model, operator) as report:
        for pattern, count in evaluations.items():
            counted = _count_at(model, inputs, example[pattern])
            if report.flops_saved is None:
                raise RuntimeError(f"{report!r}: an attention has no closed form")
            totals += count * counted.total
            closed += count * (baseline.total - _batch(inputs) * report.flops_saved)
            kinds = {kind: kinds[kind] + count * own for kind, own in counted.by_kind.items()}
    number = sum(evaluations.values())
    total = round(totals / number)
    rounded = {kind: round(own / number) for kind, own in kinds.items() if kind != "other"}
    parts = {**rounded, "other": total - sum(rounded.values())}
    return FlopCount(total, parts, baseline.total, round(closed / number))


def _count_at(model: nn.Module, inputs: Mapping[str, Any], timestep: int) -> FlopCount:
    """The count at one timestep, which inputs on the meta device do not tell."""
    call = ModelCall.on(model)
    assert call is not None
    call.on_cpu = torch.tensor([timestep])
    try:
        return _count(model, inputs)
    finally:
        call.on_cpu = None


def _batch(inputs: Mapping[str, Any]) -> int:
    return next(len(value) for value in inputs.values() if isinstance(value, Tensor) and value.ndim)


@torch.no_grad()
def _count(model: nn.Module, inputs: Mapping[str, Any]) -> FlopCount:
    counter = FlopCounterMode(display=False, custom_mapping=dict(FUSED_ATTENTION))
    with counter, watched(model, counter) as hooked:
        model(**inputs)
    total = int(counter.get_total_flops())
    return FlopCount(total, by_kind(counter.get_flop_counts(), hooked, total), total, total)
