"""Schedules of alpha, the weight of nearest against average in IE-KVD, over the timestep.

    linear:  alpha(t) = start * t/999 + end * (1 - t/999),   t = 999 is pure noise

Each sample of a batch has its own timestep, hence its own alpha.  Nothing clamps alpha: above 1 it
extrapolates past nearest.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from bigain.errors import UserError
from bigain.operators.validation import check_finite

__all__ = ["AlphaSchedule", "ConstantAlpha", "LinearAlpha"]

_LAST_TIMESTEP = 999


class AlphaSchedule(ABC):
    """alpha as a function of the timestep."""

    @abstractmethod
    def at(self, timesteps: Tensor | None) -> float | Tensor:
        """Evaluate alpha at `timesteps` (B,) in 0..999: one number, or (B,) in fp32.

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
        """`value`, whatever the time."""
        del timesteps
        return float(self.value)


@dataclass(frozen=True)
class LinearAlpha(AlphaSchedule):
    """`start` at t = 999 (where generation starts), `end` at t = 0, linear in between."""

    start: float
    end: float

    def __post_init__(self) -> None:
        check_finite("alpha.start", self.start)
        check_finite("alpha.end", self.end)

    def at(self, timesteps: Tensor | None) -> Tensor:
        """Evaluate start * t/999 + end * (1 - t/999) for every sample, (B,)."""
        if timesteps is None:
            raise UserError(f"alpha={self!r}: depends on the timestep, but the call gives none")
        share = timesteps.float() / _LAST_TIMESTEP
        return self.start * share + self.end * (1 - share)
