"""The masks of `operator=dip_go`: sensitivities of images, kept one by one, and what follows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bigain.engine.calibration_material import Made, Material
from bigain.engine.kept_measurements import as_json
from bigain.operators import DiPGO
from bigain.operators.masks import branch_shares, check_target, choose_mask
from bigain.patching.pruned import Gates
from bigain.runs.operator_calibrations import measurements_folder
from bigain.tasks.batches import MicroBatches
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
        total = material.count_forward()
        flops = gates.flops()
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
    kept = as_json(folder, _plain, _sensitivity)
    batches = MicroBatches(material.batch_size)

    def measure(left: Sequence[int]) -> Iterator[tuple[int, Sensitivity]]:
        for image_id in left:
            number = material.image_ids.index(image_id)
            label, seed = material.labels[number], settings.seed
            others = (other_class(seed, image_id, label, material.backbone.num_classes),)
            chosen = (label, *(others if settings.objective == "contrast" else ()))
            image = image_id, material.latents(number)
            yield (
                image_id,
                image_sensitivity(
                    material.backbone, gates, image, chosen, torch.tensor(times), seed, batches
                ),
            )

    title = f"calibration of {material.config.title}"
    computed = kept.complete(material.image_ids, measure, title)
    return [kept[image_id] for image_id in material.image_ids], computed


def _means(images: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(images)).mean(dim=0)


def _bits(mask: Tensor) -> str:
    """`1` for each gate that is on, `0` for each that is off."""
    return "".join("1" if gate else "0" for gate in mask.tolist())


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]


def _plain(found: Sensitivity) -> dict[str, Any]:
    return {"without": found.without.tolist(), "base": found.base.tolist()}


def _sensitivity(plain: Mapping[str, Any]) -> Sensitivity:
    without, base = (torch.tensor(plain[k], dtype=torch.float64) for k in ("without", "base"))
    return Sensitivity(without, base)
