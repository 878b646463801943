"""What every operator is: a small frozen object that plans a reduction from a metric tensor.

A *reduction* is one fixed assignment of tokens, applied to any tensor of the same grid.  An
operator plans on the metric tensor; the plan is applied elsewhere: at the same site, at another
site, at another module of the block, or for all classes of an image (a plan made from a batch of
one broadcasts over the batch it is applied to).

Two kinds of operators say how a reduction enters an attention:

* `TokenReducer`: the hidden states are reduced, the attention runs on N' tokens, and its output is
  restored to N.
* `KeyValueReducer`: queries come from all N tokens, keys and values from the reduced map; nothing
  has to be restored.

`bigain.apply` takes a `Compression`: one operator for all stages of a model, or `ByStage`, one
operator in the encoder and another in the decoder (Tables 17 and 18).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bigain.errors import UserError
from bigain.operators.random_key import RandomKey
from bigain.operators.validation import check_tokens

__all__ = [
    "UNCHANGED",
    "ByStage",
    "Compression",
    "Identity",
    "KeyValueReducer",
    "Operator",
    "Reduction",
    "TokenReducer",
    "Unchanged",
]


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


@dataclass(frozen=True)
class ByStage(Compression):
    """One operator per stage of a U-Net.

    Args:
        encoder: acts at the sites of the down blocks.
        decoder: acts at the sites of the up blocks.

    Raises:
        UserError: a part is no operator.

    """

    encoder: Operator
    decoder: Operator

    def __post_init__(self) -> None:
        for stage in ("encoder", "decoder"):
            part = getattr(self, stage)
            if not isinstance(part, Operator):
                raise UserError(f"{stage}={part!r}: must be an operator object, e.g. ToMe(0.5)")

    def for_stage(self, stage: str) -> Operator | None:
        """`encoder` or `decoder`; None in the middle of a U-Net and in models without stages."""
        return {"encoder": self.encoder, "decoder": self.decoder}.get(stage)
