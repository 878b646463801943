"""Stable Diffusion as a backbone: `sd20`, `sd21`, `sd15` and `sdxl`.  A class is a prompt.

The U-Net predicts the noise, that of `sd21` the velocity, under the prompt of the class.  Guidance,
which subtracts the prediction under the empty prompt (the null class), happens in the sampler.
"""

import torch
from torch import Tensor

from bigain.backbones.text_pipeline import TextPipeline

__all__ = ["StableDiffusion"]


class StableDiffusion(TextPipeline):
    """A text-conditioned U-Net behind the `Backbone` protocol; see `Pipeline`."""

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """Noise or velocity in fp32, shape of `latents` (B, 4, h, w); see `Backbone`."""
        if self.encoder_hidden_states is None:
            raise RuntimeError("the backbone has no classes yet: call condition_on first")
        conditions = {}
        if self._pooled is not None:
            conditions["added_cond_kwargs"] = {
                "text_embeds": self._pooled[classes],
                "time_ids": self._time_ids(latents).expand(len(latents), -1),
            }
        prediction: Tensor = self.denoiser(
            latents.to(self._dtype),
            timesteps,
            encoder_hidden_states=self.encoder_hidden_states[classes],
            return_dict=False,
            **conditions,
        )[0]
        return prediction.float()

    def _time_ids(self, latents: Tensor) -> Tensor:
        """SDXL's size conditions (1, 6): original size, crop (0, 0), target size: the square."""
        side = float(self._autoencoder.side)
        ids = [side, side, 0.0, 0.0, side, side]
        return torch.tensor([ids], device=latents.device, dtype=self._dtype)
