"""What a task needs from a diffusion model of any architecture."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from bigain.backbones.noise_schedules import NoiseSchedule

__all__ = ["Backbone", "Classes", "PredictsNoise"]


class Classes(Protocol):
    """What a dataset says about its classes; every dataset has both properties."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt of each class, for a text-conditioned backbone."""
        ...

    @property
    def condition_ids(self) -> tuple[int, ...] | None:
        """Each class's index in ImageNet-1k; None if the classes are not ImageNet's."""
        ...


class Backbone(Protocol):
    """A denoiser with its noise schedule, its latents and its class conditions.

    Attributes:
        denoiser: The diffusers model that `bigain.apply` patches.
        num_classes: Number of class conditions, numbered 0..num_classes-1.  Fixed, or set by
            `condition_on`.
        null_class: Number of the empty condition (the empty prompt or the null class), which
            classifier-free guidance subtracts; equals num_classes.
        latent_shape: (C, H, W) of the latents of one image.
        encoder_hidden_states: What the cross-attentions of `denoiser` get under each condition, the
            null class last, in its precision and on its device, shape (num_classes + 1, tokens, C);
            None if classes enter in another way, or before `condition_on`.
        schedule: How noise is added at t = 0..T-1, and what the network predicts.
        hashes: sha256 of every file that was loaded, by its name.
        source: Where these files came from, as JSON data for the manifest.

    """

    denoiser: nn.Module
    num_classes: int
    latent_shape: tuple[int, int, int]
    encoder_hidden_states: Tensor | None
    schedule: NoiseSchedule
    hashes: dict[str, str]
    source: dict[str, Any]

    @property
    def null_class(self) -> int:
        """Number of the empty condition."""
        ...

    def condition_on(self, classes: Classes) -> None:
        """Make the classes of a dataset the conditions: class i of the dataset is condition i.

        Call it once, before `predict_noise`.  Raises UserError if the model has no condition for
        these classes.
        """
        ...

    def encode(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """Clean latents x_0 of one image, shape (1, C, H, W), fp32; deterministic."""
        ...

    def decode(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """The image of clean latents (1, C, H, W), as bytes in the shape that `encode` takes."""
        ...

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """What the network gives for x_t, in fp32, shape of `latents` (B, C, H, W).

        The noise eps_theta(x_t, c, t) or the velocity, see `schedule.predicts`.

        Args:
            latents: Noisy latents in fp32; cast to the network's own precision inside.
            timesteps: In 0..T-1, shape (B,); a sampler may use fractions.
            classes: Class conditions, or the null class, shape (B,).

        """
        ...

    def predict_noise(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """eps_theta(x_t, c, t), whatever the network predicts; see `PredictsNoise`."""
        ...

    def model_timesteps(self, timesteps: Tensor) -> Tensor:
        """What the network is told at t; see `PredictsNoise.model_timesteps`."""
        ...


class PredictsNoise:
    """`predict_noise` of any backbone by the map of its schedule; `model_timesteps` of most."""

    schedule: NoiseSchedule

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """See `Backbone.predict`."""
        raise NotImplementedError

    def predict_noise(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """eps_theta(x_t, c, t) in fp32, shape of `latents`; arguments of `predict`."""
        output = self.predict(latents, timesteps, classes)
        return self.schedule.as_score("noise", output, latents, timesteps)

    def model_timesteps(self, timesteps: Tensor) -> Tensor:
        """What the network's embedding of time is given in `predict` at the timesteps t, (B,).

        Here t itself; in flow matching 1000 times the noise level.  Both on the CPU, so that an
        operator, whose random draws depend on it, need not wait for the device.
        """
        return timesteps
