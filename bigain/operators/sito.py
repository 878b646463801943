"""SiTo: tokens that resemble a chosen one are dropped, and copy the output of a kept one.

With the N x N cosines S of the metric tensor,

    importance_i = sim_beta * sum_j S_ij + noise_alpha * z_i,   z_i standard normal;

the token of each cell with the largest importance is a destination.  Of all other tokens, the
r = int(N * ratio) with the largest similarity to any destination are dropped, without averaging.  A
dropped token receives the output of the *kept* token that is most similar to it.  z is a pure
function of (seed, site, timestep of the sample), like ToMe's draw; with `draws="per_sample"` each
image and noise has its own z; with `draws="per_forward"` all samples of a forward share one z,
whatever the batch size.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bigain.operators.base import UNCHANGED, Reduction, TokenReducer
from bigain.operators.cells import cell_tokens, removed_tokens
from bigain.operators.matching import complement, mark, unit_tokens
from bigain.operators.random_key import RandomKey
from bigain.operators.selection import SelectReduction
from bigain.operators.validation import (
    check_cell,
    check_draws,
    check_finite,
    check_ratio,
    check_tokens,
)

__all__ = ["SiTo"]


@dataclass(frozen=True)
class SiTo(TokenReducer):
    """Similarity-based token pruning.

    Args:
        ratio: share of tokens to drop, in [0, 1 - 1/A], A = area of the cell.
        cell: (rows, columns) of a cell.
        sim_beta: weight of a token's summed similarities.
        noise_alpha: weight of the noise; 0 makes the choice deterministic.
        draws: `paired`, or with noise also `per_sample` or `per_forward`.

    Raises:
        UserError: ratio, cell, a weight or draws out of range.

    """

    ratio: float
    cell: tuple[int, int] = (2, 2)
    sim_beta: float = 1.0
    noise_alpha: float = 0.1
    draws: str = field(default="paired", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", check_cell(self.cell))
        check_ratio(self.ratio, self.cell)
        check_finite("sim_beta", self.sim_beta)
        check_finite("noise_alpha", self.noise_alpha)
        check_draws(self.draws, "noise_alpha other than 0" if self.noise_alpha == 0 else None)

    @torch.no_grad()
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """Choose destinations, drop the tokens most similar to them, assign these to kept ones."""
        check_tokens(metric.shape[1], grid)
        removed = removed_tokens(grid, self.cell, self.ratio)
        if removed == 0:
            return UNCHANGED
        unit = unit_tokens(metric)
        similarity = unit @ unit.transpose(1, 2)
        key = (draw or RandomKey()).drawing(self.draws, metric)
        noise = key.normals(metric.shape[1], metric)
        importance = self.sim_beta * similarity.sum(dim=-1) + self.noise_alpha * noise
        # NaN tokens are the last to be dropped, so that NaN shows in the output.
        importance = importance.nan_to_num().masked_fill(unit.isnan().any(dim=-1), torch.inf)
        dst = self._destinations(importance, grid)
        return _select(similarity, dropped=_redundant(similarity, dst, removed))

    def num_kept(self, grid: tuple[int, int]) -> int:
        """N - r."""
        return grid[0] * grid[1] - removed_tokens(grid, self.cell, self.ratio)

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs of all cosines, 2 N^2 C."""
        tokens = grid[0] * grid[1]
        return 2 * tokens**2 * channels if removed_tokens(grid, self.cell, self.ratio) else 0

    def _destinations(self, importance: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, D): the token of largest importance in every cell; if equal, the first."""
        cells = cell_tokens(grid, self.cell, importance.device)
        best = importance[:, cells.flatten()].unflatten(1, cells.shape).argmax(dim=-1)
        return cells.expand(len(importance), -1, -1).gather(-1, best[..., None]).squeeze(-1)


def _redundant(similarity: Tensor, dst: Tensor, removed: int) -> Tensor:
    """(B, r): the sources of largest similarity to any destination; if equal, the first."""
    tokens = similarity.shape[1]
    src = complement(dst, tokens)
    is_dst = mark(dst, tokens)
    best = similarity.masked_fill(~is_dst[:, None, :], -torch.inf).amax(dim=-1).gather(1, src)
    order = best.nan_to_num(-torch.inf).argsort(dim=-1, descending=True, stable=True)
    return src.gather(1, order[:, :removed])


def _select(similarity: Tensor, dropped: Tensor) -> SelectReduction:
    """Keep all tokens but `dropped` (B, r), in order; those copy the most similar kept token."""
    tokens = similarity.shape[1]
    is_dropped = mark(dropped, tokens)
    place = (~is_dropped).cumsum(dim=-1) - 1
    nearest = similarity.masked_fill(is_dropped[:, None, :], -torch.inf).argmax(dim=-1)
    assignment = torch.where(is_dropped, place.gather(1, nearest), place)
    return SelectReduction(complement(dropped, tokens), assignment)
