"""Cells of sy x sx tokens, and rules that choose one destination in each cell.

Tokens are numbered row by row on the h x w grid.  There are floor(h/sy) * floor(w/sx) cells;
leftover rows at the bottom and columns at the right belong to no cell.  A rule returns token
numbers (B, D), one per cell, cells row by row.

Index tensors that depend only on sizes are cached (`constant`).  They are never inference tensors,
so training may use them later.  `torch.compile` makes them inside the graph and folds them; under
a dispatch mode, such as that of fake tensors, they are not cached.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVarTuple

import torch
from torch import Tensor

from bigain.operators.matching import unit_tokens
from bigain.operators.random_key import RandomKey
from bigain.operators.validation import check_cell_fits

__all__ = [
    "DESTINATIONS",
    "cell_count",
    "cell_tokens",
    "constant",
    "lowest_score",
    "lowest_score_of_strip",
    "random_position",
    "removed_tokens",
    "representative",
    "representative_flops",
    "top_left",
]


Arguments = TypeVarTuple("Arguments")


def constant(function: Callable[[*Arguments], Tensor]) -> Callable[[*Arguments], Tensor]:
    """Cache the results of `function` by its (hashable) arguments."""

    @lru_cache(maxsize=256)
    def remembered(*args: *Arguments) -> Tensor:
        with torch.inference_mode(mode=False):
            return function(*args)

    @wraps(function)
    def call(*args: *Arguments) -> Tensor:
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
            return function(*args)
        return remembered(*args)

    return call


def cell_count(grid: tuple[int, int], cell: tuple[int, int]) -> int:
    """The number of complete cells, floor(h/sy) * floor(w/sx)."""
    return (grid[0] // cell[0]) * (grid[1] // cell[1])


def removed_tokens(grid: tuple[int, int], cell: tuple[int, int], ratio: float) -> int:
    """R = int(N * ratio), at most N minus one token per cell.

    Raises:
        UserError: there are tokens to remove, but the cell does not fit in the grid.

    """
    tokens = grid[0] * grid[1]
    wanted = int(tokens * ratio)
    cells = cell_count(grid, cell)
    if wanted:
        check_cell_fits(cell, grid)
    return min(wanted, tokens - cells)


@constant
def cell_tokens(grid: tuple[int, int], cell: tuple[int, int], device: torch.device) -> Tensor:
    """(cells, sy * sx) token numbers: cells row by row, and row by row inside each cell."""
    rows, columns = grid[0] // cell[0], grid[1] // cell[1]
    tokens = torch.arange(grid[0] * grid[1], device=device).view(grid)
    tokens = tokens[: rows * cell[0], : columns * cell[1]]
    tokens = tokens.reshape(rows, cell[0], columns, cell[1]).transpose(1, 2)
    return tokens.reshape(rows * columns, cell[0] * cell[1]).contiguous()


def top_left(metric: Tensor, grid: tuple[int, int], cell: tuple[int, int]) -> Tensor:
    """The top-left token of every cell, the same for each sample of `metric` (B, N, C)."""
    tokens = cell_tokens(grid, cell, metric.device)
    return tokens[:, 0].expand(metric.shape[0], -1)


def random_position(
    metric: Tensor, grid: tuple[int, int], cell: tuple[int, int], draw: RandomKey
) -> Tensor:
    """A uniformly random token of every cell, from (seed, site, timestep of the sample)."""
    tokens = cell_tokens(grid, cell, metric.device)
    count, area = cell_count(grid, cell), cell[0] * cell[1]
    positions = draw.integers(count, area, metric)
    return tokens.flatten()[positions + torch.arange(count, device=metric.device) * area]


def lowest_score(scores: Tensor, grid: tuple[int, int], cell: tuple[int, int]) -> Tensor:
    """The token of lowest score (B, N) in every cell (Eq. 7); if equal, the first, row by row."""
    tokens = cell_tokens(grid, cell, scores.device)
    return _at(scores[:, tokens.flatten()].unflatten(1, tokens.shape).argmin(dim=-1), tokens)


def lowest_score_of_strip(scores: Tensor, grid: tuple[int, int], cell: tuple[int, int]) -> Tensor:
    """The token at the position that has the lowest score (B, N) in a strip, not in the cell.

    A band is one row of cells, sy token rows of w' = sx * floor(w/sx) tokens.  Its sy * w' scores,
    read row by row, are cut into strips of sy * sx.  If the lowest score of strip j is at p (if
    equal, the first), the token in row p // sx, column p % sx of cell j of the band is chosen.
    """
    tokens = cell_tokens(grid, cell, scores.device)
    rows, columns = grid[0] // cell[0] * cell[0], grid[1] // cell[1] * cell[1]
    bands = scores.unflatten(1, grid)[:, :rows, :columns]
    return _at(bands.reshape(len(scores), *tokens.shape).argmin(dim=-1), tokens)


def representative(metric: Tensor, grid: tuple[int, int], cell: tuple[int, int]) -> Tensor:
    """The token of every cell that is most similar to its cell on average; if equal, the first.

    The mean of its cosines to all tokens of the cell of `metric` (B, N, C) is the largest.
    """
    tokens = cell_tokens(grid, cell, metric.device)
    own = unit_tokens(metric).index_select(1, tokens.flatten()).unflatten(1, tokens.shape)
    return _at((own @ own.transpose(-1, -2)).sum(dim=-1).argmax(dim=-1), tokens)


def representative_flops(grid: tuple[int, int], cell: tuple[int, int], channels: int) -> int:
    """FLOPs of the cosines of `representative`, 2 A^2 C for each cell of A tokens."""
    return 2 * cell_count(grid, cell) * (cell[0] * cell[1]) ** 2 * channels


DestinationRule = Callable[[Tensor, tuple[int, int], tuple[int, int]], Tensor]

DESTINATIONS: dict[str, DestinationRule] = {
    "eq7": lowest_score,
    "as_released": lowest_score_of_strip,
}
"""How the scores of tokens choose the destinations: Eq. 7, or what the paper's code computes."""


def _at(positions: Tensor, tokens: Tensor) -> Tensor:
    """(B, cells): the token numbers at `positions` (B, cells) of `tokens` (cells, A)."""
    return tokens.expand(len(positions), -1, -1).gather(-1, positions[..., None]).squeeze(-1)
