"""Pipelines of a few thousand parameters in the hub's own folder layout, for tests and dry runs.

They have every component that the published ones have, built by the same classes and saved by the
same code: VAE, text encoder(s) with a byte-level BPE vocabulary, U-Net or DiT, scheduler,
`model_index.json`.  Weights are seeded noise, so they classify by chance; what they prove is the
path from a folder to a result.
"""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5EncoderModel,
)

from bigain.backbones.loading import quiet_libraries
from bigain.config.architectures import ARCHITECTURES
from bigain.errors import UserError
from bigain.files import replace_text
from bigain.testing.flow_backbones import flow_parts, save_t5_tokenizer

__all__ = ["LAYOUTS", "byte_pair_vocabulary", "save_tiny_pipeline"]

LAYOUTS = ("sd20", "sd21", "sd15", "sdxl", "dit_xl2_512", "sd3_medium", "sd35_medium", "flux_dev")
"""Backbones of which there is a tiny version."""

_START, _END = "<|startoftext|>", "<|endoftext|>"
_MERGES = 60
_TEXT = (
    "a photo of a beagle, a type of pet. a photo of a dog. a photo of a cat. "
    "a photo of a basset hound dog, a type of pet. a photo of a tench. a photo of a bicycle. "
)
_WIDTH = 16
_HALF_WIDTH = 8
_ADDED_TIME = 4
_PIPELINES = {
    "sdxl": "StableDiffusionXLPipeline",
    "dit_xl2_512": "DiTPipeline",
    "sd3_medium": "StableDiffusion3Pipeline",
    "sd35_medium": "StableDiffusion3Pipeline",
    "flux_dev": "FluxPipeline",
}


def save_tiny_pipeline(
    name: str, folder: Path, *, seed: int = 0, variant: str | None = None, classes: int = 1000
) -> None:
    """Write a tiny pipeline of the kind of backbone `name` into `folder`.

    Args:
        name: One of `LAYOUTS`.
        folder: Is made if it does not exist; files of the same names are replaced.
        seed: Of the weights.
        variant: "fp16" saves half-precision files under the names that the hub gives them.
        classes: Number of class conditions of the DiT.

    Raises:
        UserError: there is no tiny version of `name`.

    """
    if name not in LAYOUTS:
        raise UserError(f"backbone={name}: no tiny version; allowed: {', '.join(LAYOUTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), quiet_libraries():
        torch.manual_seed(seed)
        parts = _parts(name, classes)
        for part, model in parts.items():
            _save(model, folder / part, variant)
    index: dict[str, list[str | None]] = {
        part: [_library(model), type(model).__name__] for part, model in parts.items()
    }
    for part in [part for part in parts if part.startswith("text_encoder")]:
        tokenizer = part.replace("text_encoder", "tokenizer")
        is_t5 = isinstance(parts[part], T5EncoderModel)
        index[tokenizer] = ["transformers", "T5TokenizerFast" if is_t5 else "CLIPTokenizer"]
        if is_t5:
            save_t5_tokenizer(folder / tokenizer)
        else:
            pad = "!" if name in ("sd20", "sd21") or part.endswith("2") else _END
            _save_tokenizer(folder / tokenizer, pad)
    if name not in _PIPELINES:
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
    named = {"_class_name": _PIPELINES.get(name, "StableDiffusionPipeline"), **index}
    replace_text(folder / "model_index.json", json.dumps(named, indent=2) + "\n")


def byte_pair_vocabulary(text: str, merges: int) -> tuple[dict[str, int], list[str]]:
    """CLIP's byte-pair encoding learned from `text`: vocabulary (token -> id) and merge rules.

    Symbols are characters; the last of a word carries `</w>`.  The most frequent neighbours are
    merged first, ties in alphabetical order.
    """
    printable = [chr(code) for code in range(33, 127)]
    vocabulary = [*printable, *(f"{symbol}</w>" for symbol in printable)]
    words = Counter((*word[:-1], f"{word[-1]}</w>") for word in text.split())
    rules: list[str] = []
    for _ in range(merges):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        rules.append(" ".join(best))
        vocabulary.append("".join(best))
        words = Counter({_merged(word, best): count for word, count in words.items()})
    vocabulary += [_START, _END]
    return {token: index for index, token in enumerate(dict.fromkeys(vocabulary))}, rules


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    joined: list[str] = []
    for symbol in word:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol
        else:
            joined.append(symbol)
    return tuple(joined)


def _parts(name: str, classes: int) -> dict[str, Any]:
    if name == "dit_xl2_512":
        return _dit_parts(classes)
    is_flow = ARCHITECTURES[name].is_flow
    return flow_parts(name, _text_config()) if is_flow else _unet_parts(name)


def _unet_parts(name: str) -> dict[str, Any]:
    is_xl = name == "sdxl"
    encoders: dict[str, Any] = {"text_encoder": CLIPTextModel(_text_config())}
    if is_xl:
        encoders["text_encoder_2"] = CLIPTextModelWithProjection(_text_config())
    settings = {
        **ARCHITECTURES[name].settings,
        "sample_size": 8,
        "down_block_types": ARCHITECTURES[name].settings["down_block_types"][:2],
        "up_block_types": ARCHITECTURES[name].settings["up_block_types"][-2:],
        "block_out_channels": (_HALF_WIDTH, _WIDTH),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": (1, 2),
        "cross_attention_dim": _WIDTH * len(encoders),
    }
    if is_xl:
        settings |= {
            "transformer_layers_per_block": (1, 2),
            "addition_time_embed_dim": _ADDED_TIME,
            "projection_class_embeddings_input_dim": _WIDTH + 6 * _ADDED_TIME,
        }
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=ARCHITECTURES[name].prediction,
    )
    unet = diffusers.UNet2DConditionModel(**settings)
    return {"unet": unet, "vae": _vae(), **encoders, "scheduler": scheduler}


def _dit_parts(classes: int) -> dict[str, Any]:
    settings = {
        **ARCHITECTURES["dit_xl2_512"].settings,
        "sample_size": 8,
        "num_layers": 4,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_embeds_ada_norm": classes,
    }
    transformer = diffusers.DiTTransformer2DModel(**settings)
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="linear", beta_start=1e-4, beta_end=0.02, clip_sample=False
    )
    return {"transformer": transformer, "vae": _vae(), "scheduler": scheduler}


def _vae() -> Any:
    """A VAE that halves the image once: 16 x 16 pixels to 8 x 8 latents."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(_HALF_WIDTH, _HALF_WIDTH),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
        scaling_factor=0.18215,
    )


def _text_config() -> CLIPTextConfig:
    vocabulary, _ = byte_pair_vocabulary(_TEXT, _MERGES)
    return CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        projection_dim=_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=vocabulary[_START],
        eos_token_id=vocabulary[_END],
        pad_token_id=vocabulary["!"],
    )


def _save(model: Any, folder: Path, variant: str | None) -> None:
    if not isinstance(model, torch.nn.Module):
        model.save_pretrained(folder)
        return
    network: Any = model.half() if variant else model
    network.save_pretrained(folder, safe_serialization=True, variant=variant)


def _save_tokenizer(folder: Path, pad: str) -> None:
    """The four files of a CLIP tokenizer, as the published pipelines have them."""
    vocabulary, rules = byte_pair_vocabulary(_TEXT, _MERGES)
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": pad}
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": pad}
    replace_text(folder / "vocab.json", json.dumps(vocabulary))
    replace_text(folder / "merges.txt", "\n".join(["#version: 0.2", *rules]) + "\n")
    replace_text(folder / "tokenizer_config.json", json.dumps({**settings, **special}, indent=2))
    replace_text(folder / "special_tokens_map.json", json.dumps(special, indent=2))


def _library(model: Any) -> str:
    return str(type(model).__module__.partition(".")[0])
