"""Token scores F (Tables 8 and 13): one number per token; low = smooth = preferred destination.

A score is a function (x of (B, N, C), grid) -> (B, N) in `SCORES`.  It computes in fp32 for any
precision of x (fp64 for fp64).  x_i is the vector of token i, m the mean token of the sample, X_k
the discrete Fourier transform of x_i over the *channel* axis (k = 0..C-1, both sides), and

    r_i = the 3x3 convolution of every channel with L = [[0, 1, 0], [1, -4, 1], [0, 1, 0]],

zero beyond the border; with the padding `replicate` the border's own tokens are repeated beyond it.
The last line of each docstring is the formula, which the tables print.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.matching import at_least_float32, unit_tokens
from bigain.operators.validation import check_choice, check_tokens

__all__ = [
    "PADDINGS",
    "SCORES",
    "Score",
    "laplacian",
    "score_flops",
    "score_formula",
    "score_map",
    "token_score",
]

Score = Callable[[Tensor, tuple[int, int]], Tensor]

PADDINGS = ("zero", "replicate")
"""What the Laplacian sees beyond the border: zeros, or the border's own tokens again."""

_KERNEL = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
_EPSILON = 1e-7


def laplacian(x: Tensor, grid: tuple[int, int], padding: str = "zero") -> Tensor:
    """(B, N, C) -> (B, h, w, C): the discrete Laplacian of every channel.

    The terms are added in the order of the kernel: x, 2x, -2x, -x, 0 in a flat area.  The result is
    exactly zero there, so flat tokens are exactly equal and the tie rule decides, not rounding.

    Args:
        x: the tokens.
        grid: (h, w), N = h * w.
        padding: one of `PADDINGS`.

    """
    image = _as_map(x, grid).permute(0, 3, 1, 2)
    weight = image.new_tensor(_KERNEL).expand(image.shape[1], 1, 3, 3)
    zeros = 1
    if padding == "replicate":
        image, zeros = F.pad(image, (1, 1, 1, 1), padding), 0
    return F.conv2d(image, weight, padding=zeros, groups=image.shape[1]).permute(0, 2, 3, 1)


def laplacian_l1(x: Tensor, grid: tuple[int, int], padding: str = "zero") -> Tensor:
    """l1 norm of the Laplacian (Eq. 7), the paper's default.

    F_i = sum_c |r_ic|
    """
    return laplacian(x, grid, padding).abs_().sum(dim=-1).flatten(1)


def laplacian_l2(x: Tensor, grid: tuple[int, int], padding: str = "zero") -> Tensor:
    """l2 norm of the Laplacian.

    F_i = sqrt(sum_c r_ic^2)
    """
    return _norm(laplacian(x, grid, padding)).flatten(1)


def global_mean_deviation(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Distance from the mean token.

    F_i = ||x_i - m||_2
    """
    tokens = _tokens(x, grid)
    return _norm(tokens - tokens.mean(dim=1, keepdim=True))


def l1_norm(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """l1 norm of the token.

    F_i = sum_c |x_ic|
    """
    return _tokens(x, grid).abs().sum(dim=-1)


def l2_norm(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """l2 norm of the token.

    F_i = ||x_i||_2
    """
    return _norm(_tokens(x, grid))


def channel_variance(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Unbiased variance over the channels of the token; 0 with a single channel.

    F_i = 1/(C-1) sum_c (x_ic - mean_c x_ic)^2
    """
    tokens = _tokens(x, grid)
    return tokens.var(dim=-1, correction=min(1, tokens.shape[-1] - 1))


def dft_spectral_centroid(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Centroid of the two-sided channel spectrum; nearly C/2 for real input, by symmetry.

    F_i = sum_k k |X_k| / (sum_k |X_k| + 1e-7)
    """
    amplitude = _spectrum(_tokens(x, grid))
    k = torch.arange(amplitude.shape[-1], device=x.device, dtype=amplitude.dtype)
    return (k * amplitude).sum(dim=-1) / (amplitude.sum(dim=-1) + _EPSILON)


def dft_amplitude(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Amplitude of the channel spectrum without its constant part.

    F_i = sum_{k>=1} |X_k|
    """
    return _spectrum(_tokens(x, grid))[..., 1:].sum(dim=-1)


def cosine_neighbors(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Unlikeness to the 2 to 4 neighbours inside the grid; 0 for a token without any.

    F_i = -mean over neighbours j of cos(x_i, x_j)
    """
    unit = unit_tokens(_tokens(x, grid)).unflatten(1, grid)
    below = (unit[:, 1:] * unit[:, :-1]).sum(dim=-1)
    right = (unit[:, :, 1:] * unit[:, :, :-1]).sum(dim=-1)
    similarity = F.pad(below, (0, 0, 0, 1)) + F.pad(below, (0, 0, 1, 0))
    similarity = similarity + F.pad(right, (0, 1)) + F.pad(right, (1, 0))
    return -(similarity / _neighbours(grid, similarity).clamp_min(1)).flatten(1)


def cosine_global_mean(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Unlikeness to the mean token.

    F_i = -cos(x_i, m)
    """
    tokens = _tokens(x, grid)
    mean = unit_tokens(tokens.mean(dim=1, keepdim=True))
    return -(unit_tokens(tokens) * mean).sum(dim=-1)


SCORES: dict[str, Score] = {
    score.__name__: score
    for score in (
        *(laplacian_l1, laplacian_l2, global_mean_deviation, l1_norm, l2_norm),
        *(channel_variance, dft_spectral_centroid, dft_amplitude),
        *(cosine_neighbors, cosine_global_mean),
    )
}
"""The scores of Tables 8 and 13 by name."""


_LAPLACIANS = {score.__name__: score for score in (laplacian_l1, laplacian_l2)}


def token_score(name: str, padding: str = "zero") -> Score:
    """The score called `name`.

    Args:
        name: one of `SCORES`.
        padding: one of `PADDINGS`; only the Laplacian scores have another than `zero`.

    Raises:
        UserError: unknown score (the message lists all), unknown padding, or a padding that the
            score does not have.

    """
    check_choice("score", name, SCORES)
    check_choice("padding", padding, PADDINGS)
    if padding == "zero":
        return SCORES[name]
    if name not in _LAPLACIANS:
        raise UserError(
            f"padding={padding}: allowed: zero with score={name}; {padding} with "
            f"{', '.join(_LAPLACIANS)}"
        )
    return partial(_LAPLACIANS[name], padding=padding)


def score_map(name: str, x: Tensor, grid: tuple[int, int], padding: str = "zero") -> Tensor:
    """The score `name` of `x` (B, N, C) as a map (B, h, w), for pictures.

    Raises:
        UserError: as `token_score`, or the grid does not fit.

    """
    return token_score(name, padding)(x, grid).view(len(x), *grid)


def score_formula(name: str) -> str:
    """The formula of the score `name`, as its docstring states it (Table 13).

    Raises:
        UserError: unknown score.

    """
    return (token_score(name).__doc__ or "").strip().splitlines()[-1].strip()


def score_flops(name: str, tokens: int, channels: int) -> int:
    """FLOPs of a score: 18 N C for the 3x3 convolution of a Laplacian, 0 for all others.

    Element-wise arithmetic and Fourier transforms count nothing, as in torch's own counter.

    Raises:
        UserError: unknown score.

    """
    check_choice("score", name, SCORES)
    return 18 * tokens * channels if name in _LAPLACIANS else 0


def _tokens(x: Tensor, grid: tuple[int, int]) -> Tensor:
    check_tokens(x.shape[1], grid)
    return at_least_float32(x)


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return norm


def _spectrum(x: Tensor) -> Tensor:
    """|X_k| of real tokens, k = 0..C-1."""
    amplitude: Tensor = torch.fft.fft(x, dim=-1).abs()
    return amplitude


def _as_map(x: Tensor, grid: tuple[int, int]) -> Tensor:
    return _tokens(x, grid).reshape(x.shape[0], *grid, x.shape[-1])


def _neighbours(grid: tuple[int, int], like: Tensor) -> Tensor:
    """(h, w): the number of neighbours inside the grid."""
    rows, columns = (_inside(side, like) for side in grid)
    return rows[:, None] + columns


def _inside(side: int, like: Tensor) -> Tensor:
    """(side,): the number of neighbours along one axis: 2; 1 at an end; 0 if side is 1."""
    place = torch.arange(side, device=like.device)
    ends: Tensor = (place == 0).to(like) + (place == side - 1).to(like)
    return 2 - ends
