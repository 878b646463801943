"""SD3 and FLUX as backbones: transformers that attend to image and text jointly; flow matching.

The network predicts the velocity eps - x_0 at x_s = (1 - s) x_0 + s eps, under the prompt of the
class, without classifier-free guidance.  SD3 is told the time 1000 s and takes the latents as they
are.  FLUX is told s and a guidance, which it was distilled for, and takes 2 x 2 latents packed into
one token of 64 channels, with the place of each token.
"""

from typing import Any

import torch
from torch import Tensor

from bigain.backbones.flow_levels import flow_levels
from bigain.backbones.loading import read_settings
from bigain.backbones.noise_schedules import NoiseSchedule, straight
from bigain.backbones.packed_latents import PATCH, packed, token_places, unpacked
from bigain.backbones.pipeline import Caches
from bigain.backbones.text import encode_for_flux, encode_for_sd3
from bigain.backbones.text_pipeline import TextPipeline
from bigain.config import FlowConfig, FluxDevConfig
from bigain.errors import UserError

__all__ = ["Flux", "StableDiffusion3"]

_PIXELS = 8


class _FlowPipeline(TextPipeline):
    """What both have in common."""

    def __init__(
        self, config: FlowConfig, device: torch.device, dtype: torch.dtype, caches: Caches
    ) -> None:
        self._flow = config
        super().__init__(config, device, dtype, caches)
        if self._autoencoder.side != config.image_side:
            file = self._folder / "vae" / "config.json"
            widths = read_settings(file)["block_out_channels"]
            raise UserError(
                f"{file}: block_out_channels={widths}; allowed: four numbers, with which a latent "
                f"of backbone={config.name} is {_PIXELS} pixels wide, not {2 ** (len(widths) - 1)}"
            )
        self._levels = self.schedule.b.float().to(device)

    def _read_schedule(self) -> NoiseSchedule:
        file, config = self._folder / "scheduler" / "scheduler_config.json", self._flow
        tokens = config.grids[0] ** 2
        return straight(flow_levels(read_settings(file), str(file), config.schedule, tokens))

    def _shape_of_latents(self, settings: Any) -> tuple[int, int, int]:
        channels, side = int(settings.in_channels), self._flow.latent_side
        return channels // (PATCH**2 if self._flow.architecture.is_packed else 1), side, side

    def model_timesteps(self, timesteps: Tensor) -> Tensor:
        """1000 s at the timesteps t, (B,), both on the CPU; see `PredictsNoise`."""
        return 1000 * self.schedule.b.float()[timesteps]

    def _conditions(self, classes: Tensor) -> dict[str, Tensor]:
        """The prompts of some classes, as the transformer takes them."""
        if self.encoder_hidden_states is None or self._pooled is None:
            raise RuntimeError("the backbone has no classes yet: call condition_on first")
        return {
            "encoder_hidden_states": self.encoder_hidden_states[classes],
            "pooled_projections": self._pooled[classes],
        }


class StableDiffusion3(_FlowPipeline):
    """SD3 and SD3.5 behind the `Backbone` protocol; see `Pipeline`."""

    encoder = staticmethod(encode_for_sd3)

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """The velocity in fp32, shape of `latents` (B, 16, h, w); see `Backbone`."""
        velocity: Tensor = self.denoiser(
            latents.to(self._dtype),
            timestep=1000 * self._levels[timesteps],
            return_dict=False,
            **self._conditions(classes),
        )[0]
        return velocity.float()


class Flux(_FlowPipeline):
    """FLUX behind the `Backbone` protocol; see `Pipeline`."""

    encoder = staticmethod(encode_for_flux)

    def __init__(
        self, config: FluxDevConfig, device: torch.device, dtype: torch.dtype, caches: Caches
    ) -> None:
        super().__init__(config, device, dtype, caches)
        if not self.denoiser.config.guidance_embeds:  # type: ignore[union-attr]
            raise UserError(
                f"backbone.guidance={config.guidance}: {self._folder / 'transformer'} takes no "
                "guidance; allowed: a FLUX.1-dev, whose config.json has guidance_embeds=true"
            )
        self._guidance = torch.tensor([config.guidance], device=device)
        self._places = token_places(config.grids[0]).to(device)

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """The velocity in fp32, shape of `latents` (B, 16, h, w); see `Backbone`."""
        conditions = self._conditions(classes)
        words = conditions["encoder_hidden_states"].shape[1]
        velocity: Tensor = self.denoiser(
            packed(latents).to(self._dtype),
            timestep=self._levels[timesteps],
            guidance=self._guidance.expand(len(latents)),
            img_ids=self._places,
            txt_ids=self._places.new_zeros(words, 3),
            return_dict=False,
            **conditions,
        )[0]
        return unpacked(velocity.float(), latents.shape[-1])
