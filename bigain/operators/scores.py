"""Token scores F (Tables 8 and 13): one number per token; low = smooth = preferred destination.

`laplacian_l1` is Eq. 7 of the paper: r_i = depthwise 3x3 convolution of the map of tokens with

    L = [[0, 1, 0], [1, -4, 1], [0, 1, 0]],  zero padding,    F_i = sum over channels of |r_ic|.

A score is a function (x of (B, N, C), grid) -> (B, N) in `SCORES`; it computes in fp32 whatever the
precision of x.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.precision import at_least_float32
from bigain.operators.validation import check_tokens

__all__ = ["SCORES", "Score", "laplacian", "laplacian_l1", "token_score"]

Score = Callable[[Tensor, tuple[int, int]], Tensor]


def laplacian(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, N, C) -> (B, h, w, C): the discrete Laplacian of every channel, zero beyond the border.

    The taps are added in the order of the kernel, x, 2x, -2x, -x, 0 on a flat area: exactly zero
    there, so that flat tokens tie exactly and the tie rule decides, not rounding.
    """
    check_tokens(x.shape[1], grid)
    x = at_least_float32(x)
    channels = x.shape[-1]
    kernel = x.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    image = x.reshape(x.shape[0], *grid, channels).permute(0, 3, 1, 2)
    weight = kernel.expand(channels, 1, 3, 3)
    return F.conv2d(image, weight, padding=1, groups=channels).permute(0, 2, 3, 1)


def laplacian_l1(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, N, C) -> (B, N): the l1 norm over channels of the Laplacian (Eq. 7)."""
    return laplacian(x, grid).abs_().sum(dim=-1).flatten(1)


SCORES: dict[str, Score] = {"laplacian_l1": laplacian_l1}


def token_score(name: str) -> Score:
    """The score called `name`.

    Raises:
        UserError: there is none; the message lists them.

    """
    if name not in SCORES:
        raise UserError(f"score={name!r}: unknown token score, must be one of {', '.join(SCORES)}")
    return SCORES[name]
