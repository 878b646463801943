"""L-GTM, Laplacian-gated token merging (BiGain's token merging): smooth tokens are destinations.

Per sample, the destination of a cell is its token with the lowest score F, by default the l1 norm
of the Laplacian (Eq. 7).  Deterministic.  High-frequency tokens are only kept from being
destinations; nothing else protects them.
"""

from dataclasses import dataclass

from torch import Tensor

from bigain.operators.bipartite import BipartiteMerge
from bigain.operators.destinations import lowest_score
from bigain.operators.random_key import RandomKey
from bigain.operators.scores import score_flops, token_score

__all__ = ["LGTM"]


@dataclass(frozen=True)
class LGTM(BipartiteMerge):
    """Token merging whose destinations are the smoothest tokens.

    Args:
        ratio: share of tokens to remove, in [0, 1 - 1/A], A = area of the cell.
        cell: (rows, columns) of a cell.
        score: name of the token score (`bigain.operators.SCORES`).

    Raises:
        UserError: ratio or cell out of range, or unknown score.

    """

    score: str = "laplacian_l1"

    def __post_init__(self) -> None:
        super().__post_init__()
        token_score(self.score)

    def destinations(self, metric: Tensor, grid: tuple[int, int], draw: RandomKey) -> Tensor:
        """(B, D) token numbers: the lowest score of every cell, of equal ones the first."""
        del draw
        return lowest_score(metric, grid, self.cell, token_score(self.score))

    def choice_flops(self, tokens: int, channels: int) -> int:
        """What the score costs."""
        return score_flops(self.score, tokens, channels)
