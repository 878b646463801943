"""Downsampling of a map of tokens by an integer factor s: h' = floor(h/s), w' = floor(w/s).

* average: s x s means with stride s; trailing rows and columns are dropped.
* nearest: along each axis, output i takes source floor((i + 1/2) * h / h') ("nearest-exact"; for
  s = 2 the bottom-right token of a cell).  When s does not divide h this spans the whole grid while
  the average covers its first h' * s rows only; `align="window"` makes nearest use
  that window as well, i.e. floor((i + 1/2) * s).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.operators.constants import constant
from bigain.operators.precision import at_least_float32

__all__ = ["ALIGNMENTS", "average_pool", "nearest_pool", "nearest_tokens", "pooled_grid"]

ALIGNMENTS = ("reference", "window")


def pooled_grid(grid: tuple[int, int], factor: int) -> tuple[int, int]:
    """(floor(h/s), floor(w/s))."""
    return grid[0] // factor, grid[1] // factor


def average_pool(x: Tensor, grid: tuple[int, int], factor: int) -> Tensor:
    """(B, h*w, C) -> (B, h'*w', C): means of s x s windows, in fp32 at least."""
    image = at_least_float32(x).reshape(x.shape[0], *grid, x.shape[-1]).permute(0, 3, 1, 2)
    return F.avg_pool2d(image, factor).permute(0, 2, 3, 1).flatten(1, 2).to(x.dtype)


def nearest_pool(x: Tensor, grid: tuple[int, int], factor: int, align: str = "reference") -> Tensor:
    """(B, h*w, C) -> (B, h'*w', C): one token of each window, copied exactly."""
    return x.index_select(1, nearest_tokens(grid, factor, align, x.device))


@constant
def nearest_tokens(grid: tuple[int, int], factor: int, align: str, device: torch.device) -> Tensor:
    """(h' * w',) numbers of the tokens that `nearest_pool` keeps, row by row."""
    rows, columns = (_nearest_axis(side, factor, align) for side in grid)
    index = torch.tensor(rows, device=device)[:, None] * grid[1]
    return (index + torch.tensor(columns, device=device)).flatten()


def _nearest_axis(side: int, factor: int, align: str) -> list[int]:
    count = side // factor
    span = side if align == "reference" else count * factor
    return [(2 * i + 1) * span // (2 * count) for i in range(count)]
