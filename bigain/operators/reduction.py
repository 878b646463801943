"""A reduction: one fixed assignment of tokens, applied to any tensor of that grid.

An operator *plans* on the metric tensor; the plan is *applied* here.  Keeping the two apart lets a
plan be reused: at another site, at another module of the block, or for all classes of an image
(a plan made from a batch of one broadcasts over the batch it is applied to).
"""

from abc import ABC, abstractmethod

from torch import Tensor

__all__ = ["UNCHANGED", "Reduction", "Unchanged"]


class Reduction(ABC):
    """A pair of linear maps between N and N' tokens."""

    @abstractmethod
    def reduce(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N', C)."""

    @abstractmethod
    def restore(self, y: Tensor) -> Tensor:
        """(B, N', C) -> (B, N, C); the identity when only keys and values were reduced."""


class Unchanged(Reduction):
    """N' = N and both maps are the identity.

    Whoever applies an operator to a model passes nothing on for it, so the model's own path is
    taken bit for bit.
    """

    def reduce(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x

    def restore(self, y: Tensor) -> Tensor:
        """`y` itself."""
        return y

    def __repr__(self) -> str:
        return "Unchanged()"


UNCHANGED = Unchanged()
