"""Key/value downsampling: queries at full length, keys and values from a smaller map.

    D_{alpha,s}(Z) = alpha * nearest_s(Z) + (1 - alpha) * average_s(Z)              (Eq. 8)

of the hidden states Z that enter the attention, before the (linear) projections, since
D(Z) W = D(Z W) and pooling first is cheaper.  alpha = 1 is ToDo, alpha = 0 average pooling, any
other value IE-KVD, BiGain's token downsampling.  The output has all N tokens.

The map shrinks by an integer factor s to h' = floor(h/s), w' = floor(w/s).  Along each axis:
* average: means over windows of q tokens with stride q = floor(h / h'), without what trails.  q is
  s, or more where s is large for the grid (h = 32, s = 7: h' = 4, q = 8);
* nearest: output i takes source floor((i + 1/2) * h / h') ("nearest-exact"; for s = 2 the
  bottom-right token of a cell).  This spans the whole grid, but the average covers only its first
  h' * q rows, so the two drift apart if s does not divide h.
This is what the paper's released code does (`align="reference"`).  With `align="window"` the
windows have s tokens, and nearest stays inside them: floor((i + 1/2) * s).

alpha may depend on the timestep, linearly: alpha(t) = start * t/999 + end * (1 - t/999), where
t = 999 is pure noise, for each sample of a batch.  It is not clamped: above 1 it extrapolates.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.base import UNCHANGED, KeyValueReducer, Reduction
from bigain.operators.cells import constant
from bigain.operators.matching import at_least_float32
from bigain.operators.random_key import RandomKey
from bigain.operators.validation import (
    check_choice,
    check_factor,
    check_factor_fits,
    check_finite,
    check_switch,
    check_tokens,
)

__all__ = [
    "ALIGNMENTS",
    "IEKVD",
    "AlphaSchedule",
    "AvgPool",
    "ConstantAlpha",
    "KeyValueDownsampler",
    "LinearAlpha",
    "ToDo",
    "average_pool",
    "nearest_pool",
    "nearest_tokens",
    "pooled_grid",
    "pooling_window",
]


ALIGNMENTS = ("reference", "window")


def pooled_grid(grid: tuple[int, int], factor: int) -> tuple[int, int]:
    """(floor(h/s), floor(w/s))."""
    return grid[0] // factor, grid[1] // factor


def pooling_window(grid: tuple[int, int], factor: int, align: str = "reference") -> tuple[int, int]:
    """Sides of the averaged windows, which are also their strides: (q, q'), or (s, s)."""
    if align == "window":
        return factor, factor
    rows, columns = pooled_grid(grid, factor)
    return grid[0] // rows, grid[1] // columns


def average_pool(x: Tensor, grid: tuple[int, int], factor: int, align: str = "reference") -> Tensor:
    """(B, h*w, C) -> (B, h'*w', C): means of the `pooling_window`s, in at least fp32."""
    image = at_least_float32(x).reshape(x.shape[0], *grid, x.shape[-1]).permute(0, 3, 1, 2)
    pooled = F.avg_pool2d(image, pooling_window(grid, factor, align))
    return pooled.permute(0, 2, 3, 1).flatten(1, 2).to(x.dtype)


def nearest_pool(x: Tensor, grid: tuple[int, int], factor: int, align: str = "reference") -> Tensor:
    """(B, h*w, C) -> (B, h'*w', C): one token of each window, copied exactly."""
    return x.index_select(1, nearest_tokens(grid, factor, align, x.device))


@constant
def nearest_tokens(grid: tuple[int, int], factor: int, align: str, device: torch.device) -> Tensor:
    """(h' * w',) numbers of the tokens that `nearest_pool` keeps, row by row."""
    rows, columns = (_nearest_axis(side, factor, align) for side in grid)
    index = torch.tensor(rows, device=device)[:, None] * grid[1]
    return (index + torch.tensor(columns, device=device)).flatten()


def _nearest_axis(side: int, factor: int, align: str) -> list[int]:
    count = side // factor
    span = side if align == "reference" else count * factor
    return [(2 * i + 1) * span // (2 * count) for i in range(count)]


_LAST_TIMESTEP = 999


class AlphaSchedule(ABC):
    """alpha as a function of the timestep."""

    @abstractmethod
    def at(self, timesteps: Tensor | None) -> float | Tensor:
        """Alpha at `timesteps` (B,) in [0, 999]: one number, or (B,) in fp32.

        Raises:
            UserError: the schedule depends on time and `timesteps` is None.

        """


@dataclass(frozen=True)
class ConstantAlpha(AlphaSchedule):
    """The same alpha at every timestep."""

    value: float

    def __post_init__(self) -> None:
        check_finite("alpha", self.value)

    def at(self, timesteps: Tensor | None) -> float:
        """`value` at any timestep."""
        del timesteps
        return float(self.value)


@dataclass(frozen=True)
class LinearAlpha(AlphaSchedule):
    """`start` at t = 999 (where generation starts), `end` at t = 0, linear in between."""

    start: float
    end: float

    def __post_init__(self) -> None:
        for key in ("start", "end"):
            check_finite(f"alpha.{key}", getattr(self, key))

    def at(self, timesteps: Tensor | None) -> Tensor:
        """(B,): start * t/999 + end * (1 - t/999) for every sample."""
        if timesteps is None:
            raise UserError(f"alpha={self!r}: depends on the timestep, but the call gives none")
        share = timesteps.float() / _LAST_TIMESTEP
        return self.start * share + self.end * (1 - share)


def _as_schedule(alpha: float | AlphaSchedule | Mapping[str, float]) -> AlphaSchedule:
    if isinstance(alpha, AlphaSchedule):
        return alpha
    if not isinstance(alpha, Mapping):
        return ConstantAlpha(alpha)
    if set(alpha) != {"start", "end"}:
        raise UserError(f"alpha={dict(alpha)}: allowed: a number, or {{start: a, end: b}}")
    return LinearAlpha(alpha["start"], alpha["end"])


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
            return average_pool(x, self.grid, self.factor, self.align)
        wide = at_least_float32(x)
        nearest = nearest_pool(wide, self.grid, self.factor, self.align)
        average = average_pool(wide, self.grid, self.factor, self.align)
        alpha = self.alpha
        if isinstance(alpha, Tensor):
            alpha = alpha.to(wide)[:, None, None]
        return (alpha * nearest + (1 - alpha) * average).to(x.dtype)

    def restore(self, y: Tensor) -> Tensor:
        """`y` itself: the attention's output already has all N tokens."""
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

    reads_metric: ClassVar[bool] = False

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
        """How the windows and nearest lie if the factor does not divide the grid."""
        return "reference"

    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """D_{alpha,s}, with alpha at each sample's timestep; only B and N of `metric` are used."""
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
    """Whether all samples are at timestep 0; a mixture is an error, as lengths would differ.

    On the meta device timesteps have no values: FLOPs are counted for another step.
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
        alpha: a number, a schedule, or {"start": a, "end": b} of `LinearAlpha`; not clamped.
        align: `reference` or `window` (`bigain.operators.downsampling`).
        skip_final_step: as in `KeyValueDownsampler`.

    Raises:
        UserError: factor, alpha, align or skip_final_step out of range.

    """

    alpha: float | AlphaSchedule | Mapping[str, float] = 0.9
    align: str = "reference"

    def __post_init__(self) -> None:
        super().__post_init__()
        schedule = self.schedule
        if isinstance(self.alpha, Mapping):
            object.__setattr__(self, "alpha", schedule)
        check_choice("align", self.align, ALIGNMENTS)

    @property
    def schedule(self) -> AlphaSchedule:
        """`alpha`."""
        return _as_schedule(self.alpha)

    @property
    def alignment(self) -> str:
        """`align`."""
        return self.align
