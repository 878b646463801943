"""The grid of tokens cut into cells of sy x sx.

Tokens are numbered row by row on the h x w grid.  There are floor(h/sy) * floor(w/sx) cells; the
rows and columns that are left over at the bottom and the right belong to no cell.
"""

import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.constants import constant

__all__ = ["cell_count", "cell_tokens", "removed_tokens"]


def cell_count(grid: tuple[int, int], cell: tuple[int, int]) -> int:
    """The number of whole cells, floor(h/sy) * floor(w/sx)."""
    return (grid[0] // cell[0]) * (grid[1] // cell[1])


def removed_tokens(grid: tuple[int, int], cell: tuple[int, int], ratio: float) -> int:
    """R = int(N * ratio), at most N minus one token per cell.

    Raises:
        UserError: tokens are to be removed but no cell fits in the grid.

    """
    tokens = grid[0] * grid[1]
    wanted = int(tokens * ratio)
    cells = cell_count(grid, cell)
    if wanted and not cells:
        raise UserError(
            f"cell={cell[0]}x{cell[1]}: does not fit in the token grid {grid[0]}x{grid[1]}"
        )
    return min(wanted, tokens - cells)


@constant
def cell_tokens(grid: tuple[int, int], cell: tuple[int, int], device: torch.device) -> Tensor:
    """(cells, sy * sx) token numbers: cells row by row, and row by row inside each cell."""
    rows, columns = grid[0] // cell[0], grid[1] // cell[1]
    tokens = torch.arange(grid[0] * grid[1], device=device).view(grid)
    tokens = tokens[: rows * cell[0], : columns * cell[1]]
    tokens = tokens.reshape(rows, cell[0], columns, cell[1]).transpose(1, 2)
    return tokens.reshape(rows * columns, cell[0] * cell[1]).contiguous()
