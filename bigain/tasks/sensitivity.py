"""How much the predicted noise of an image changes when one residual branch is left out.

The timesteps of an image are rows of a batch, which has the same gates in all of them: first all
on, then each off in turn.  Noise and noisy latents are those of a run with the same seed.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.devices import to_device
from bigain.patching.pruned import Gates
from bigain.tasks.batches import MicroBatches
from bigain.tasks.evaluations import draw_trials

__all__ = ["Sensitivity", "image_sensitivity", "other_class"]


@dataclass(frozen=True)
class Sensitivity:
    """Squared differences of one image, means over the elements of the noise.

    Attributes:
        without: of the output without a branch to the full one, fp64, shape (T, branches).
        base: what they are divided by, fp64, shape (T,).

    """

    without: Tensor
    base: Tensor


def other_class(seed: int, image_id: int, label: int, classes: int) -> int:
    """A class other than `label`, a function of seed and image."""
    digest = hashlib.sha256(repr((seed, "contrast", image_id)).encode()).digest()
    other = int.from_bytes(digest[:8], "little") % (classes - 1)
    return other + (other >= label)


@torch.inference_mode()
def image_sensitivity(
    backbone: Backbone,
    gates: Gates,
    image: tuple[int, Tensor],
    classes: tuple[int, ...],
    timesteps: Tensor,
    seed: int,
    batches: MicroBatches,
) -> Sensitivity:
    """The sensitivities of one image at all timesteps.

    Args:
        backbone: conditioned on the classes.
        gates: around its denoiser, entered.
        image: number and clean latents (1, C, H, W) on the CPU.
        classes: the image's own; with a second one the output is the difference between the two.
        timesteps: of the trials, on the CPU, shape (T,).
        seed: of the noise.
        batches: cuts the rows into batches.

    """
    noise, noisy = draw_trials(backbone, "noise", seed, *image, timesteps)
    at = noisy, timesteps
    full = _changed(backbone, gates, at, classes, None, batches)
    target = noise.double() if len(classes) == 1 else torch.zeros(())
    each = [
        _mean_square(_changed(backbone, gates, at, classes, branch, batches) - full)
        for branch in range(len(gates.branches))
    ]
    return Sensitivity(torch.stack(each, dim=1), _mean_square(full - target))


def _changed(
    backbone: Backbone,
    gates: Gates,
    at: tuple[Tensor, Tensor],
    classes: tuple[int, ...],
    without: int | None,
    batches: MicroBatches,
) -> Tensor:
    """The noise, or its difference between two classes, without one branch; fp64 on the CPU."""
    own = [_predicted(backbone, gates, at, label, without, batches) for label in classes]
    return own[0] if len(own) == 1 else own[0] - own[1]


def _predicted(
    backbone: Backbone,
    gates: Gates,
    at: tuple[Tensor, Tensor],
    label: int,
    without: int | None,
    batches: MicroBatches,
) -> Tensor:
    """Predicted noise at all timesteps, shape (T, C, H, W)."""
    device = next(backbone.denoiser.parameters()).device
    noisy, timesteps = (to_device(each, device) for each in at)
    mask = torch.ones(1, len(gates.branches), dtype=torch.bool)
    if without is not None:
        mask[0, without] = False

    def evaluate(rows: Tensor) -> Tensor:
        taken, labels = to_device(rows, device), torch.full((len(rows),), label)
        with gates.rows(mask):
            return backbone.predict_noise(noisy[taken], timesteps[taken], to_device(labels, device))

    parts = batches.run(torch.arange(len(timesteps)), evaluate)
    return torch.cat([part.double().cpu() for _, part in parts])


def _mean_square(difference: Tensor) -> Tensor:
    """Mean over all but the first axis."""
    return difference.square().flatten(1).mean(dim=1)
