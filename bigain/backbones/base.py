"""What a task needs of a diffusion model, whatever its architecture."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

__all__ = ["Backbone"]


class Backbone(Protocol):
    """A denoiser with its noise schedule, its latents and its class conditions.

    Attributes:
        denoiser: The diffusers model that `bigain.apply` patches.
        num_classes: Number of class conditions; conditions are numbered 0..num_classes-1.
        alphas_cumprod: abar_t for t = 0..T-1, float64, shape (T,), on the CPU (Eq. 1).
        hashes: sha256 of every weight file that was loaded, by file name.

    """

    denoiser: nn.Module
    num_classes: int
    alphas_cumprod: Tensor
    hashes: dict[str, str]

    def encode(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """Clean latents x_0 of one image, shape (1, C, H, W), fp32; deterministic."""
        ...

    def predict_noise(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """eps_theta(x_t, c, t) in fp32, shape of `latents` (B, C, H, W).

        Args:
            latents: Noisy latents in fp32; cast to the network's own precision inside.
            timesteps: Integers in 0..T-1, shape (B,).
            classes: Class conditions, shape (B,).

        """
        ...
