"""Selection: some tokens are kept unchanged, the others are dropped.

reduce:   y_j = x at the j-th kept token
restore:  z_i = y at the place of token i: its own, or that of the kept token it copies
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.base import UNCHANGED, KeyValueReducer, Reduction
from bigain.operators.matching import take_tokens
from bigain.operators.random_key import RandomKey
from bigain.operators.scores import score_flops, token_score
from bigain.operators.validation import check_choice, check_sparsity, check_tokens

__all__ = ["STRATEGIES", "KVSelect", "SelectReduction"]

STRATEGIES = ("low_frequency", "high_frequency")


@dataclass(frozen=True, eq=False)
class SelectReduction(Reduction):
    """Keep the tokens `kept`.

    Attributes:
        kept: (B, N') token numbers.
        assignment: (B, N) place 0..N'-1 whose output each token takes; None when the output has
            all N tokens already (keys and values).

    """

    kept: Tensor
    assignment: Tensor | None = None

    def reduce(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N', C): copies of the kept tokens."""
        return take_tokens(x, self.kept)

    def restore(self, y: Tensor) -> Tensor:
        """(B, N', C) -> (B, N, C), or `y` itself without an assignment."""
        return y if self.assignment is None else take_tokens(y, self.assignment)

    def for_rows(self, index: Tensor) -> "SelectReduction":
        """Row b keeps what row `index[b]` keeps here."""
        assignment = None if self.assignment is None else self.assignment[index]
        return SelectReduction(self.kept[index], assignment)

    def __repr__(self) -> str:
        return f"SelectReduction({self.kept.shape[1]} tokens kept)"


@dataclass(frozen=True)
class KVSelect(KeyValueReducer):
    """Keys and values from one frequency band of the map (Table 12), queries from all tokens.

    Args:
        sparsity: share of tokens without keys and values, in [0, 1); int(N * (1 - sparsity)) stay.
        strategy: `low_frequency` keeps the lowest scores of the whole map, `high_frequency` the
            highest; of equal ones the first.
        score: name of the token score (`bigain.operators.SCORES`).
        padding: beyond the border of a Laplacian score (`bigain.operators.scores.PADDINGS`).

    Raises:
        UserError: a setting out of range, or unknown score.

    """

    sparsity: float = 0.75
    strategy: str = "low_frequency"
    score: str = "laplacian_l1"
    padding: str = field(default="zero", kw_only=True)

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        token_score(self.score, self.padding)
        check_choice("strategy", self.strategy, STRATEGIES)

    @torch.no_grad()
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """The tokens with the lowest or highest scores, by token number."""
        del draw
        check_tokens(metric.shape[1], grid)
        count = self.num_kept(grid)
        if count == metric.shape[1]:
            return UNCHANGED
        scores = token_score(self.score, self.padding)(metric, grid)
        descending = self.strategy == "high_frequency"
        order = scores.argsort(dim=-1, descending=descending, stable=True)
        return SelectReduction(order[:, :count].sort(dim=-1).values)

    def num_kept(self, grid: tuple[int, int]) -> int:
        """int(N * (1 - sparsity)) keys and values.

        Raises:
            UserError: no token would be left.

        """
        tokens = grid[0] * grid[1]
        count = int(tokens * (1 - self.sparsity))
        if not count:
            raise UserError(
                f"sparsity={self.sparsity}: allowed: at most {1 - 1 / tokens:g}, so that one of "
                f"the {grid[0]}x{grid[1]} tokens stays"
            )
        return count

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs of the score."""
        tokens = grid[0] * grid[1]
        return 0 if self.num_kept(grid) == tokens else score_flops(self.score, tokens, channels)
