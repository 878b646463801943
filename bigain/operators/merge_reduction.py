"""What a merge does with its plan: the tokens of a place become their mean, and copy its output.

With the assignment o: {0..N-1} -> {0..N'-1} of N tokens to N' places,

    reduce:   y_j = mean of x_i over o(i) = j
    restore:  z_i = y_{o(i)}
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.operators.base import Reduction
from bigain.operators.matching import at_least_float32

__all__ = ["MergeReduction"]


@dataclass(frozen=True, eq=False)
class MergeReduction(Reduction):
    """Merge N tokens into N'.

    Attributes:
        assignment: (B, N) places 0..N'-1 in the reduced sequence, or (1, N) for any batch.
        tokens: N', the length of the reduced sequence.
        dst: (B, D) or (1, D) token numbers of the destinations (for pictures of the map).

    """

    assignment: Tensor
    tokens: int
    dst: Tensor

    def reduce(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N', C): means over the tokens of each place, summed in fp32."""
        batch, _, channels = x.shape
        rows = at_least_float32(x).reshape(-1, channels)
        total = rows.new_zeros(batch * self.tokens, channels)
        total = total.index_add_(0, self._rows(batch), rows).view(batch, self.tokens, channels)
        return total.div_(self.counts.unsqueeze(-1)).to(x.dtype)

    def restore(self, y: Tensor) -> Tensor:
        """(B, N', C) -> (B, N, C): every token receives the output at its place."""
        batch, _, channels = y.shape
        rows = y.reshape(-1, channels).index_select(0, self._rows(batch))
        return rows.view(batch, -1, channels)

    def for_rows(self, index: Tensor) -> "MergeReduction":
        """Row b merges as row `index[b]` does here."""
        return MergeReduction(self.assignment[index], self.tokens, self.dst[index])

    @property
    def counts(self) -> Tensor:
        """(B, N') or (1, N'): the number of tokens at each place, at least 1."""
        ones = torch.ones_like(self.assignment)
        zeros = ones.new_zeros(len(self.assignment), self.tokens)
        return zeros.scatter_add_(1, self.assignment, ones)

    def _rows(self, batch: int) -> Tensor:
        """(B * N,) places in the flattened reduced batch."""
        offsets = torch.arange(batch, device=self.assignment.device)[:, None] * self.tokens
        return (self.assignment + offsets).flatten()

    def __repr__(self) -> str:
        return f"MergeReduction({self.assignment.shape[1]} -> {self.tokens} tokens)"
