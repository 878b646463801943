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

__all__ = ["NULL_CLASS", "NUM_CLASSES", "MiniDenoiser", "MiniDiT", "MiniUNet", "build_mini"]

NUM_CLASSES = 10
NULL_CLASS = 10
_CONTEXT_TOKENS = 4
_CONTEXT_DIM = 48

_UNET_CONFIG: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (48, 64),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "cross_attention_dim": _CONTEXT_DIM,
    "attention_head_dim": 2,
}
_DIT_CONFIG: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 1,
    "out_channels": 1,
    "patch_size": 2,
    "num_layers": 4,
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "num_embeds_ada_norm": NUM_CLASSES,
    "norm_num_groups": 16,
    "activation_fn": "gelu",
}


class MiniDenoiser(Protocol):
    """What the mini backbone and the trainer need of either model."""

    denoiser: nn.Module
    scheduler: DDIMScheduler

    def encode(self, images: Tensor) -> Tensor:
        """(B, 1, 32, 32) standardised images -> clean latents."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents -> (B, 1, 32, 32) standardised images; exact inverse of `encode`."""
        ...

    def __call__(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Noise predicted from noisy `latents`, `timesteps` (B,) in 0..999, `labels` (B,) in 0..10."""
        ...


class MiniUNet(nn.Module):
    """`UNet2DConditionModel` with a table of class contexts (11, 4, 48) in a text encoder's place."""

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = UNet2DConditionModel(**_UNET_CONFIG)
        self.context = nn.Parameter(torch.randn(NUM_CLASSES + 1, _CONTEXT_TOKENS, _CONTEXT_DIM))
        self.scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
        )

    def encode(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images, 2)

    def decode(self, latents: Tensor) -> Tensor:
        return F.pixel_shuffle(latents, 2)

    def forward(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        context = self.context[labels]
        output = self.denoiser(latents, timesteps, encoder_hidden_states=context, return_dict=False)
        prediction: Tensor = output[0]
        return prediction


class MiniDiT(nn.Module):
    """`DiTTransformer2DModel`; class embeddings start at unit scale, and only the caller drops labels.

    diffusers lets every block drop the class on its own draw in training; one draw per sample is
    what classifier-free guidance means, so the blocks' own dropout is off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = DiTTransformer2DModel(**_DIT_CONFIG)
        for block in self.denoiser.transformer_blocks:
            embedder = block.norm1.emb.class_embedder
            embedder.dropout_prob = 0.0
            nn.init.normal_(embedder.embedding_table.weight, std=1.0)
            nn.init.zeros_(block.norm1.linear.weight)
            nn.init.zeros_(block.norm1.linear.bias)
        nn.init.zeros_(self.denoiser.proj_out_2.weight)
        nn.init.zeros_(self.denoiser.proj_out_2.bias)
        self.scheduler = DDIMScheduler(
            beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False
        )

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def forward(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        output = self.denoiser(latents, timestep=timesteps, class_labels=labels, return_dict=False)
        prediction: Tensor = output[0]
        return prediction


def build_mini(name: str) -> MiniUNet | MiniDiT:
    """The untrained `mini_unet` or `mini_dit`, initialised from torch's global generator."""
    return {"mini_unet": MiniUNet, "mini_dit": MiniDiT}[name]()
