"""The weights of `operator=mosaic_diff`: how much each stage loses, and what of which module.

What goes follows from one forward and the target, before anything is measured.  The curvatures are
kept stage by stage, so a killed calibration goes on, and another target measures nothing again.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bigain.engine.calibration_material import Made, Material
from bigain.engine.kept_measurements import KeptMeasurements, as_tensors
from bigain.errors import UserError
from bigain.operators import MosaicDiff
from bigain.operators.obs import prune_heads, prune_units
from bigain.operators.stage_weights import STAGES, allocate, stage_of, stage_scores
from bigain.patching.branches import Branch, find_branches
from bigain.patching.cost import cost_of
from bigain.patching.narrow import last_layer, units_of
from bigain.runs.operator_calibrations import measurements_folder
from bigain.tasks.batches import MicroBatches
from bigain.tasks.curvature import Image, Tokens, curvatures, seen_tokens
from bigain.tasks.protocol import StagedProtocol

__all__ = ["calibrate_stages", "units_removed"]

_NOT_MEASURED = ("target", "allocation", "images", "trial_list", "keep_list")
"""Settings that curvatures do not depend on; on which images they do, the folder says itself."""

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
    """Find the sparsity that meets the target, measure what is not kept yet, and prune each stage.

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
    protocol = StagedProtocol(settings.trial_list, settings.keep_list)
    counts = protocol.evaluations_at(material.backbone.num_classes)
    energy = float(torch.cat([image.latents for image in images]).double().square().mean())
    scores = stage_scores(material.backbone.schedule.alphas_cumprod, energy)
    weights = _weights(counts)
    with seen_tokens(branches) as tokens:
        total = material.count_forward()
    saving = _Saving(branches, tokens, weights, total)
    sparsities, removed = _meeting(settings, scores, weights, saving)
    found, computed = _measured(material, settings, branches, images)
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
    return Made(content, tensors, computed, f"{100 * share:.2f} % of the FLOPs removed")


def _measured(
    material: Material,
    settings: MosaicDiff,
    branches: Sequence[Branch],
    images: Sequence[Image],
) -> tuple[KeptMeasurements[Mapping[str, Tensor]], int]:
    """H of every layer in each stage, and how many images were measured in at least one."""
    ids = hashlib.sha256(json.dumps(material.image_ids).encode()).hexdigest()[:12]
    folder = measurements_folder(material.config, _NOT_MEASURED) / material.digest / ids
    kept = as_tensors(folder)
    stages = {_named(stage): stage for stage in STAGES}

    def measure(left: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        batches = MicroBatches(material.batch_size)
        for name in left:
            own = curvatures(
                material.backbone, branches, images, stages[name], settings.seed, batches
            )
            yield name, {path: curvature.h for path, curvature in own.items()}

    title = f"calibration of {material.config.title}"
    computed = kept.complete([*stages], measure, title, "stage")
    return kept, len(images) if computed else 0


def _named(stage: tuple[int, int]) -> str:
    return f"{stage[0]}-{stage[1]}"


class _Saving:
    """The share of FLOPs that goes with some heads and hidden units, in closed form.

    Raises:
        UserError: An attention has no closed form.

    """

    def __init__(
        self,
        branches: Sequence[Branch],
        seen: Mapping[str, Tokens],
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


def _of_one_unit(branch: Branch, seen: Tokens) -> float:
    """FLOPs of one head or hidden unit; those of a module are as many times as many."""
    ((_, module),) = branch.modules
    cost = cost_of(branch.part, module)
    if cost is None:
        raise UserError(
            f"module={branch.name}: the FLOPs of this kind of attention are not known; allowed: "
            "soft-max attention of diffusers"
        )
    return cost.flops(seen.own, seen.keys) / units_of(branch.part, module)


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
    branches: Sequence[Branch], found: KeptMeasurements[Mapping[str, Tensor]], removed: Removed
) -> tuple[list[dict[str, list[int]]], dict[str, Tensor]]:
    """For each stage what stays of the modules that lose something, and their last weights."""
    kept: list[dict[str, list[int]]] = []
    tensors = {}
    for stage, gone in enumerate(removed):
        kept.append({})
        own = found[_named(STAGES[stage])]
        for branch in branches:
            if not gone[branch.name]:
                continue
            ((_, module),) = branch.modules
            w, h = last_layer(branch.part, module).weight.detach(), own[branch.name]
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
