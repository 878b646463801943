"""ABM, adaptive block merge (BiGain's cheapest merging): smooth tiles become their mean.

Tiles of A tokens (2 x 2) are ranked by an aggregate of the token scores in them; the

    M = min(floor(r / (A - 1)), number of tiles),   r = int(N * ratio)

lowest tiles become their plain mean; all other tokens stay as they are: N' = N - M (A - 1).  There
is no similarity matrix.  The paper pools tiles with max F <= tau, where tau is a quantile of F;
ranking tiles meets the ratio up to one tile and pools the same tiles for the tau between them.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.base import UNCHANGED, Reduction, TokenReducer
from bigain.operators.cells import cell_count, cell_tokens
from bigain.operators.matching import mark
from bigain.operators.merge_reduction import MergeReduction
from bigain.operators.random_key import RandomKey
from bigain.operators.scores import score_flops, token_score
from bigain.operators.validation import (
    check_cell,
    check_cell_fits,
    check_choice,
    check_ratio,
    check_tokens,
)

__all__ = ["ABM", "AGGREGATES"]

AGGREGATES = ("max", "sum", "mean")


@dataclass(frozen=True)
class ABM(TokenReducer):
    """Pool the smoothest tiles into one token each.

    Args:
        ratio: share of tokens to remove, in [0, 1 - 1/A], A = area of the cell; met up to less
            than one tile.
        cell: (rows, columns) of a tile, of at least two tokens.
        score: name of the token score (`bigain.operators.SCORES`).
        aggregate: how the scores of a tile become one: `max`, `sum` or `mean`.
        padding: beyond the border of a Laplacian score (`bigain.operators.scores.PADDINGS`).

    Raises:
        UserError: a setting out of range, or unknown score.

    """

    ratio: float
    cell: tuple[int, int] = (2, 2)
    score: str = "laplacian_l1"
    aggregate: str = "max"
    padding: str = field(default="zero", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", check_cell(self.cell))
        if self.cell == (1, 1):
            raise UserError("cell=[1,1]: allowed: a tile of at least two tokens")
        check_ratio(self.ratio, self.cell)
        token_score(self.score, self.padding)
        check_choice("aggregate", self.aggregate, AGGREGATES)

    @torch.no_grad()
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """Rank the tiles and pool the M lowest; if equal, the first, row by row."""
        del draw
        check_tokens(metric.shape[1], grid)
        count = self._pooled(grid)
        if count == 0:
            return UNCHANGED
        tiles = cell_tokens(grid, self.cell, metric.device)
        scores = token_score(self.score, self.padding)(metric, grid)[:, tiles.flatten()]
        ranked = _aggregate(scores.unflatten(1, tiles.shape), self.aggregate)
        chosen = ranked.argsort(dim=-1, stable=True)[:, :count].sort(dim=-1).values
        return _pool(tiles[chosen], self.num_kept(grid), metric.shape[1])

    def num_kept(self, grid: tuple[int, int]) -> int:
        """N - M (A - 1)."""
        return grid[0] * grid[1] - self._pooled(grid) * (self.cell[0] * self.cell[1] - 1)

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs of the score."""
        tokens = grid[0] * grid[1]
        return score_flops(self.score, tokens, channels) if self._pooled(grid) else 0

    def _pooled(self, grid: tuple[int, int]) -> int:
        """M, the number of tiles that are pooled."""
        removed = int(grid[0] * grid[1] * self.ratio)
        if removed:
            check_cell_fits(self.cell, grid)
        return min(removed // (self.cell[0] * self.cell[1] - 1), cell_count(grid, self.cell))


def _aggregate(scores: Tensor, name: str) -> Tensor:
    """(B, tiles, A) -> (B, tiles)."""
    if name == "max":
        return scores.amax(dim=-1)
    return scores.sum(dim=-1) if name == "sum" else scores.mean(dim=-1)


def _pool(tiles: Tensor, kept: int, tokens: int) -> MergeReduction:
    """The kept tokens in their order, then the means of `tiles` (B, M, A)."""
    batch, count, area = tiles.shape
    members = tiles.flatten(1)
    single = ~mark(members, tokens)
    assignment = single.cumsum(dim=-1) - 1
    places = torch.arange(kept - count, kept, device=tiles.device).repeat_interleave(area)
    assignment.scatter_(1, members, places.expand(batch, -1))
    return MergeReduction(assignment, kept, tiles[..., 0])
