"""A backbone of any shipped architecture with random weights: time does not depend on weights."""

from typing import Any

import torch
from torch import Tensor

from bigain.backbones.base import Classes, PredictsNoise
from bigain.backbones.noise_schedules import variance_preserving
from bigain.config.architectures import ARCHITECTURES
from bigain.patching.onednn import use_onednn
from bigain.tasks.efficiency import TimeSettings, build_random

__all__ = ["WITHOUT_FILES", "RandomBackbone"]

WITHOUT_FILES = tuple(
    name
    for name, about in ARCHITECTURES.items()
    if not about.is_flow and "addition_embed_type" not in about.settings
)
"""The backbones that a `RandomBackbone` can be; SDXL and flow matching have more inputs."""

_PROMPT_TOKENS = 77
_MINI_TOKENS = 4


class RandomBackbone(PredictsNoise):
    """A `Backbone` (`bigain.backbones.base`) without files, one of `WITHOUT_FILES`.

    Its linear layers compute as those of a run do.

    Args:
        name: A backbone of the configuration.
        num_classes: Number of class conditions.  A U-Net has any, a DiT as many as its labels.
        device: Where it computes.
        dtype: Its precision.
        side: Of the latents; None: the architecture's.  A DiT has no other.

    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        side: int | None = None,
    ) -> None:
        architecture = ARCHITECTURES[name]
        settings = TimeSettings(name, 1, 1, 0, device, dtype)
        self.denoiser = build_random(name, "sdpa", 0, settings)
        use_onednn(self.denoiser)
        self.num_classes = self.null_class = num_classes
        channels = int(architecture.settings["in_channels"])
        side = side or int(architecture.settings["sample_size"])
        self.latent_shape = (channels, side, side)
        abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000).double(), dim=0)
        self.schedule = variance_preserving(abar)
        self.hashes: dict[str, str] = {}
        self.source: dict[str, Any] = {}
        self._dtype = dtype
        self._context: Tensor | None = None
        self.encoder_hidden_states: Tensor | None = None
        if architecture.blocks is None:
            tokens = _PROMPT_TOKENS if architecture.conditioning == "prompts" else _MINI_TOKENS
            shape = (num_classes, tokens, int(architecture.settings["cross_attention_dim"]))
            context = torch.randn(shape, generator=torch.Generator().manual_seed(1))
            self._context = context.to(device, dtype)
        if architecture.conditioning == "prompts":
            self.encoder_hidden_states = self._context

    def condition_on(self, classes: Classes) -> None:
        """Nothing to do: classes are rows of random numbers."""

    def encode(self, image: Any) -> Tensor:
        """Latents of image number `image`: noise, shape (1, C, H, W)."""
        generator = torch.Generator().manual_seed(int(image))
        return torch.randn((1, *self.latent_shape), generator=generator)

    def decode(self, latents: Tensor) -> Any:
        """The latents: there is no image."""
        return latents

    def images(self, count: int) -> list[tuple[int, Tensor]]:
        """(number, latents) of `count` images, as a classifier takes them."""
        return [(number, self.encode(number)) for number in range(count)]

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """eps_theta(x_t, c, t) in fp32, shape of `latents`."""
        condition = (
            {"class_labels": classes}
            if self._context is None
            else {"encoder_hidden_states": self._context[classes]}
        )
        output = self.denoiser(
            latents.to(self._dtype), timestep=timesteps, return_dict=False, **condition
        )
        prediction: Tensor = output[0][:, : latents.shape[1]]
        return prediction.float()
