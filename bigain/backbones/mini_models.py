"""The two small denoisers that BiGain trains and ships, as thin wrappers of diffusers' own models.

Both predict the noise of a Fashion-MNIST image of 1 x 32 x 32 under a class condition 0..9
(10 = no class) and both see 16 x 16 = 256 tokens at their highest resolution:

* mini U-Net: `UNet2DConditionModel` on latents of 4 x 16 x 16, a lossless pixel-unshuffle of the
  image.  The condition is a sequence of learned tokens for cross-attention, as a text encoder's.
* mini DiT: `DiTTransformer2DModel` on the image itself with patches of 2 x 2.  The condition is
  the class index, through adaLN-zero.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DiTTransformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from bigain.config.architectures import ARCHITECTURES

__all__ = [
    "LATENT_SHAPES",
    "NULL_CLASS",
    "NUM_CLASSES",
    "MiniDenoiser",
    "MiniDiT",
    "MiniUNet",
    "build_mini",
]

NUM_CLASSES = 10
NULL_CLASS = 10
LATENT_SHAPES = {"mini_unet": (4, 16, 16), "mini_dit": (1, 32, 32)}
"""(C, H, W) of the latents of one image."""
_CONTEXT_TOKENS = 4
_CONTEXT_DIM = int(ARCHITECTURES["mini_unet"].settings["cross_attention_dim"])


class MiniDenoiser(Protocol):
    """What the mini backbone and the trainer need of either model."""

    denoiser: Any
    scheduler: Any

    def encode(self, images: Tensor) -> Tensor:
        """(B, 1, 32, 32) standardised images -> clean latents."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents -> (B, 1, 32, 32) standardised images; exact inverse of `encode`."""
        ...

    def __call__(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Predict the noise in `latents` at `timesteps` (B,) in 0..999, `labels` (B,) in 0..10."""
        ...


class MiniUNet(nn.Module):
    """`UNet2DConditionModel` with a table of class contexts (11, 4, 48) as its text encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = _unet()
        self.context = nn.Parameter(torch.randn(NUM_CLASSES + 1, _CONTEXT_TOKENS, _CONTEXT_DIM))
        self.scheduler = _scheduler("scaled_linear", 0.00085, 0.012)

    def encode(self, images: Tensor) -> Tensor:
        """(B, 1, 32, 32) -> (B, 4, 16, 16), lossless."""
        return F.pixel_unshuffle(images, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 4, 16, 16) -> (B, 1, 32, 32)."""
        return F.pixel_shuffle(latents, 2)

    def forward(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Predicted noise, shape of `latents`; `timesteps` and `labels` are (B,)."""
        context = self.context[labels]
        output = self.denoiser(latents, timesteps, encoder_hidden_states=context, return_dict=False)
        prediction: Tensor = output[0]
        return prediction


class MiniDiT(nn.Module):
    """`DiTTransformer2DModel` whose class embeddings start at unit scale.

    diffusers lets every block drop the class on its own draw in training; one draw per sample is
    what classifier-free guidance means, so the blocks' own dropout is off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = _dit()
        for block in self.denoiser.transformer_blocks:
            embedder = block.norm1.emb.class_embedder
            embedder.dropout_prob = 0.0
            nn.init.normal_(embedder.embedding_table.weight, std=1.0)
            nn.init.zeros_(block.norm1.linear.weight)
            nn.init.zeros_(block.norm1.linear.bias)
        nn.init.zeros_(self.denoiser.proj_out_2.weight)
        nn.init.zeros_(self.denoiser.proj_out_2.bias)
        self.scheduler = _scheduler("linear", 1e-4, 0.02)

    def encode(self, images: Tensor) -> Tensor:
        """The image is its own latent."""
        return images

    def decode(self, latents: Tensor) -> Tensor:
        """The latent is the image."""
        return latents

    def forward(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Predicted noise, shape of `latents`; `timesteps` and `labels` are (B,)."""
        output = self.denoiser(latents, timestep=timesteps, class_labels=labels, return_dict=False)
        prediction: Tensor = output[0]
        return prediction


def build_mini(name: str) -> MiniUNet | MiniDiT:
    """The untrained `mini_unet` or `mini_dit`, initialised from torch's global generator."""
    builders: dict[str, type[MiniUNet] | type[MiniDiT]] = {
        "mini_unet": MiniUNet,
        "mini_dit": MiniDiT,
    }
    return builders[name]()


# diffusers' classes carry no types of their own: beyond this point they are Any.
def _unet() -> Any:
    return UNet2DConditionModel(**ARCHITECTURES["mini_unet"].settings)


def _dit() -> Any:
    return DiTTransformer2DModel(**ARCHITECTURES["mini_dit"].settings)


def _scheduler(betas: str, start: float, end: float) -> Any:
    return DDIMScheduler(beta_schedule=betas, beta_start=start, beta_end=end, clip_sample=False)
