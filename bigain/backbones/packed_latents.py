"""Latents as FLUX takes them: a sequence of tokens, each of 2 x 2 latents, with its place.

    (B, C, h, w)  <->  (B, h w / 4, 4 C)    channel 4 c + 2 i + j is latent (i, j) of channel c

The place of a token is (0, row, column); that of a word is (0, 0, 0).  The network turns queries
and keys by angles that follow from the place.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["PATCH", "packed", "token_places", "unpacked"]

PATCH = 2
"""Side of the square of latents that is one token."""


def packed(latents: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w / 4, 4 C), for even h and w."""
    return F.pixel_unshuffle(latents, PATCH).flatten(2).transpose(1, 2)


def unpacked(tokens: Tensor, width: int) -> Tensor:
    """(B, h w / 4, 4 C) -> (B, C, h, w); undoes `packed`.

    Args:
        tokens: The sequence.
        width: w, even.

    """
    rows = tokens.transpose(1, 2).unflatten(2, (-1, width // PATCH))
    return F.pixel_shuffle(rows, PATCH)


def token_places(side: int) -> Tensor:
    """(0, row, column) of each of side x side tokens, fp32, shape (side^2, 3)."""
    steps = torch.arange(side, dtype=torch.float32)
    return torch.cartesian_prod(torch.zeros(1), steps, steps)
