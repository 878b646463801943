"""The diffusion classifier as it is usually written: loops over images, stages, classes and trials.

It is what the published diffusion classifiers do: one image at a time, its evaluations class by
class in batches of one size, the last one smaller, and the mean errors decide which classes go on.
Noise and timesteps are those of `bigain.tasks.classifier`, so both must predict the same classes.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.tasks.batches import keyed_noise
from bigain.tasks.protocol import StagedProtocol

__all__ = ["classify_plainly"]


@torch.inference_mode()
def classify_plainly(
    backbone: Backbone,
    protocol: StagedProtocol,
    images: Iterable[tuple[int, Tensor]],
    batch_size: int,
    device: torch.device,
) -> list[int]:
    """The predicted class of each image.

    Args:
        backbone: The denoiser.
        protocol: Trial list and keep list.
        images: (number, latents of shape (1, C, H, W)) of each.
        batch_size: Evaluations per forward.
        device: Where the backbone is.

    """
    predictions = []
    for number, latents in images:
        errors: dict[int, list[float]] = {label: [] for label in range(backbone.num_classes)}
        for timesteps, keep in zip(protocol.stages(), protocol.keep_list, strict=True):
            noise = {
                t: keyed_noise(0, "classification", number, t, shape=tuple(latents.shape))
                for t in timesteps
            }
            pairs = [(label, t) for label in errors for t in timesteps]
            for begin in range(0, len(pairs), batch_size):
                chunk = pairs[begin : begin + batch_size]
                times = torch.tensor([t for _, t in chunk])
                labels = torch.tensor([label for label, _ in chunk], device=device)
                wanted = torch.cat([noise[t] for _, t in chunk]).to(device)
                abar = backbone.schedule.alphas_cumprod[times].float().view(-1, 1, 1, 1).to(device)
                noisy = abar.sqrt() * latents.to(device) + (1 - abar).sqrt() * wanted
                predicted = backbone.predict_noise(noisy, times.to(device), labels)
                found = (predicted - wanted).square().flatten(1).mean(dim=1).tolist()
                for (label, _), error in zip(chunk, found, strict=True):
                    errors[label].append(error)
            best = sorted(errors, key=lambda c: sum(errors[c]) / len(errors[c]))[:keep]
            errors = {label: errors[label] for label in best}
        predictions.append(min(errors))
    return predictions
