"""Operators that remember what others planned, for pictures and for analysis.

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
"""Name of the site, metric tensor (B, N, C), what was planned on it."""


@dataclass(frozen=True)
class _Listening(Operator):
    operator: Operator
    calls: list[Call] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shared_in_stage", self.operator.shared_in_stage)

    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """What `operator` plans, remembered."""
        reduction = self.operator.plan(metric, grid, draw)
        self.calls.append((draw.site if draw else "", metric, reduction))
        return reduction

    def num_kept(self, grid: tuple[int, int]) -> int:
        """What `operator` keeps."""
        return self.operator.num_kept(grid)

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """What `operator` costs."""
        return self.operator.plan_flops(grid, channels)


@dataclass(frozen=True)
class Recording(_Listening, TokenReducer):
    """Behaves as `operator` and keeps every (site, metric, reduction), in the order of the calls.

    Args:
        operator: the token reducer to listen to.

    """


@dataclass(frozen=True)
class KeyValueRecording(_Listening, KeyValueReducer):
    """The same for a reducer of keys and values.

    Args:
        operator: the key/value reducer to listen to.

    """


@dataclass(frozen=True)
class Recorder(Compression):
    """Listens to the operators of all stages; behaves as `operator`, of whatever kind.

    Args:
        operator: an operator, or a combination of them.
        calls: where the plans of all stages are kept, in the order of the calls.

    """

    operator: Compression
    calls: list[Call] = field(default_factory=list, compare=False)

    def for_stage(self, stage: str) -> Operator | None:
        """The operator of `stage`, listened to."""
        acting = self.operator.for_stage(stage)
        if acting is None:
            return None
        kind = KeyValueRecording if isinstance(acting, KeyValueReducer) else Recording
        return kind(acting, self.calls)
