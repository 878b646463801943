"""Two numbers that follow training, on held-out images of the *training* split.

`validation_loss` is the noise-prediction error at fixed noise; `validation_accuracy` is that of a
five-trial diffusion classifier (timesteps 100, 300, ..., 900) on the same images.
"""

import torch
from torch import Tensor

from bigain.backbones.mini import NUM_CLASSES, MiniDiT, MiniUNet
from bigain.training.data import TrainingData

__all__ = ["validate"]

_TIMESTEPS = (100, 300, 500, 700, 900)
_BATCH = 50


@torch.inference_mode()
def validate(model: MiniUNet | MiniDiT, data: TrainingData, count: int) -> dict[str, float]:
    """Validation loss and accuracy of `model` on the first `count` held-out images."""
    model.eval()
    labels = data.validation_labels[:count]
    errors = torch.cat(
        [_errors(model, images, start) for start, images in _chunks(data.validation_images[:count])]
    )
    mean_errors = errors.mean(dim=1)
    true_errors = mean_errors.gather(1, labels[:, None])
    accuracy = (mean_errors.argmin(dim=1) == labels).double().mean()
    return {
        "validation_loss": round(float(true_errors.mean()), 5),
        "validation_accuracy": round(float(accuracy), 4),
    }


def _chunks(images: Tensor) -> list[tuple[int, Tensor]]:
    return [(start, images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]


def _errors(model: MiniUNet | MiniDiT, images: Tensor, start: int) -> Tensor:
    """Mean squared noise error of shape (B, timesteps, classes)."""
    generator = torch.Generator().manual_seed(start)
    latents = model.encode(images)
    columns = []
    for timestep in _TIMESTEPS:
        noise = model.encode(torch.randn(images.shape, generator=generator))
        timesteps = torch.full((len(images),), timestep)
        noisy = model.scheduler.add_noise(latents, noise, timesteps)
        for label in range(NUM_CLASSES):
            prediction = model(noisy, timesteps, torch.full_like(timesteps, label))
            columns.append((prediction - noise).square().flatten(1).mean(1))
    return torch.stack(columns, dim=1).view(len(images), len(_TIMESTEPS), NUM_CLASSES)
