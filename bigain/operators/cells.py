"""The grid of tokens cut into cells of sy x sx.

Tokens are numbered row by row on the h x w grid.  There are floor(h/sy) * floor(w/sx) cells; the
rows and columns that are left over at the bottom and the right belong to no cell.
"""

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["cell_count", "cell_tokens"]


def cell_count(grid: tuple[int, int], cell: tuple[int, int]) -> int:
    """The number of whole cells, floor(h/sy) * floor(w/sx)."""
    return (grid[0] // cell[0]) * (grid[1] // cell[1])


@lru_cache(maxsize=256)
def cell_tokens(grid: tuple[int, int], cell: tuple[int, int], device: torch.device) -> Tensor:
    """(cells, sy * sx) token numbers: cells row by row, and row by row inside each cell."""
    with torch.inference_mode(mode=False):
        rows, columns = grid[0] // cell[0], grid[1] // cell[1]
        tokens = torch.arange(grid[0] * grid[1], device=device).view(grid)
        tokens = tokens[: rows * cell[0], : columns * cell[1]]
        tokens = tokens.reshape(rows, cell[0], columns, cell[1]).transpose(1, 2)
        return tokens.reshape(rows * columns, cell[0] * cell[1]).contiguous()
