"""What a task needs of a diffusion model, whatever its architecture."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

__all__ = ["Backbone", "Classes"]


class Classes(Protocol):
    """What a dataset says of its classes; every dataset does."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """What a text-conditioned backbone is told of each class."""
        ...

    @property
    def condition_ids(self) -> tuple[int, ...] | None:
        """Index among ImageNet's 1,000 classes of each class; None if they are not ImageNet's."""
        ...


class Backbone(Protocol):
    """A denoiser with its noise schedule, its latents and its class conditions.

    Attributes:
        denoiser: The diffusers model that `bigain.apply` patches.
        num_classes: Number of class conditions; conditions are numbered 0..num_classes-1.  Fixed,
            or that of the classes in `condition_on`.
        null_class: Number of the condition that says nothing (the empty prompt, the null class),
            which classifier-free guidance subtracts; num_classes.
        latent_shape: (C, H, W) of the latents of one image.
        alphas_cumprod: abar_t for t = 0..T-1, float64, shape (T,), on the CPU (Eq. 1).
        hashes: sha256 of every weight file that was loaded, by file name.
        source: Where they came from, as JSON data for the manifest.

    """

    denoiser: nn.Module
    num_classes: int
    latent_shape: tuple[int, int, int]
    alphas_cumprod: Tensor
    hashes: dict[str, str]
    source: dict[str, Any]

    @property
    def null_class(self) -> int:
        """The condition that says nothing."""
        ...

    def condition_on(self, classes: Classes) -> None:
        """Make the classes of a dataset the conditions: class i of the dataset is condition i.

        To be called once, before `predict_noise`.  Raises UserError if there is no condition for
        them.
        """
        ...

    def encode(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """Clean latents x_0 of one image, shape (1, C, H, W), fp32; deterministic."""
        ...

    def decode(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """The image of clean latents (1, C, H, W), as bytes in the form that `encode` takes."""
        ...

    def predict_noise(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """eps_theta(x_t, c, t) in fp32, shape of `latents` (B, C, H, W).

        Args:
            latents: Noisy latents in fp32; cast to the network's own precision inside.
            timesteps: Integers, or what a sampler puts between them, in 0..T-1, shape (B,).
            classes: Class conditions, or the null class, shape (B,).

        """
        ...
