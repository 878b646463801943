"""Other weights in each third of the timesteps: a re-creation of MosaicDiff for the classifier.

MosaicDiff (arXiv 2510.11962) cuts the timesteps into three stages and prunes heads and hidden units
of each stage's own copy of the network.  Every trial of a classifier has a timestep, so it takes
the weights of its stage.  The expected distance of x_t to x_0, over d elements of energy
e = |x_0|^2 / d, grows from t - 1 to t by

    g(t) = (delta + 2 (sqrt(abar_{t-1}) - sqrt(abar_t))) e - delta,    delta = abar_t - abar_{t-1}

The score m_i of stage i is the mean of g over its timesteps, divided by the largest g.  With w_i,
the share of evaluations in stage i, and a mean sparsity s, the stages have

    s_i = min(0.8, s (1 - m_i) / sum_j w_j (1 - m_j))

so that fast stages lose least (`allocation: uniform`: s_i = s).

The published score has a second term, lambda ln SNR(t), and a threshold that cuts the stages; the
values of both are not published.  Decided here: lambda = 0, the stages as printed, the bound of
0.8, and w_i from the evaluations of a staged classification.
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

__all__ = ["ALLOCATIONS", "STAGES", "Kept", "MosaicDiff", "StageWeights", "allocate", "stage_of"]
__all__ += ["stage_scores"]

ALLOCATIONS = ("score", "uniform")
STAGES = ((0, 200), (200, 600), (600, 1000))
"""First timestep and the one after the last of each stage, as printed for MosaicDiff."""

_MOST = 0.8


@dataclass(frozen=True)
class MosaicDiff(Calibrated):
    """Settings of the weights by stage (`operator=mosaic_diff`).

    Args:
        target: share of the FLOPs of a classification that goes, from 0 to below 1.
        allocation: `score` or `uniform`.
        cross_attention: whether heads of cross-attentions may go, too.
        images: number of calibration images, at least 1.
        seed: of their noise and timesteps.
        trial_list: the trials of a classification.
        keep_list: classes kept after each stage of the protocol.
        split: which images of the dataset these are, `evaluated` or `training` (`SPLITS`).

    Raises:
        UserError: a setting is not allowed.

    """

    target: float
    allocation: str = "score"
    cross_attention: bool = True
    images: int = 100
    seed: int = 0
    trial_list: tuple[int, ...] = (5, 20)
    keep_list: tuple[int, ...] = (5, 1)
    split: str = "evaluated"

    def __post_init__(self) -> None:
        check_share("target", self.target)
        check_choice("allocation", self.allocation, ALLOCATIONS)
        check_switch("cross_attention", self.cross_attention)
        check_count("images", self.images)
        check_seed(self.seed)
        check_choice("split", self.split, SPLITS)


@dataclass(frozen=True, eq=False)
class Kept:
    """What stays of a module in one stage.

    Attributes:
        numbers: heads or hidden units that stay, increasing.
        weight: of its last linear layer, compensated, columns of those alone.

    """

    numbers: tuple[int, ...]
    weight: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class StageWeights(ByTimestep):
    """What stays of each module in each stage.

    Args:
        modules: path of a module (`attn1`, `attn2`, `ff`) -> for each of `STAGES` what stays, None
            where it stays as it is.
        counts: timestep -> evaluations of an image there.

    Raises:
        UserError: a module has another number of stages.

    """

    modules: Mapping[str, tuple[Kept | None, ...]]
    counts: Mapping[int, int]

    def __post_init__(self) -> None:
        wrong = [path for path, stages in self.modules.items() if len(stages) != len(STAGES)]
        if wrong:
            raise UserError(f"modules: {wrong[0]} has no weights for each of {len(STAGES)} stages")

    @property
    def evaluations(self) -> Mapping[int, int]:
        """`counts`."""
        return self.counts

    def pattern(self, timestep: float) -> int:
        """The stage of `timestep`."""
        return stage_of(timestep)

    def __repr__(self) -> str:
        return f"StageWeights({len(self.modules)} modules, {len(STAGES)} stages)"


def stage_of(timestep: float) -> int:
    """The number of the stage that `timestep` is in.

    Raises:
        UserError: it is in none.

    """
    for number, (first, end) in enumerate(STAGES):
        if first <= timestep < end:
            return number
    raise UserError(f"timestep={timestep:g}: allowed: from 0 to below {STAGES[-1][1]}")


def stage_scores(alphas_cumprod: Tensor, energy: float) -> list[float]:
    """m_i of each stage; t = 0 has no step before it and no g.

    Args:
        alphas_cumprod: abar_t, fp64, shape (1000,).
        energy: mean square of the clean latents.

    """
    abar = alphas_cumprod.double()
    delta = abar[1:] - abar[:-1]
    g = (delta + 2 * (abar[:-1].sqrt() - abar[1:].sqrt())) * energy - delta
    means = [g[max(first, 1) - 1 : end - 1].mean() for first, end in STAGES]
    return [float(mean / g.max()) for mean in means]


def allocate(
    sparsity: float, scores: Sequence[float], weights: Sequence[float], allocation: str
) -> list[float]:
    """s_i of each stage.

    Args:
        sparsity: the mean over evaluations, at least 0.
        scores: m_i.
        weights: w_i, which sum to 1.
        allocation: `score` or `uniform`.

    """
    if allocation == "uniform":
        return [min(_MOST, sparsity)] * len(weights)
    free = torch.tensor([1 - score for score in scores], dtype=torch.float64)
    mean = float((free * torch.tensor(weights, dtype=torch.float64)).sum())
    return [min(_MOST, sparsity * float(own) / mean) for own in free]
