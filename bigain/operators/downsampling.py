"""Key/value downsampling: queries at full length, keys and values from a smaller map.

    D_{alpha,s}(Z) = alpha * nearest_s(Z) + (1 - alpha) * average_s(Z)              (Eq. 8)

of the hidden states Z that enter the attention, before the projections (which are linear, so
D(Z) W = D(Z W), and this order is cheaper).  alpha = 1 is ToDo, alpha = 0 average pooling, anything
in between and beyond is IE-KVD, BiGain's token downsampling.  The output has all N tokens.
"""

from abc import abstractmethod
from dataclasses import dataclass, field

from torch import Tensor

from bigain.errors import UserError
from bigain.operators.base import KeyValueReducer
from bigain.operators.pooling import ALIGNMENTS, average_pool, nearest_pool, pooled_grid
from bigain.operators.precision import at_least_float32
from bigain.operators.random_key import RandomKey
from bigain.operators.reduction import UNCHANGED, Reduction
from bigain.operators.schedules import AlphaSchedule, ConstantAlpha
from bigain.operators.validation import check_factor, check_factor_fits, check_switch, check_tokens

__all__ = ["IEKVD", "AvgPool", "KeyValueDownsampler", "ToDo"]


@dataclass(frozen=True, eq=False)
class _Downsampling(Reduction):
    """D_{alpha,s} on one grid; `alpha` is a number or (B,)."""

    grid: tuple[int, int]
    factor: int
    alpha: float | Tensor
    align: str

    def reduce(self, x: Tensor) -> Tensor:
        """(B, h*w, C) -> (B, h'*w', C)."""
        if isinstance(self.alpha, float) and self.alpha == 1:
            return nearest_pool(x, self.grid, self.factor, self.align)
        if isinstance(self.alpha, float) and self.alpha == 0:
            return average_pool(x, self.grid, self.factor)
        wide = at_least_float32(x)
        nearest = nearest_pool(wide, self.grid, self.factor, self.align)
        average = average_pool(wide, self.grid, self.factor)
        alpha = self.alpha
        if isinstance(alpha, Tensor):
            alpha = alpha.to(wide)[:, None, None]
        return (alpha * nearest + (1 - alpha) * average).to(x.dtype)

    def restore(self, y: Tensor) -> Tensor:
        """`y` itself: the attention's output has all N tokens already."""
        return y


@dataclass(frozen=True)
class KeyValueDownsampler(KeyValueReducer):
    """Keys and values from a map that is `factor` times smaller along each side.

    Args:
        factor: integer >= 1, smaller than the sides of the token grid; 1 changes nothing.
        skip_final_step: whether a forward at timestep 0 keeps all keys and values, as the paper's
            released code does (the last of 50 Euler steps).

    Raises:
        UserError: factor or skip_final_step out of range.

    """

    factor: int
    skip_final_step: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_switch("skip_final_step", self.skip_final_step)

    @property
    @abstractmethod
    def schedule(self) -> AlphaSchedule:
        """How alpha depends on the timestep."""

    @property
    def alignment(self) -> str:
        """How nearest is aligned when the factor does not divide the grid."""
        return "reference"

    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """D_{alpha,s}, with alpha at the timestep of each sample; `metric` gives B and N only."""
        check_tokens(metric.shape[1], grid)
        if self.factor == 1 or (self.skip_final_step and _is_final(draw, len(metric))):
            return UNCHANGED
        check_factor_fits(self.factor, grid)
        alpha = self.schedule.at(draw.per_sample_timesteps(len(metric)) if draw else None)
        return _Downsampling(grid, self.factor, alpha, self.alignment)

    def num_kept(self, grid: tuple[int, int]) -> int:
        """floor(h/s) * floor(w/s) keys and values."""
        check_factor_fits(self.factor, grid)
        rows, columns = pooled_grid(grid, self.factor)
        return rows * columns


def _is_final(draw: RandomKey | None, batch: int) -> bool:
    """Whether the samples of a forward are at timestep 0; they cannot differ in their length.

    Timesteps on the meta device have no value: FLOPs are counted of any other step.
    """
    timesteps = draw.per_sample_timesteps(batch) if draw else None
    if timesteps is None:
        raise UserError("skip_final_step=True: depends on the timestep, but the call gives none")
    if timesteps.is_meta:
        return False
    final = timesteps == 0
    if final.any() and not final.all():
        raise UserError(
            "skip_final_step=True: a batch mixes timestep 0 with others; allowed: false, "
            "or one timestep per forward"
        )
    return bool(final.all())


@dataclass(frozen=True)
class ToDo(KeyValueDownsampler):
    """Nearest-neighbour downsampling of keys and values (alpha = 1)."""

    @property
    def schedule(self) -> AlphaSchedule:
        """Constant 1: nearest."""
        return ConstantAlpha(1.0)


@dataclass(frozen=True)
class AvgPool(KeyValueDownsampler):
    """Average pooling of keys and values (alpha = 0)."""

    @property
    def schedule(self) -> AlphaSchedule:
        """Constant 0: average."""
        return ConstantAlpha(0.0)


@dataclass(frozen=True)
class IEKVD(KeyValueDownsampler):
    """Interpolate-extrapolate key/value downsampling (BiGain's token downsampling, Eq. 8).

    Args:
        factor: integer >= 1, smaller than the sides of the token grid; 1 changes nothing.
        alpha: a number, or a schedule over the timestep; not clamped.
        align: `reference` or `window` (`bigain.operators.pooling`).
        skip_final_step: as in `KeyValueDownsampler`.

    Raises:
        UserError: factor, alpha, align or skip_final_step out of range.

    """

    alpha: float | AlphaSchedule = 0.9
    align: str = "reference"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.schedule
        if self.align not in ALIGNMENTS:
            raise UserError(f"align={self.align!r}: must be one of {', '.join(ALIGNMENTS)}")

    @property
    def schedule(self) -> AlphaSchedule:
        """`alpha` itself, or a constant schedule of it."""
        return self.alpha if isinstance(self.alpha, AlphaSchedule) else ConstantAlpha(self.alpha)

    @property
    def alignment(self) -> str:
        """`align`."""
        return self.align
