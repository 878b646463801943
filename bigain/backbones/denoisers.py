"""Denoisers without weights, and inputs of one forward: for counting, timing and tests.

`build_denoiser` on the meta device costs no memory, whatever the size of the model.
"""

from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from bigain.backbones.packed_latents import packed, token_places
from bigain.config.architectures import ARCHITECTURES, Architecture
from bigain.errors import UserError

__all__ = ["build_denoiser", "example_inputs"]

PROMPT_TOKENS = 77
"""Length of the text encoders' context."""

_MINI_CONTEXT = 4
_WORDS = {"SD3Transformer2DModel": PROMPT_TOKENS + 256, "FluxTransformer2DModel": 512}
_LAST_TIMESTEP = 999
_SDXL_TIME_IDS = 6


def build_denoiser(name: str, device: torch.device | str = "cpu") -> nn.Module:
    """The denoiser of backbone `name`, without its weights, in eval mode, in torch's default dtype.

    Args:
        name: A backbone of the configuration, such as "sd20" or "mini_dit".
        device: Where it is built; "meta" for shapes alone.  Elsewhere its initial weights are drawn
            from torch's global generator.

    Raises:
        UserError: there is no such backbone.

    """
    architecture = _architecture(name)
    with torch.device(device):
        model: Any = getattr(diffusers, architecture.model)(**architecture.settings)
    denoiser: nn.Module = model.eval().requires_grad_(False)
    return denoiser


def example_inputs(
    name: str,
    batch: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    side: int | None = None,
) -> dict[str, Any]:
    """Keyword arguments of one forward of `build_denoiser(name)`: seeded noise at t = 999.

    A U-Net gets `sample` (B, 4, H, W), `timestep` (B,) and `encoder_hidden_states` (B, 77, C), SDXL
    also `added_cond_kwargs`; a DiT gets `hidden_states` (B, C, H, W), `timestep` and `class_labels`
    (B,).  The context of the mini U-Net has 4 tokens.  SD3 gets `hidden_states` and a text of 333
    tokens, FLUX packed ones, a text of 512 tokens and the places of both.

    Args:
        name: A backbone of the configuration.
        batch: B.
        device: Where they are.
        dtype: Of the latents and the text.
        side: Of the latents; None: that of the backbone.  Only SD3 and FLUX have another.

    Raises:
        UserError: there is no such backbone.

    """
    architecture = _architecture(name)
    settings = architecture.settings
    side = side or architecture.latent_side
    latents = _noise((batch, architecture.latent_channels, side, side), device, dtype)
    times = torch.full((batch,), _LAST_TIMESTEP, device=device)
    if architecture.is_joint:
        return {"timestep": times, **_joint_inputs(architecture, latents)}
    if architecture.blocks is not None:
        labels = torch.zeros(batch, dtype=torch.int64, device=device)
        return {"hidden_states": latents, "timestep": times, "class_labels": labels}
    tokens = PROMPT_TOKENS if architecture.conditioning == "prompts" else _MINI_CONTEXT
    context = _noise((batch, tokens, settings["cross_attention_dim"]), device, dtype)
    inputs = {"sample": latents, "timestep": times, "encoder_hidden_states": context}
    return {**inputs, **_added_conditions(architecture, batch, device, dtype)}


def _joint_inputs(architecture: Architecture, latents: Tensor) -> dict[str, Any]:
    """Latents, text, pooled text, and of FLUX the guidance and the places of all tokens."""
    settings, batch, side = architecture.settings, len(latents), latents.shape[-1]
    about = (latents.device, latents.dtype)
    words = _WORDS[architecture.model]
    inputs = {
        "hidden_states": latents,
        "encoder_hidden_states": _noise((batch, words, settings["joint_attention_dim"]), *about),
        "pooled_projections": _noise((batch, settings["pooled_projection_dim"]), *about),
    }
    if architecture.is_packed:
        inputs["hidden_states"] = packed(latents)
        inputs["guidance"] = torch.ones(batch, device=latents.device)
        inputs["img_ids"] = token_places(side // architecture.patch).to(latents.device)
        inputs["txt_ids"] = torch.zeros(words, 3, device=latents.device)
    return inputs


def _added_conditions(
    architecture: Architecture, batch: int, device: torch.device | str, dtype: torch.dtype
) -> dict[str, Any]:
    """SDXL's pooled text embedding (B, 1280) and time ids (B, 6): sizes and crop of the image."""
    settings = architecture.settings
    if settings.get("addition_embed_type") != "text_time":
        return {}
    sizes = _SDXL_TIME_IDS * settings["addition_time_embed_dim"]
    pooled = settings["projection_class_embeddings_input_dim"] - sizes
    side = 8.0 * settings["sample_size"]
    time_ids = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=device, dtype=dtype)
    embeds = _noise((batch, pooled), device, dtype)
    conditions = {"text_embeds": embeds, "time_ids": time_ids.expand(batch, -1)}
    return {"added_cond_kwargs": conditions}


def _noise(shape: tuple[int, ...], device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """The same numbers on every device; on the meta device, which holds none, the shape alone."""
    if torch.device(device).type == "meta":
        return torch.empty(shape, device=device, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(device=device, dtype=dtype)


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise UserError(f"backbone={name}: allowed: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
