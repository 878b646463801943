"""The masks of `operator=dip_go`: sensitivities of images, kept one by one, and what follows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bigain.backbones.base import Backbone
from bigain.engine.calibration_material import Made, Material
from bigain.files import parse_json, replace_text
from bigain.operators import DiPGO
from bigain.operators.masks import branch_shares, check_target, choose_mask
from bigain.patching.pruned import Gates
from bigain.runs.operator_calibrations import measurements_folder
from bigain.runs.progress import Meter
from bigain.tasks.batches import MicroBatches
from bigain.tasks.flops import FUSED_ATTENTION
from bigain.tasks.protocol import StagedProtocol
from bigain.tasks.sensitivity import Sensitivity, image_sensitivity, other_class

__all__ = ["calibrate_masks"]

_NOT_MEASURED = ("target", "protect_cross_attention", "images", "keep_list")
"""Settings that sensitivities do not depend on."""

_DIGITS = 6


def calibrate_masks(material: Material, settings: DiPGO) -> Made:
    """Measure what is not kept yet, and choose the masks.

    Raises:
        UserError: An image cannot be read, or the target is more than may be skipped.

    """
    protocol = StagedProtocol(settings.trial_list, settings.keep_list)
    counts = protocol.evaluations_at(material.backbone.num_classes)
    times = sorted(counts)
    with Gates(material.backbone.denoiser) as gates:
        names = [branch.name for branch in gates.branches]
        protects = settings.protect_cross_attention
        free = torch.tensor([not protects or b.part != "cross" for b in gates.branches])
        flops, total = _flops(material.backbone, gates, times[0], material.latents(0))
        shares = branch_shares(flops, total, [counts[t] for t in times])
        check_target(shares, settings.target, free)
        measured, computed = _measured(material, settings, gates, times)
    d = _means([each.without for each in measured]) / _means([e.base for e in measured])[:, None]
    mask = choose_mask(d, shares, settings.target, free)
    content: dict[str, Any] = {
        "branches": names,
        "flops": {"total": total, "branches": flops},
        "evaluations": {str(t): counts[t] for t in times},
        "masks": {str(t): _bits(mask[i]) for i, t in enumerate(times)},
        "removed": round(float(shares[~mask].sum()), _DIGITS),
        "sensitivity": {str(t): _rounded(d[i]) for i, t in enumerate(times)},
    }
    return Made(content, {}, computed, f"{100 * content['removed']:.2f} % of the FLOPs removed")


def _measured(
    material: Material, settings: DiPGO, gates: Gates, times: Sequence[int]
) -> tuple[list[Sensitivity], int]:
    """The sensitivities of all images, and how many were not kept before."""
    folder = measurements_folder(material.config, _NOT_MEASURED) / material.digest
    left = [n for n in range(len(material)) if not _file(folder, material.image_ids[n]).is_file()]
    batches = MicroBatches(material.batch_size)
    title = f"calibration of {material.config.title}"
    with Meter(len(left), title, "image", is_shown=True) as meter:
        for number in left:
            image_id, label = material.image_ids[number], material.labels[number]
            seed, classes = settings.seed, material.backbone.num_classes
            others = (other_class(seed, image_id, label, classes),)
            chosen = (label, *(others if settings.objective == "contrast" else ()))
            image = image_id, material.latents(number)
            found = image_sensitivity(
                material.backbone, gates, image, chosen, torch.tensor(times), seed, batches
            )
            kept = {"without": found.without.tolist(), "base": found.base.tolist()}
            replace_text(_file(folder, image_id), json.dumps(kept))
            meter.advance()
    return [_read(_file(folder, image_id)) for image_id in material.image_ids], len(left)


def _flops(
    backbone: Backbone, gates: Gates, timestep: int, latents: Tensor
) -> tuple[list[int], int]:
    """FLOPs of each branch in closed form, and of a whole evaluation, counted."""
    device = next(backbone.denoiser.parameters()).device
    counter = FlopCounterMode(display=False, custom_mapping=dict(FUSED_ATTENTION))
    at, label = torch.tensor([timestep], device=device), torch.zeros(1, dtype=torch.int64)
    with counter, torch.inference_mode():
        backbone.predict_noise(latents.to(device), at, label.to(device))
    return gates.flops(), int(counter.get_total_flops())


def _means(images: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(images)).mean(dim=0)


def _bits(mask: Tensor) -> str:
    """`1` for each gate that is on, `0` for each that is off."""
    return "".join("1" if gate else "0" for gate in mask.tolist())


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]


def _file(folder: Path, image_id: int) -> Path:
    return folder / f"{image_id}.json"


def _read(path: Path) -> Sensitivity:
    kept = parse_json(path.read_text(encoding="utf-8"))
    without, base = (torch.tensor(kept[k], dtype=torch.float64) for k in ("without", "base"))
    return Sensitivity(without, base)
