"""Operators that record the plans of other operators, for pictures and analysis.

calls: list[Call] = []
with bigain.apply(model, Recorder(operator, calls)):
    ...                                  # a forward
site, metric, reduction = calls[0]
"""

from dataclasses import dataclass, field

from torch import Tensor

from bigain.operators.base import Compression, KeyValueReducer, Operator, Reduction, TokenReducer
from bigain.operators.random_key import RandomKey

__all__ = ["Call", "KeyValueRecording", "Recorder", "Recording"]

Call = tuple[str, Tensor, Reduction]
"""Name of the site, metric tensor (B, N, C), and the reduction planned on it."""


@dataclass(frozen=True)
class _Recorded(Operator):
    operator: Operator
    calls: list[Call] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        for name in ("shared_in_stage", "reads_metric", "plans_for_groups"):
            object.__setattr__(self, name, getattr(self.operator, name))

    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """The plan of `operator`, recorded in `calls`."""
        reduction = self.operator.plan(metric, grid, draw)
        self.calls.append((draw.site if draw else "", metric, reduction))
        return reduction

    def num_kept(self, grid: tuple[int, int]) -> int:
        """The number of tokens that `operator` keeps."""
        return self.operator.num_kept(grid)

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """The FLOPs of `operator`'s plan."""
        return self.operator.plan_flops(grid, channels)

    def apply_flops(self, grid: tuple[int, int], channels: int) -> int:
        """The FLOPs of applying a plan of `operator`."""
        return self.operator.apply_flops(grid, channels)


@dataclass(frozen=True)
class Recording(_Recorded, TokenReducer):
    """Acts like `operator` and records every (site, metric, reduction), in the order of calls.

    Args:
        operator: the token reducer to record.
        calls: the list to append to.

    """


@dataclass(frozen=True)
class KeyValueRecording(_Recorded, KeyValueReducer):
    """The same for a key/value reducer.

    Args:
        operator: the key/value reducer to record.
        calls: the list to append to.

    """


@dataclass(frozen=True)
class Recorder(Compression):
    """Acts like `operator`, of any kind, and records the plans of all its stages.

    Args:
        operator: an operator or `ByStage`.
        calls: the list to append to, in the order of calls.

    """

    operator: Compression
    calls: list[Call] = field(default_factory=list, compare=False)

    def for_stage(self, stage: str) -> Operator | None:
        """The operator of `stage`, recorded."""
        acting = self.operator.for_stage(stage)
        if acting is None:
            return None
        kind = KeyValueRecording if isinstance(acting, KeyValueReducer) else Recording
        return kind(acting, self.calls)
