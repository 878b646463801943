"""Prompts to the hidden states that a Stable Diffusion U-Net attends to.

Stable Diffusion 1 and 2: 77 tokens, padded and cut; the text encoder's last hidden state after its
final norm, (n, 77, C).  SDXL: the second-to-last hidden states of two encoders side by side,
(n, 77, C1 + C2), and the projected pooled state of the second, (n, P).

The result is that of diffusers' own pipelines.  The prompts of a run are encoded once, in full
precision; then the encoders are freed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bigain.backbones.loading import load_component
from bigain.errors import UserError

__all__ = ["Prompts", "encode_prompts"]

_BATCH = 32
_TOKENS = 77


@dataclass(frozen=True)
class Prompts:
    """Encoded prompts.

    Attributes:
        context: Hidden states, (n, 77, C), fp32.
        pooled: Pooled embeddings of SDXL's second encoder, (n, P), fp32; None elsewhere.

    """

    context: Tensor
    pooled: Tensor | None = None


@torch.inference_mode()
def encode_prompts(
    folder: Path, prompts: Sequence[str], *, variant: str | None, device: torch.device
) -> Prompts:
    """Encode `prompts` with the text encoder(s) of the pipeline in `folder`; result on the CPU.

    Raises:
        UserError: tokenizer or encoder cannot be loaded, see `bigain.backbones.loading`.

    """
    is_xl = (folder / "text_encoder_2").is_dir()
    encoders = {"": CLIPTextModel, **({"_2": CLIPTextModelWithProjection} if is_xl else {})}
    contexts: list[Tensor] = []
    pooled: Tensor | None = None
    for which, cls in encoders.items():
        tokenizer = _tokenizer(folder, f"tokenizer{which}")
        part = f"text_encoder{which}"
        encoder = load_component(cls, folder, part, variant=variant, dtype=torch.float32)
        batches = list(_batches(encoder.to(device), tokenizer, prompts, device, is_xl))
        contexts.append(torch.cat([context for context, _ in batches]))
        if which:
            pooled = torch.cat([state for _, state in batches if state is not None])
    return Prompts(torch.cat(contexts, dim=-1), pooled)


def _batches(
    encoder: Any, tokenizer: Any, prompts: Sequence[str], device: torch.device, is_xl: bool
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Context and pooled state of `prompts`, a few at a time, on the CPU."""
    for start in range(0, len(prompts), _BATCH):
        tokens = tokenizer(
            list(prompts[start : start + _BATCH]),
            padding="max_length",
            max_length=_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        output = encoder(tokens.input_ids.to(device), output_hidden_states=is_xl)
        context = output.hidden_states[-2] if is_xl else output.last_hidden_state
        pooled = getattr(output, "text_embeds", None)
        yield context.cpu(), None if pooled is None else pooled.cpu()


def _tokenizer(folder: Path, part: str) -> Any:
    try:
        return CLIPTokenizer.from_pretrained(folder, subfolder=part, local_files_only=True)
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise UserError(f"{folder / part}: is no tokenizer of CLIP ({reason})") from error
