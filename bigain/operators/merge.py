"""Token merging: ToMe, L-GTM and cached assignment, which differ only in their destinations.

Each cell of sy x sx tokens has one destination; r = int(N * ratio), at most the number of sources,
are merged (`bigain.operators.matching`), and N' = N - r tokens remain.  With the assignment
o: {0..N-1} -> {0..N'-1},

    reduce:   y_j = mean of x_i over o(i) = j = (dst + sum src) / (1 + count)
    restore:  z_i = y_{o(i)}

so unmerged tokens pass through both exactly.

* ToMe: a uniformly random token of every cell.  The draw is a pure function of (seed, site,
  timestep of the sample), so all classes of an image have the same destinations
  (`bigain.operators.random_key`).  With `draws="per_sample"` each image and noise has its own.
  With `draws="per_forward"`, as in the paper's released code, all samples of a forward share one
  draw, and a batch of odd size takes the top-left tokens.
* L-GTM, Laplacian-gated token merging (BiGain): per sample, the token of the cell with the lowest
  score F, by default the l1 norm of the Laplacian (Eq. 7).  Deterministic.  High-frequency
  tokens are only kept from being destinations, unless a share of them is protected from merging.
  The released code takes another token of the cell (`bigain.operators.cells.DESTINATIONS`).
  With `destinations="representative"` it is ReToM's: the token of largest mean similarity to its
  cell (arXiv 2507.12771), and no score is computed unless tokens are protected.
* Cached assignment (BiGain): L-GTM with one assignment per stage and forward, made at the stage's
  first site and used at its other sites with the same grid (SD-2.0: 2 assignments for 2 encoder and
  3 decoder sites).  Each site merges its own tensor; nothing is kept after the forward.

With `average="mlerp"` a group keeps the norm of its largest token (`NormedMergeReduction`).
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.base import UNCHANGED, Reduction, TokenReducer
from bigain.operators.cells import (
    DESTINATIONS,
    cell_count,
    random_position,
    removed_tokens,
    representative,
    representative_flops,
    top_left,
)
from bigain.operators.matching import assign_tokens, matching_flops
from bigain.operators.merge_reduction import AVERAGES
from bigain.operators.random_key import RandomKey
from bigain.operators.scores import score_flops, token_score
from bigain.operators.validation import (
    check_cell,
    check_choice,
    check_draws,
    check_protected,
    check_ratio,
    check_switch,
    check_tokens,
)

__all__ = ["LGTM", "BipartiteMerge", "CachedAssignment", "Choice", "ToMe"]

_REPRESENTATIVE = "representative"


class Choice(NamedTuple):
    """What a merge chooses before tokens are matched.

    Attributes:
        dst: (B, D) token numbers of the destinations, one of each cell.
        protected: (B, P) token numbers that are never merged; None: all sources may be.

    """

    dst: Tensor
    protected: Tensor | None = None


@dataclass(frozen=True)
class BipartiteMerge(TokenReducer):
    """Merge a share `ratio` of all tokens into one destination per cell.

    Args:
        ratio: share of tokens to remove, in [0, 1 - 1/A], A = area of the cell.
        cell: (rows, columns) of a cell.
        average: what a group becomes: its `mean`, or `mlerp` (`AVERAGES`).

    Raises:
        UserError: ratio, cell or average out of range.

    """

    ratio: float
    cell: tuple[int, int] = (2, 2)
    average: str = field(default="mean", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", check_cell(self.cell))
        check_ratio(self.ratio, self.cell)
        check_choice("average", self.average, AVERAGES)

    @abstractmethod
    def choose(self, metric: Tensor, grid: tuple[int, int], draw: RandomKey) -> Choice:
        """The destinations, and the protected tokens, for `metric` (B, N, C)."""

    @torch.no_grad()
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """Choose destinations, match sources to them, merge the best r = int(N * ratio)."""
        check_tokens(metric.shape[1], grid)
        removed = removed_tokens(grid, self.cell, self.ratio)
        if removed == 0:
            return UNCHANGED
        choice = self.choose(metric, grid, draw or RandomKey())
        assignment = assign_tokens(metric, choice.dst, removed, choice.protected)
        return AVERAGES[self.average](assignment, metric.shape[1] - removed, choice.dst)

    def num_kept(self, grid: tuple[int, int]) -> int:
        """N - r."""
        return grid[0] * grid[1] - removed_tokens(grid, self.cell, self.ratio)

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs of the similarities and of the choice of destinations (`choice_flops`)."""
        if not removed_tokens(grid, self.cell, self.ratio):
            return 0
        tokens = grid[0] * grid[1]
        similarities = matching_flops(tokens, cell_count(grid, self.cell), channels)
        return similarities + self.choice_flops(grid, channels)

    def choice_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs of `choose` per sample."""
        del grid, channels
        return 0


@dataclass(frozen=True)
class ToMe(BipartiteMerge):
    """Token merging with random destinations.

    Args:
        ratio: share of tokens to remove, in [0, 1 - 1/A], A = area of the cell.
        cell: (rows, columns) of a cell.
        random: False takes the top-left token of every cell instead.
        draws: `paired`, or with a random choice also `per_sample` or `per_forward`.
        average: as in `BipartiteMerge`.

    Raises:
        UserError: a setting out of range.

    """

    random: bool = True
    draws: str = field(default="paired", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_switch("random", self.random)
        check_draws(self.draws, "random=true" if not self.random else None)

    def choose(self, metric: Tensor, grid: tuple[int, int], draw: RandomKey) -> Choice:
        """Destinations drawn as `draws` says, or the top-left tokens."""
        if not self.random or (self.draws == "per_forward" and len(metric) % 2):
            return Choice(top_left(metric, grid, self.cell))
        return Choice(random_position(metric, grid, self.cell, draw.drawing(self.draws, metric)))


@dataclass(frozen=True)
class LGTM(BipartiteMerge):
    """Token merging whose destinations are the smoothest tokens.

    Args:
        ratio: share of tokens to remove, in [0, 1 - 1/A], A = area of the cell.
        cell: (rows, columns) of a cell.
        score: name of the token score (`bigain.operators.SCORES`).
        destinations: `eq7`, or `as_released` (`bigain.operators.cells.DESTINATIONS`), or
            `representative`, which takes no score.
        protect_ratio: share of all tokens, those of highest score, that are never merged, in
            [0, 1 - 1/A - ratio].
        padding: beyond the border of a Laplacian score (`bigain.operators.scores.PADDINGS`).
        average: as in `BipartiteMerge`.

    Raises:
        UserError: a setting out of range, unknown score, or one that would decide nothing.

    """

    score: str = "laplacian_l1"
    destinations: str = field(default="eq7", kw_only=True)
    protect_ratio: float = field(default=0.0, kw_only=True)
    padding: str = field(default="zero", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        token_score(self.score, self.padding)
        check_choice("destinations", self.destinations, (*DESTINATIONS, _REPRESENTATIVE))
        check_protected(self.protect_ratio, self.ratio, self.cell)
        if not self._takes_score:
            _check_unused("score", self.score, "laplacian_l1")
            _check_unused("padding", self.padding, "zero")

    def choose(self, metric: Tensor, grid: tuple[int, int], draw: RandomKey) -> Choice:
        """Destinations by lowest score and, of equal scores, the first; protected by highest."""
        del draw
        own = None
        if self.destinations == _REPRESENTATIVE:
            own = representative(metric, grid, self.cell)
            if not self._takes_score:
                return Choice(own)
        scores = token_score(self.score, self.padding)(metric, grid)
        dst = DESTINATIONS[self.destinations](scores, grid, self.cell) if own is None else own
        protected = int(metric.shape[1] * self.protect_ratio)
        if not protected:
            return Choice(dst)
        order = scores.argsort(dim=-1, descending=True, stable=True)
        return Choice(dst, order[:, :protected])

    def choice_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs of the score, and of the similarities inside of the cells."""
        flops = score_flops(self.score, grid[0] * grid[1], channels) if self._takes_score else 0
        if self.destinations == _REPRESENTATIVE:
            flops += representative_flops(grid, self.cell, channels)
        return flops

    @property
    def _takes_score(self) -> bool:
        """Whether anything depends on the score."""
        return self.destinations != _REPRESENTATIVE or self.protect_ratio > 0


@dataclass(frozen=True)
class CachedAssignment(LGTM):
    """L-GTM with one map per stage; settings as L-GTM's.

    Raises:
        UserError: a setting out of range, or unknown score.

    """

    shared_in_stage: ClassVar[bool] = True


def _check_unused(key: str, value: str, default: str) -> None:
    if value != default:
        raise UserError(
            f"{key}={value}: allowed: {default}, because destinations=representative takes no "
            "score; with protect_ratio others too"
        )
