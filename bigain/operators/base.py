"""What every operator is: a small frozen object that plans a reduction from a metric tensor.

Two kinds say how a reduction enters an attention:

* `TokenReducer`: the hidden states are reduced, the attention runs on N' tokens, its output is
  restored to N.
* `KeyValueReducer`: queries come from all N tokens, keys and values from the reduced map; there is
  nothing to restore.

What `bigain.apply` takes is an `Compression`: one operator for all stages of a model, or a
combination of them (`bigain.operators.combination`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bigain.operators.random_key import RandomKey
from bigain.operators.reduction import UNCHANGED, Reduction
from bigain.operators.validation import check_tokens

__all__ = ["Compression", "Identity", "KeyValueReducer", "Operator", "TokenReducer"]


class Compression(ABC):
    """Says which operator acts at which stage of a model."""

    @abstractmethod
    def for_stage(self, stage: str) -> "Operator | None":
        """The operator for sites of `stage` (encoder, mid, decoder, transformer), None: none."""


class Operator(Compression):
    """A token-compression operator; immutable, comparable, its repr shows its settings.

    Attributes:
        shared_in_stage: whether the plan of the first site of a stage serves the other sites of
            that stage and grid in the same forward (never across forwards).

    """

    shared_in_stage: ClassVar[bool] = False

    @abstractmethod
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """The reduction for tokens `metric` (B, N, C) on a grid of (h, w), N = h * w.

        `draw` carries seed, site and timesteps for what is random or depends on time.

        Raises:
            UserError: the grid does not fit the tensor or the operator's settings.

        """

    @abstractmethod
    def num_kept(self, grid: tuple[int, int]) -> int:
        """N', the number of tokens after reduction on a grid of (h, w).

        Raises:
            UserError: the grid does not fit the operator's settings.

        """

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs that planning costs per sample: matrix products (2 per MAC) and convolutions.

        Sorting, indexing and element-wise arithmetic count nothing, as in torch's own counter.  An
        operator that multiplies matrices or convolves overrides this; the tests compare it with
        what that counter sees.
        """
        del grid, channels
        return 0

    def for_stage(self, stage: str) -> "Operator":
        """The operator itself, whatever the stage."""
        del stage
        return self


class TokenReducer(Operator):
    """Reduces the tokens that enter a module and restores the module's output."""


class KeyValueReducer(Operator):
    """Reduces the tokens that keys and values are projected from."""


@dataclass(frozen=True)
class Identity(TokenReducer):
    """No acceleration (`operator=none`): nothing is reduced, the model stays what it is."""

    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """The reduction that changes nothing."""
        del draw
        check_tokens(metric.shape[1], grid)
        return UNCHANGED

    def num_kept(self, grid: tuple[int, int]) -> int:
        """N = h * w."""
        return grid[0] * grid[1]
