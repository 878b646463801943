"""What a merge does with its plan: the tokens of a place become their mean, and copy its output.

With the assignment o: {0..N-1} -> {0..N'-1} of N tokens to N' places,

    reduce:   y_j = mean of x_i over o(i) = j
    restore:  z_i = y_{o(i)}

ToFu's norm-preserving average (MLERP, arXiv 2312.01026) keeps the direction of the mean and takes
the norm of the largest token, y_j = mean_j / |mean_j| * max |x_i| over o(i) = j.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bigain.operators.base import Reduction
from bigain.operators.matching import at_least_float32, unit_tokens

__all__ = ["AVERAGES", "MergeReduction", "NormedMergeReduction"]


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
        return replace(self, assignment=self.assignment[index], dst=self.dst[index])

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
        return f"{type(self).__name__}({self.assignment.shape[1]} -> {self.tokens} tokens)"


@dataclass(frozen=True, eq=False)
class NormedMergeReduction(MergeReduction):
    """Merge N tokens into N'; a group gets the norm of its largest token (MLERP).

    A mean of zero has no direction and stays zero.  Tokens that are alone stay as they are.
    """

    def reduce(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N', C): means, scaled to the largest norm of their places."""
        wide = at_least_float32(x)
        mean = super().reduce(wide)
        norms = torch.linalg.vector_norm(wide, dim=-1)
        places = self.assignment.expand(len(x), -1)
        largest = norms.new_zeros(mean.shape[:2]).scatter_reduce(1, places, norms, "amax")
        scaled = unit_tokens(mean) * largest.unsqueeze(-1)
        return torch.where(self.counts.unsqueeze(-1) == 1, mean, scaled).to(x.dtype)


AVERAGES: dict[str, type[MergeReduction]] = {
    "mean": MergeReduction,
    "mlerp": NormedMergeReduction,
}
"""What becomes of the tokens of a group."""
