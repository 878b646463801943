"""Prompts to the hidden states that a denoiser attends to.

Stable Diffusion 1 and 2: 77 tokens, padded and cut; the text encoder's last hidden state after its
final norm, (n, 77, C).  SDXL: the second-to-last hidden states of two encoders side by side,
(n, 77, C1 + C2), and the projected pooled state of the second, (n, P).

SD3: those two of SDXL, filled up with zeros to the width of a T5 encoder, before the 256 tokens of
that, (n, 77 + 256, 4096), and both projected pooled states side by side.  FLUX: the 512 tokens of
the T5 encoder, (n, 512, 4096), and the pooled state of the CLIP encoder.

The result is that of diffusers' own pipelines.  The prompts of a run are encoded once, in full
precision; then the encoders are freed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5EncoderModel,
    T5TokenizerFast,
)

from bigain.backbones.loading import load_component
from bigain.errors import UserError

__all__ = ["Prompts", "encode_for_flux", "encode_for_sd3", "encode_prompts"]

_BATCH = 32
_TOKENS = 77
_T5_TOKENS = {"sd3": 256, "flux": 512}


@dataclass(frozen=True)
class Prompts:
    """Encoded prompts.

    Attributes:
        context: Hidden states, (n, tokens, C), fp32.
        pooled: Pooled embeddings, (n, P), fp32; None of Stable Diffusion 1 and 2.

    """

    context: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True)
class _Texts:
    """Prompts, and the pipeline whose encoders read them, on a device."""

    folder: Path
    prompts: Sequence[str]
    variant: str | None
    device: torch.device

    def outputs(self, cls: Any, which: str, tokens: int, *, hidden: bool = False) -> Iterator[Any]:
        """What the text encoder `which` gives for all prompts, a few at a time."""
        tokenizer = _tokenizer(self.folder, f"tokenizer{which}", is_t5=cls is T5EncoderModel)
        part = f"text_encoder{which}"
        loaded = load_component(cls, self.folder, part, variant=self.variant, dtype=torch.float32)
        encoder = loaded.to(self.device)
        for start in range(0, len(self.prompts), _BATCH):
            found = tokenizer(
                list(self.prompts[start : start + _BATCH]),
                padding="max_length",
                max_length=tokens,
                truncation=True,
                return_tensors="pt",
            )
            yield encoder(found.input_ids.to(self.device), output_hidden_states=hidden)

    def last_hidden(self, cls: Any, which: str, tokens: int) -> Tensor:
        """The last hidden states (n, tokens, C) of an encoder, on the CPU."""
        outputs = self.outputs(cls, which, tokens)
        return torch.cat([output.last_hidden_state.cpu() for output in outputs])

    def projected(self, which: str) -> tuple[Tensor, Tensor]:
        """The last but one hidden states (n, 77, C) and the projected pooled state (n, P)."""
        outputs = self.outputs(CLIPTextModelWithProjection, which, _TOKENS, hidden=True)
        found = [(each.hidden_states[-2].cpu(), each.text_embeds.cpu()) for each in outputs]
        context, pooled = (torch.cat(parts) for parts in zip(*found, strict=True))
        return context, pooled


@torch.inference_mode()
def encode_prompts(
    folder: Path, prompts: Sequence[str], *, variant: str | None, device: torch.device
) -> Prompts:
    """Encode `prompts` for Stable Diffusion 1, 2 or XL; result on the CPU.

    Args:
        folder: The pipeline.
        prompts: At least one.
        variant: None or "fp16".
        device: Where the encoders compute.

    Raises:
        UserError: tokenizer or encoder cannot be loaded, see `bigain.backbones.loading`.

    """
    texts = _Texts(folder, prompts, variant, device)
    if not (folder / "text_encoder_2").is_dir():
        return Prompts(texts.last_hidden(CLIPTextModel, "", _TOKENS))
    outputs = texts.outputs(CLIPTextModel, "", _TOKENS, hidden=True)
    first = torch.cat([output.hidden_states[-2].cpu() for output in outputs])
    second, pooled = texts.projected("_2")
    return Prompts(torch.cat([first, second], dim=-1), pooled)


@torch.inference_mode()
def encode_for_sd3(
    folder: Path, prompts: Sequence[str], *, variant: str | None, device: torch.device
) -> Prompts:
    """Encode `prompts` for SD3, with two CLIP encoders and T5; see `encode_prompts`."""
    texts = _Texts(folder, prompts, variant, device)
    (first, pooled), (second, also_pooled) = texts.projected(""), texts.projected("_2")
    t5 = texts.last_hidden(T5EncoderModel, "_3", _T5_TOKENS["sd3"])
    clip = torch.cat([first, second], dim=-1)
    clip = F.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
    return Prompts(torch.cat([clip, t5], dim=1), torch.cat([pooled, also_pooled], dim=-1))


@torch.inference_mode()
def encode_for_flux(
    folder: Path, prompts: Sequence[str], *, variant: str | None, device: torch.device
) -> Prompts:
    """Encode `prompts` for FLUX, with a CLIP encoder and T5; see `encode_prompts`."""
    texts = _Texts(folder, prompts, variant, device)
    outputs = texts.outputs(CLIPTextModel, "", _TOKENS)
    pooled = torch.cat([output.pooler_output.cpu() for output in outputs])
    return Prompts(texts.last_hidden(T5EncoderModel, "_2", _T5_TOKENS["flux"]), pooled)


def _tokenizer(folder: Path, part: str, *, is_t5: bool) -> Any:
    kind: Any = T5TokenizerFast if is_t5 else CLIPTokenizer
    try:
        return kind.from_pretrained(folder, subfolder=part, local_files_only=True)
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        name = "T5" if is_t5 else "CLIP"
        raise UserError(f"{folder / part}: is no tokenizer of {name} ({reason})") from error
