"""An operator that remembers what another one planned, for pictures and for analysis."""

from dataclasses import dataclass, field

from torch import Tensor

from bigain.operators.base import TokenReducer
from bigain.operators.draw import Draw
from bigain.operators.reduction import Reduction

__all__ = ["Recording"]


@dataclass(frozen=True)
class Recording(TokenReducer):
    """Behaves as `operator` and keeps every (site, metric, reduction), in the order of the calls.

    Args:
        operator: the token reducer to listen to.

    """

    operator: TokenReducer
    calls: list[tuple[str, Tensor, Reduction]] = field(default_factory=list, compare=False)

    def plan(self, metric: Tensor, grid: tuple[int, int], draw: Draw | None = None) -> Reduction:
        """What `operator` plans, remembered."""
        reduction = self.operator.plan(metric, grid, draw)
        self.calls.append((draw.site if draw else "", metric, reduction))
        return reduction

    def kept(self, grid: tuple[int, int]) -> int:
        """What `operator` keeps."""
        return self.operator.kept(grid)
