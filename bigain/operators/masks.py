"""Which residual branches run at which timestep: a re-creation of DiP-GO for the classifier.

DiP-GO (arXiv 2410.16942) lets a skipped block copy its own output of the previous sampling step.
Trials of a classifier have no order, so what is left is the identity path: a gate multiplies the
output of a residual branch by 0 or 1, by the sample's timestep.  The mask comes from a table of
sensitivities d, measured on calibration images at every timestep t for every branch b:

    d[t, b] = mean |Y_full - Y_without_b|^2 / mean |Y_full - Y_0|^2

with Y = eps(x_t, c), Y_0 = eps (`objective: output`), or Y = eps(x_t, c) - eps(x_t, c'), Y_0 = 0
(`contrast`).  Pairs (t, b) are dropped in the order of d[t, b] / share[t, b], from the smallest,
until the dropped share reaches the target; share[t, b] is the part of a classification's FLOPs:

    share[t, b] = e_t F_b / (F sum_t e_t)        e_t: evaluations of an image at t

How DiP-GO was run as a classifier is not published.  Decided here: what a skipped branch gives
(nothing), that no other branch goes with it (skip connections stay, so none feeds it alone), that a
table takes the place of the trained gates, and that the target is a share of a classification's
FLOPs, because timesteps of the first stage are evaluated more often.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.by_timestep import SPLITS, ByTimestep, Calibrated
from bigain.operators.validation import (
    check_choice,
    check_count,
    check_seed,
    check_share,
    check_switch,
)

__all__ = ["OBJECTIVES", "DiPGO", "MaskTable", "branch_shares", "check_target", "choose_mask"]

OBJECTIVES = ("output", "contrast")
"""What must not change: the predicted noise, or its difference between two classes."""

_ROUNDING = 1e-12


@dataclass(frozen=True)
class DiPGO(Calibrated):
    """Settings of the masks (`operator=dip_go`).

    Args:
        target: share of the FLOPs of a classification that goes, from 0 to below 1.
        objective: `output` or `contrast`.
        protect_cross_attention: whether every cross-attention always runs.
        images: number of calibration images, at least 1.
        seed: of the noise of these images, and of the other class of `contrast`.
        trial_list: the trials whose timesteps have masks.
        keep_list: classes kept after each stage, which gives the evaluations of each timestep.
        split: which images of the dataset these are, `evaluated` or `training` (`SPLITS`).

    Raises:
        UserError: a setting is not allowed.

    """

    target: float
    objective: str = "output"
    protect_cross_attention: bool = True
    images: int = 32
    seed: int = 0
    trial_list: tuple[int, ...] = (5, 20)
    keep_list: tuple[int, ...] = (5, 1)
    split: str = "evaluated"

    def __post_init__(self) -> None:
        check_share("target", self.target)
        check_choice("objective", self.objective, OBJECTIVES)
        check_switch("protect_cross_attention", self.protect_cross_attention)
        check_count("images", self.images)
        check_seed(self.seed)
        check_choice("split", self.split, SPLITS)


@dataclass(frozen=True, repr=False)
class MaskTable(ByTimestep):
    """Which branches run at each timestep of a grid.

    Args:
        branches: paths of the branches (`bigain.patching.branches`), distinct.
        masks: timestep -> for each branch whether it runs.
        counts: timestep -> evaluations of an image there.

    Raises:
        UserError: a mask has another length, or the two have other timesteps.

    """

    branches: tuple[str, ...]
    masks: Mapping[int, tuple[bool, ...]]
    counts: Mapping[int, int]

    def __post_init__(self) -> None:
        lengths = {len(mask) for mask in self.masks.values()}
        if lengths != {len(self.branches)} or self.masks.keys() != self.counts.keys():
            raise UserError(
                f"masks: have {sorted(lengths)} gates at {len(self.masks)} timesteps; allowed: "
                f"{len(self.branches)}, one for each branch, at the {len(self.counts)} of `counts`"
            )

    @property
    def evaluations(self) -> Mapping[int, int]:
        """`counts`."""
        return self.counts

    def pattern(self, timestep: float) -> tuple[bool, ...]:
        """The mask at `timestep`."""
        mask = self.masks.get(timestep)  # type: ignore[call-overload]
        if mask is None:
            listed = ", ".join(map(str, sorted(self.masks)))
            raise UserError(
                f"timestep={timestep:g}: there is no mask for it; allowed: {listed}, the timesteps "
                "of the calibration"
            )
        return tuple(mask)

    def __repr__(self) -> str:
        off = sum(not gate for mask in self.masks.values() for gate in mask)
        gates = len(self.masks) * len(self.branches)
        return f"MaskTable({off} of {gates} gates off, {len(self.masks)} timesteps)"


def branch_shares(flops: Sequence[int], total: int, evaluations: Sequence[int]) -> Tensor:
    """The share of each (timestep, branch) in the FLOPs of all evaluations; fp64, shape (T, b).

    Args:
        flops: of each branch in one evaluation.
        total: of one evaluation.
        evaluations: of an image at each timestep.

    """
    times = torch.tensor(evaluations, dtype=torch.float64)
    own = torch.tensor(flops, dtype=torch.float64) / total
    return times[:, None] / times.sum() * own


def check_target(shares: Tensor, target: float, free: Tensor) -> None:
    """Raise UserError if all free branches together have less than the target."""
    covered = float(shares[:, free].sum())
    if target > covered + _ROUNDING:
        raise UserError(
            f"operator.target={target:g}: allowed: a number from 0 to {covered:.4g}, the share of "
            "all branches that may be skipped"
        )


def choose_mask(sensitivity: Tensor, shares: Tensor, target: float, free: Tensor) -> Tensor:
    """Which gates stay on, bool, shape (T, b); ties go to the earlier timestep, then branch.

    Args:
        sensitivity: d of each (timestep, branch), shape (T, b), at least 0.
        shares: as of `branch_shares`.
        target: the share to drop, at least.
        free: which branches may be dropped, bool, shape (b,).

    Raises:
        UserError: all free branches together have less than the target.

    """
    check_target(shares, target, free)
    mask = torch.ones(shares.shape, dtype=torch.bool)
    candidates = free.expand(shares.shape).flatten().nonzero()[:, 0]
    cost = (sensitivity.double() / shares).flatten()[candidates]
    removed = 0.0
    for index in candidates[cost.argsort(stable=True)].tolist():
        if removed >= target - _ROUNDING:
            break
        mask.view(-1)[index] = False
        removed += float(shares.flatten()[index])
    return mask
