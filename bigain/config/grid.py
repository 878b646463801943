"""The timesteps that the stages of the diffusion classifier evaluate (Algorithm 1, Table 10)."""

from collections.abc import Sequence

__all__ = ["TRAIN_TIMESTEPS", "stage_timesteps"]

TRAIN_TIMESTEPS = 1000
"""T: timesteps are 0 .. T - 1."""


def stage_timesteps(trial_list: Sequence[int]) -> list[list[int]]:
    """The new timesteps of each stage, ascending; none is evaluated twice.

    The finest grid has m = max(trial_list) points t_j = floor(floor(T/m)/2) + j floor(T/m).  A
    stage of n trials takes every floor(m/n)-th point, n in all, beginning with index
    floor(m/n/2), without the points that earlier stages have taken.  So [5, 20] gives 125, 325,
    ..., 925, then the rest of 25, 75, ..., 975.  If the grid of a stage does not contain the
    earlier ones, classes have more than n trials at its end: 5, 25, 100 for [5, 20, 100].

    Args:
        trial_list: Trials at the end of each stage, increasing, from 1 to `TRAIN_TIMESTEPS`.

    """
    finest = trial_list[-1]
    step = TRAIN_TIMESTEPS // finest
    seen: set[int] = set()
    stages = []
    for trials in trial_list:
        stride = finest // trials
        first = finest // trials // 2
        grid = [step // 2 + (first + i * stride) * step for i in range(trials)]
        stages.append([t for t in grid if t not in seen])
        seen.update(grid)
    return stages
