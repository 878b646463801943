"""Base classes: an operator is a small immutable object that plans a reduction of tokens.

An operator makes its plan, a *reduction*, from a metric tensor.  The reduction can then be applied
to any tensor with the same grid: at the same site, another site, another module of the block, or
for all classes of an image (a plan of batch size 1 broadcasts).

There are two kinds of operators:

* `TokenReducer`: the hidden states are reduced, the attention runs on N' tokens, and its output is
  restored to N tokens.
* `KeyValueReducer`: queries come from all N tokens, keys and values from the reduced tokens;
  nothing is restored.

`bigain.apply` takes a `Compression`: one operator for all stages of a model, or `ByStage`, one for
the encoder and one for the decoder (Tables 17 and 18).
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
        """(B, N', C) -> (B, N, C); returns `y` if only keys and values were reduced."""

    def for_rows(self, index: Tensor) -> "Reduction":
        """The plan whose row b is row `index[b]` of this one, for `SharedPlan`.

        Args:
            index: (B,) row numbers.

        Raises:
            UserError: this kind of plan has no rows to choose from.

        """
        del index
        raise UserError(
            f"plan=shared: {type(self).__name__} has no method for_rows; allowed: each_class"
        )


class Unchanged(Reduction):
    """N' = N, and both maps are the identity.

    With this plan, `bigain.apply` changes nothing: the model runs as it is, bit for bit.
    """

    def reduce(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x

    def restore(self, y: Tensor) -> Tensor:
        """`y` itself."""
        return y

    def for_rows(self, index: Tensor) -> "Unchanged":
        """The same plan."""
        del index
        return self

    def __repr__(self) -> str:
        return "Unchanged()"


UNCHANGED = Unchanged()


class Compression(ABC):
    """Which operator acts at which stage of a model."""

    @abstractmethod
    def for_stage(self, stage: str) -> "Operator | None":
        """The operator for `stage` (encoder, mid, decoder or transformer), or None."""


class Operator(Compression):
    """A token-compression operator: immutable and comparable; its repr shows its settings.

    Attributes:
        shared_in_stage: whether the other sites of a stage and grid use the plan of the first one
            in the same forward (never across forwards).
        reads_metric: whether its plans depend on the metric tensor, and so may differ by row.
        plans_for_groups: whether it makes one plan for each group of rows (`SharedPlan`).

    """

    shared_in_stage: ClassVar[bool] = False
    reads_metric: ClassVar[bool] = True
    plans_for_groups: ClassVar[bool] = False

    @abstractmethod
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """The reduction for tokens `metric` (B, N, C) on a grid of (h, w), N = h * w.

        `draw` has seed, site and timesteps, for operators that are random or depend on time.

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
        """FLOPs of planning per sample: matrix products (2 per MAC) and convolutions.

        Sorting, indexing and element-wise arithmetic count nothing, as in torch's counter.
        Operators whose plan multiplies matrices or convolves override this method; tests compare
        it with that counter.
        """
        del grid, channels
        return 0

    def apply_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs of applying a plan at one module per sample, counted as those of planning.

        That is `reduce` and, for a `TokenReducer`, `restore`.  Indexing costs nothing; operators
        that multiply matrices there override this method.
        """
        del grid, channels
        return 0

    @property
    def planner(self) -> "Operator":
        """The operator whose settings decide the plan: itself, or the one that it wraps."""
        return self

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
    """The baseline (`operator=none`): nothing is reduced."""

    reads_metric: ClassVar[bool] = False

    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """`UNCHANGED`."""
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
        encoder: the operator for sites in the down blocks.
        decoder: the operator for sites in the up blocks.

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
        """`encoder` or `decoder`; None for the middle of a U-Net and for flat transformers."""
        return {"encoder": self.encoder, "decoder": self.decoder}.get(stage)
