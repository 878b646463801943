"""ToMe for diffusion models: destinations at random positions.

One uniformly random token of every cell is a destination.  The draw is a pure function of (seed,
site, timestep of the sample), so all classes of an image are compressed by maps with the same
destinations (`bigain.operators.random_key`).
"""

from dataclasses import dataclass

from torch import Tensor

from bigain.operators.bipartite import BipartiteMerge
from bigain.operators.destinations import random_position, top_left
from bigain.operators.random_key import RandomKey
from bigain.operators.validation import check_switch

__all__ = ["ToMe"]


@dataclass(frozen=True)
class ToMe(BipartiteMerge):
    """Token merging with random destinations.

    Args:
        ratio: share of tokens to remove, in [0, 1 - 1/A], A = area of the cell.
        cell: (rows, columns) of a cell.
        random: False takes the top-left token of every cell instead.

    Raises:
        UserError: ratio, cell or random out of range.

    """

    random: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_switch("random", self.random)

    def destinations(self, metric: Tensor, grid: tuple[int, int], draw: RandomKey) -> Tensor:
        """(B, D) token numbers, drawn per timestep, or the top-left ones."""
        if self.random:
            return random_position(metric, grid, self.cell, draw)
        return top_left(metric, grid, self.cell)
