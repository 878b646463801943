"""Bipartite token merging, shared by all operators that differ in the choice of destinations only.

One destination per cell of sy x sx tokens; r = int(N * ratio), at most the number of sources, are
merged (`bigain.operators.matching`, `bigain.operators.merge`); N' = N - r tokens remain.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.base import TokenReducer
from bigain.operators.cells import cell_count
from bigain.operators.draw import Draw
from bigain.operators.matching import assign_owners
from bigain.operators.merge import MergeReduction
from bigain.operators.reduction import UNCHANGED, Reduction
from bigain.operators.validation import check_cell, check_ratio, check_tokens

__all__ = ["BipartiteMerge"]


@dataclass(frozen=True)
class BipartiteMerge(TokenReducer):
    """Merge a share `ratio` of all tokens into one destination per cell.

    Args:
        ratio: share of tokens to remove, in [0, 1 - 1/A], A = area of the cell.
        cell: (rows, columns) of a cell.

    Raises:
        UserError: ratio or cell out of range.

    """

    ratio: float
    cell: tuple[int, int] = (2, 2)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", check_cell(self.cell))
        check_ratio(self.ratio, self.cell)

    @abstractmethod
    def destinations(self, metric: Tensor, grid: tuple[int, int], draw: Draw) -> Tensor:
        """(B, D) token numbers, one of each cell, for `metric` (B, N, C)."""

    @torch.no_grad()
    def plan(self, metric: Tensor, grid: tuple[int, int], draw: Draw | None = None) -> Reduction:
        """Choose destinations, match sources to them, merge the best r = int(N * ratio)."""
        check_tokens(metric.shape[1], grid)
        removed = self.removed(grid)
        if removed == 0:
            return UNCHANGED
        dst = self.destinations(metric, grid, draw or Draw())
        owner = assign_owners(metric, dst, removed)
        return MergeReduction(owner, metric.shape[1] - removed, dst)

    def removed(self, grid: tuple[int, int]) -> int:
        """Count what is merged: r = int(N * ratio), at most N minus the number of cells.

        Raises:
            UserError: tokens are to be merged but no cell fits in the grid.

        """
        tokens = grid[0] * grid[1]
        wanted = int(tokens * self.ratio)
        cells = cell_count(grid, self.cell)
        if wanted and not cells:
            raise UserError(
                f"cell={self.cell[0]}x{self.cell[1]}: does not fit in the token grid "
                f"{grid[0]}x{grid[1]}"
            )
        return min(wanted, tokens - cells)

    def kept(self, grid: tuple[int, int]) -> int:
        """N - r."""
        return grid[0] * grid[1] - self.removed(grid)
