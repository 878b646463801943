"""Bipartite token merging, shared by all operators that differ in the choice of destinations only.

One destination per cell of sy x sx tokens; r = int(N * ratio), at most the number of sources, are
merged (`bigain.operators.matching`, `bigain.operators.merge`); N' = N - r tokens remain.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.operators.base import TokenReducer
from bigain.operators.cells import cell_count, removed_tokens
from bigain.operators.matching import assign_tokens, matching_flops
from bigain.operators.merge import MergeReduction
from bigain.operators.random_key import RandomKey
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
    def destinations(self, metric: Tensor, grid: tuple[int, int], draw: RandomKey) -> Tensor:
        """(B, D) token numbers, one of each cell, for `metric` (B, N, C)."""

    @torch.no_grad()
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """Choose destinations, match sources to them, merge the best r = int(N * ratio)."""
        check_tokens(metric.shape[1], grid)
        removed = removed_tokens(grid, self.cell, self.ratio)
        if removed == 0:
            return UNCHANGED
        dst = self.destinations(metric, grid, draw or RandomKey())
        assignment = assign_tokens(metric, dst, removed)
        return MergeReduction(assignment, metric.shape[1] - removed, dst)

    def num_kept(self, grid: tuple[int, int]) -> int:
        """N - r."""
        return grid[0] * grid[1] - removed_tokens(grid, self.cell, self.ratio)

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """The similarities, and what the choice of destinations costs (`choice_flops`)."""
        if not removed_tokens(grid, self.cell, self.ratio):
            return 0
        tokens = grid[0] * grid[1]
        similarities = matching_flops(tokens, cell_count(grid, self.cell), channels)
        return similarities + self.choice_flops(tokens, channels)

    def choice_flops(self, tokens: int, channels: int) -> int:
        """FLOPs of `destinations` per sample."""
        del tokens, channels
        return 0
