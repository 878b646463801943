"""The choice of destinations: one token per cell, into which sources may be merged.

Every rule returns token numbers of shape (B, D), D = number of cells, cells row by row.
"""

import torch
from torch import Tensor

from bigain.operators.cells import cell_count, cell_tokens
from bigain.operators.random_key import RandomKey
from bigain.operators.scores import Score

__all__ = ["lowest_score", "random_position", "top_left"]


def top_left(metric: Tensor, grid: tuple[int, int], cell: tuple[int, int]) -> Tensor:
    """The top-left token of every cell, the same for each sample of `metric` (B, N, C)."""
    tokens = cell_tokens(grid, cell, metric.device)
    return tokens[:, 0].expand(metric.shape[0], -1)


def random_position(
    metric: Tensor, grid: tuple[int, int], cell: tuple[int, int], draw: RandomKey
) -> Tensor:
    """A uniformly random token of every cell, by (seed, site, timestep of the sample)."""
    tokens = cell_tokens(grid, cell, metric.device)
    count, area = cell_count(grid, cell), cell[0] * cell[1]
    positions = draw.integers(count, area, metric)
    return tokens.flatten()[positions + torch.arange(count, device=metric.device) * area]


def lowest_score(
    metric: Tensor, grid: tuple[int, int], cell: tuple[int, int], score: Score
) -> Tensor:
    """The token of every cell with the lowest score; of equal ones the first, row by row."""
    tokens = cell_tokens(grid, cell, metric.device)
    scores = score(metric, grid)[:, tokens.flatten()].unflatten(1, tokens.shape)
    positions = scores.argmin(dim=-1)
    return tokens.expand(len(scores), -1, -1).gather(-1, positions[..., None]).squeeze(-1)
