"""The parts of tiny SD3 and FLUX pipelines: random transformers, T5 encoders, a VAE that shifts.

An image of 64 x 64 pixels has latents of 4 x 8 x 8 and 4 x 4 tokens; a text has as many tokens as
that of the published pipelines.
"""

from pathlib import Path
from typing import Any

import diffusers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from bigain.config.architectures import ARCHITECTURES

__all__ = ["flow_parts", "save_t5_tokenizer", "tiny_transformer"]

_WIDTH = 16
_T5_WIDTH = 2 * _WIDTH
_CHANNELS = 4
_SIDE = 8
_LEVELS = 4
_HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
_WORDS = ("▁a", "▁photo", "▁of", "▁dog", "▁cat", "▁type", "▁pet")


def flow_parts(name: str, text: CLIPTextConfig) -> dict[str, Any]:
    """The components of `sd3_medium`, `sd35_medium` or `flux_dev` that have weights or settings.

    Args:
        name: The backbone.
        text: The settings of the CLIP encoders, whose width is 16.

    """
    is_flux = ARCHITECTURES[name].is_packed
    clip = CLIPTextModel if is_flux else CLIPTextModelWithProjection
    encoders: list[Any] = [clip(text)]
    if not is_flux:
        encoders.append(clip(text))
    encoders.append(T5EncoderModel(_t5_config()))
    ends = ("", "_2", "_3")
    texts = {f"text_encoder{end}": each for end, each in zip(ends, encoders, strict=False)}
    return {
        "transformer": tiny_transformer(name),
        "vae": _vae(),
        **texts,
        "scheduler": _scheduler(is_flux),
    }


def save_t5_tokenizer(folder: Path) -> None:
    """A unigram tokenizer of a few words and all printable characters, as T5's."""
    T5TokenizerFast(vocab=_vocabulary(), model_max_length=512).save_pretrained(folder)


def _vocabulary() -> list[tuple[str, float]]:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    characters = [("▁", -4.0), *((chr(code), -5.0) for code in range(33, 127))]
    return [*special, *((word, -2.0) for word in _WORDS), *characters]


def _t5_config() -> T5Config:
    return T5Config(
        vocab_size=len(_vocabulary()) + 100,  # T5 has 100 further marks
        d_model=_T5_WIDTH,
        d_kv=8,
        d_ff=_T5_WIDTH,
        num_heads=2,
        num_layers=2,
        feed_forward_proj="gated-gelu",
    )


def tiny_transformer(name: str) -> Any:
    """The transformer of `flow_parts`, with random weights of torch's global generator."""
    return _flux() if ARCHITECTURES[name].is_packed else _sd3(name)


def _sd3(name: str) -> Any:
    settings = {
        **ARCHITECTURES[name].settings,
        **_HEADS,
        "sample_size": _SIDE,
        "in_channels": _CHANNELS,
        "out_channels": _CHANNELS,
        "num_layers": 4,
        "joint_attention_dim": _T5_WIDTH,
        "caption_projection_dim": _WIDTH,
        "pooled_projection_dim": 2 * _WIDTH,
        "pos_embed_max_size": 2 * _SIDE,
    }
    if "dual_attention_layers" in settings:
        settings["dual_attention_layers"] = (0, 1)
    return diffusers.SD3Transformer2DModel(**settings)


def _flux() -> Any:
    settings = {
        **ARCHITECTURES["flux_dev"].settings,
        **_HEADS,
        "in_channels": 4 * _CHANNELS,
        "num_layers": 2,
        "num_single_layers": 2,
        "joint_attention_dim": _T5_WIDTH,
        "pooled_projection_dim": _WIDTH,
        "axes_dims_rope": (2, 2, 4),
    }
    return diffusers.FluxTransformer2DModel(**settings)


def _scheduler(is_flux: bool) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=is_flux)


def _vae() -> Any:
    """A VAE that halves the image three times, with the factors of SD3's."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * _LEVELS,
        up_block_types=("UpDecoderBlock2D",) * _LEVELS,
        block_out_channels=(_SIDE,) * _LEVELS,
        norm_num_groups=4,
        latent_channels=_CHANNELS,
        sample_size=8 * _SIDE,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
