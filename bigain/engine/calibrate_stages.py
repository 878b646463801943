"""The weights of `operator=mosaic_diff`: how much each stage loses, and what of which module."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bigain.engine.calibration_material import Made, Material
from bigain.errors import UserError
from bigain.operators import MosaicDiff
from bigain.operators.obs import prune_heads, prune_units
from bigain.operators.stage_weights import STAGES, allocate, stage_of, stage_scores
from bigain.patching.branches import Branch, find_branches
from bigain.patching.cost import cost_of
from bigain.patching.narrow import last_layer, units_of
from bigain.tasks.batches import MicroBatches
from bigain.tasks.curvature import Curvature, Image, curvatures
from bigain.tasks.flops import FUSED_ATTENTION
from bigain.tasks.protocol import StagedProtocol

__all__ = ["calibrate_stages", "units_removed"]

_STEPS = 1000
"""Mean sparsities that are tried: multiples of 1 / _STEPS."""

_LEAST_UNITS = 64
_ROUNDING = 1e-12
_DIGITS = 6

Removed = list[dict[str, int]]
"""For each stage: path of a module -> heads or hidden units that go."""


def units_removed(part: str, units: int, sparsity: float) -> int:
    """How many of the heads (`self`, `cross`) or hidden units (`mlp`) of a module go.

    The nearest number to the sparsity, but one head stays, and a quarter of the hidden units or 64.
    """
    least = min(_LEAST_UNITS, -(-units // 4)) if part == "mlp" else 1
    return min(units - least, int(units * sparsity + 0.5))


def calibrate_stages(material: Material, settings: MosaicDiff) -> Made:
    """Measure the curvatures, find the sparsity that meets the target, and prune each stage.

    Raises:
        UserError: An image cannot be read, or the target is more than may go.

    """
    branches = [
        branch
        for branch in find_branches(material.backbone.denoiser)
        if branch.part in ("self", "mlp") or (branch.part == "cross" and settings.cross_attention)
    ]
    labels = material.labels
    images = [
        Image(material.image_ids[n], labels[n], material.latents(n)) for n in range(len(material))
    ]
    batches = MicroBatches(material.batch_size)
    found = [
        curvatures(material.backbone, branches, images, stage, settings.seed, batches)
        for stage in STAGES
    ]
    protocol = StagedProtocol(settings.trial_list, settings.keep_list)
    counts = protocol.evaluations_at(material.backbone.num_classes)
    energy = float(torch.cat([image.latents for image in images]).double().square().mean())
    scores = stage_scores(material.backbone.schedule.alphas_cumprod, energy)
    weights = _weights(counts)
    total = _total(material, images[0])
    saving = _Saving(branches, found[0], weights, total)
    sparsities, removed = _meeting(settings, scores, weights, saving)
    kept, tensors = _pruned(branches, found, removed)
    share = saving.of(removed)
    content: dict[str, Any] = {
        "energy": round(energy, _DIGITS),
        "scores": [round(score, _DIGITS) for score in scores],
        "sparsities": [round(sparsity, _DIGITS) for sparsity in sparsities],
        "flops": {"total": total},
        "removed": round(share, _DIGITS),
        "evaluations": {str(t): count for t, count in sorted(counts.items())},
        "modules": [branch.name for branch in branches],
        "kept": kept,
    }
    return Made(content, tensors, len(images), f"{100 * share:.2f} % of the FLOPs removed")


class _Saving:
    """The share of FLOPs that goes with some heads and hidden units, in closed form.

    Raises:
        UserError: An attention has no closed form.

    """

    def __init__(
        self,
        branches: Sequence[Branch],
        seen: Mapping[str, Curvature],
        weights: Sequence[float],
        total: int,
    ) -> None:
        self.branches = branches
        self._each = {branch.name: _of_one_unit(branch, seen[branch.name]) for branch in branches}
        self._weights, self._total = weights, total

    def of(self, removed: Removed) -> float:
        """The mean over the evaluations of an image."""
        stages = (sum(self._each[path] * n for path, n in own.items()) for own in removed)
        saved = sum(w * flops for w, flops in zip(self._weights, stages, strict=True))
        return float(saved / self._total)


def _of_one_unit(branch: Branch, seen: Curvature) -> float:
    """FLOPs of one head or hidden unit; those of a module are as many times as many."""
    ((_, module),) = branch.modules
    cost = cost_of(branch.part, module)
    if cost is None:
        raise UserError(
            f"module={branch.name}: the FLOPs of this kind of attention are not known; allowed: "
            "soft-max attention of diffusers"
        )
    keys = seen.tokens if seen.context is None else seen.context
    return cost.flops(seen.tokens, keys) / units_of(branch.part, module)


def _meeting(
    settings: MosaicDiff, scores: Sequence[float], weights: Sequence[float], saving: _Saving
) -> tuple[list[float], Removed]:
    """The sparsities of the stages at the smallest mean that meets the target, and what goes."""
    share = 0.0
    for step in range(_STEPS + 1):
        sparsities = allocate(step / _STEPS, scores, weights, settings.allocation)
        removed = [_removed(saving.branches, sparsity) for sparsity in sparsities]
        share = saving.of(removed)
        if share >= settings.target - _ROUNDING:
            return sparsities, removed
    raise UserError(
        f"operator.target={settings.target:g}: allowed: a number from 0 to {share:.4g}, the share "
        "of heads and hidden units that may go"
    )


def _removed(branches: Sequence[Branch], sparsity: float) -> dict[str, int]:
    return {
        branch.name: units_removed(branch.part, units_of(branch.part, module), sparsity)
        for branch in branches
        for _, module in branch.modules
    }


def _pruned(
    branches: Sequence[Branch], found: Sequence[Mapping[str, Curvature]], removed: Removed
) -> tuple[list[dict[str, list[int]]], dict[str, Tensor]]:
    """For each stage what stays of the modules that lose something, and their last weights."""
    kept: list[dict[str, list[int]]] = []
    tensors = {}
    for stage, (own, gone) in enumerate(zip(found, removed, strict=True)):
        kept.append({})
        for branch in branches:
            if not gone[branch.name]:
                continue
            ((_, module),) = branch.modules
            w, h = last_layer(branch.part, module).weight.detach(), own[branch.name].h
            if branch.part == "mlp":
                left, numbers = prune_units(w, h, gone[branch.name])
            else:
                heads = units_of(branch.part, module)
                left, numbers = prune_heads(w, h, heads, gone[branch.name])
            kept[stage][branch.name] = numbers
            # Half precision, as the shipped weights are.
            tensors[f"{stage}.{branch.name}"] = left.half().contiguous()
    return kept, tensors


def _weights(counts: Mapping[int, int]) -> list[float]:
    """The share of evaluations in each stage."""
    totals = [0] * len(STAGES)
    for timestep, count in counts.items():
        totals[stage_of(timestep)] += count
    return [total / sum(totals) for total in totals]


def _total(material: Material, image: Image) -> int:
    """FLOPs of one evaluation, counted."""
    device = next(material.backbone.denoiser.parameters()).device
    counter = FlopCounterMode(display=False, custom_mapping=dict(FUSED_ATTENTION))
    inputs = torch.tensor([0], device=device), torch.tensor([image.label], device=device)
    with counter, torch.inference_mode():
        material.backbone.predict_noise(image.latents.to(device), *inputs)
    return int(counter.get_total_flops())
