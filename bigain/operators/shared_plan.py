"""One plan for several rows of a forward: all classes of an image, or both halves of guidance.

A group is the rows that denoise the same noisy latents at the same timestep.  With x_i the metric
tensor of row i, the plan of a group g is made from

    m_g = 1/|g| sum_{i in g} x_i,

the mean over its rows, so no class is privileged, and it is applied to every row of the group.  The
mean is computed as x_1 + mean(x_i - x_1), which is exact for equal rows, in fp32 or better, and of
each group by itself, so it does not depend on the rest of the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.base import (
    Compression,
    KeyValueReducer,
    Operator,
    Reduction,
    TokenReducer,
)
from bigain.operators.cells import constant
from bigain.operators.matching import at_least_float32
from bigain.operators.random_key import Groups, RandomKey

__all__ = ["PLANS", "SharedPlan", "equal_rows"]

PLANS = ("each_class", "shared")
"""Whether each row of a forward has a plan of its own, or each group one for all its rows."""

_STAGES = ("encoder", "mid", "decoder", "transformer")


@dataclass(frozen=True)
class _Shared(Operator):
    operator: Operator
    plans_for_groups: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "shared_in_stage", self.operator.shared_in_stage)

    @property
    def planner(self) -> Operator:
        """The operator that makes the plans."""
        return self.operator

    @torch.no_grad()
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """One plan for each of `draw.groups`; without groups, each row is one."""
        groups = draw.groups if draw else None
        if draw is None or groups is None:
            return self.operator.plan(metric, grid, draw)
        means = torch.stack([_mean([metric[row] for row in rows]) for rows in groups])
        planned = self.operator.plan(means, grid, _of_first_rows(draw, groups))
        return planned.for_rows(_group_of_row(groups, metric.device))

    def num_kept(self, grid: tuple[int, int]) -> int:
        """The number of tokens that `operator` keeps."""
        return self.operator.num_kept(grid)

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """The FLOPs of `operator`'s plan, which the rows of a group need once."""
        return self.operator.plan_flops(grid, channels)

    def apply_flops(self, grid: tuple[int, int], channels: int) -> int:
        """The FLOPs of applying a plan of `operator`, which every row needs."""
        return self.operator.apply_flops(grid, channels)


@dataclass(frozen=True)
class _SharedTokens(_Shared, TokenReducer):
    pass


@dataclass(frozen=True)
class _SharedKeys(_Shared, KeyValueReducer):
    pass


@dataclass(frozen=True)
class SharedPlan(Compression):
    """Acts like `operator`, with one plan for each group of rows.

    In `bigain.apply`, rows with the same model input and timestep are a group; the classifier and
    the sampler say which these are.  Parts of `ByStage` whose plan does not depend on the tokens
    stay as they are.

    Args:
        operator: an operator or `ByStage`.

    Raises:
        UserError: no plan of `operator` depends on the tokens, or it draws once per forward.

    """

    operator: Compression

    def __post_init__(self) -> None:
        parts = list(self._parts())
        if not any(part.reads_metric for part in parts):
            raise UserError(
                f"plan=shared: allowed: each_class, because {self.operator!r} has one plan for all "
                "rows anyway"
            )
        if any(getattr(part, "draws", None) == "per_forward" for part in parts):
            raise UserError(
                "plan=shared: allowed: each_class, because with draws=per_forward a batch may have "
                "some classes of an image only"
            )

    def _parts(self) -> Iterator[Operator]:
        found = (self.operator.for_stage(stage) for stage in _STAGES)
        return (part for part in found if part is not None)

    def for_stage(self, stage: str) -> Operator | None:
        """The operator of `stage`, with one plan for each group."""
        acting = self.operator.for_stage(stage)
        if acting is None or not acting.reads_metric:
            return acting
        kind = _SharedKeys if isinstance(acting, KeyValueReducer) else _SharedTokens
        return kind(acting)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def equal_rows(sample: Tensor, timesteps: Tensor) -> Groups:
    """The groups of a forward: rows with the same bits in `sample` and the same timestep.

    Groups are in the order of their first rows.  The values are copied to the CPU.  On the meta
    device, which has none, each row is a group.

    Args:
        sample: the model's input, (B, ...).
        timesteps: (B,), (1,) or 0-d.

    """
    if len(sample) == 1 or sample.is_meta:
        return tuple((row,) for row in range(len(sample)))
    bits = sample.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
    times = timesteps.detach().reshape(-1).expand(len(sample)).tolist()
    found: dict[tuple[bytes, float], list[int]] = {}
    for row, key in enumerate(zip(map(bytes, bits), times, strict=True)):
        found.setdefault(key, []).append(row)
    return tuple(map(tuple, found.values()))


def _mean(rows: list[Tensor]) -> Tensor:
    """(N, C): the mean of tensors (N, C); exact if they are equal."""
    first = at_least_float32(rows[0])
    return first + torch.stack([row - first for row in rows]).mean(dim=0)


def _of_first_rows(draw: RandomKey, groups: Groups) -> RandomKey:
    """The key of the groups: timestep and sample are those of each group's first row."""

    def taken(batch: Tensor) -> Tensor:
        if batch.ndim == 0 or len(batch) == 1:
            return batch
        return batch[_first_rows(groups, batch.device)]

    whole, known = (draw.timesteps, draw.on_cpu, draw.sample), draw.known
    timesteps, on_cpu, sample = (each if each is None else taken(each) for each in whole)
    own = replace(draw, timesteps=timesteps, on_cpu=on_cpu, sample=sample, groups=None)
    return own if known is None else replace(own, known=lambda: taken(known()))


@constant
def _first_rows(groups: Groups, device: torch.device) -> Tensor:
    return torch.tensor([rows[0] for rows in groups], device=device)


@constant
def _group_of_row(groups: Groups, device: torch.device) -> Tensor:
    number = {row: group for group, rows in enumerate(groups) for row in rows}
    return torch.tensor([number[row] for row in range(len(number))], device=device)
