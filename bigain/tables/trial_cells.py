"""Statistics of single trials in the cells of a table: `bigain.metrics.trials` of its runs.

They need the errors of all classes in the first stage (`bigain.runs.errors`), and all but two of
them the scale of the baseline.  Runs from before such errors were kept have none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from bigain.metrics import (
    Metric,
    paired_accuracy,
    paired_difference,
    relative_rise,
)
from bigain.metrics.trials import Scale, Trials
from bigain.runs.trials import ERROR_RISES
from bigain.tables.differences import Difference, points, scaled

__all__ = ["TO_NONE_OF", "TrialValues", "trial_differences", "trial_metrics", "trial_values"]

TO_NONE_OF = {name: f"{name}_to_none" for name in ("best_margin", "pairwise_auc", "acc1_first")}
"""Metric id -> that of its paired difference to the baseline."""


@dataclass(frozen=True)
class TrialValues:
    """One number per image, by image id.

    Attributes:
        decisions: `pairwise_auc` (share of the pairs of trial and wrong class that the true class
            wins) and with a scale `best_margin` (in sigma_t).
        is_right: Whether the first stage alone is right.
        errors: Noise error with equal weights per timestep: the id of its rise -> error.

    """

    decisions: Mapping[str, "pd.Series[float]"]
    is_right: "pd.Series[bool]"
    errors: Mapping[str, "pd.Series[float]"]


def trial_values(trials: Trials, scale: Scale | None) -> TrialValues:
    """The numbers of a run; `scale` is that of its baseline, None if that has no such errors."""
    decisions = {"pairwise_auc": trials.pairwise_auc()}
    if scale is None:
        return TrialValues(decisions, trials.is_right(), {})
    errors = {
        name: trials.noise_errors(scale, third)
        for name, third in ERROR_RISES.items()
        if third is None or third in trials.thirds
    }
    margins = {"best_margin": trials.mean_margins(scale)}
    return TrialValues(margins | decisions, trials.is_right(), errors)


def trial_metrics(own: TrialValues, none: TrialValues | None) -> dict[str, Metric]:
    """The metrics of a run by id; with `none` also the paired comparisons with the baseline."""
    right = own.is_right
    found = {name: _mean(name, values) for name, values in own.decisions.items()}
    found["acc1_first"] = Metric.of_share("acc1_first", int(right.sum()), len(right))
    if none is not None:
        found |= {
            TO_NONE_OF[name]: _decision(TO_NONE_OF[name], name, own, none).metric
            for name in _shared(own, none)
        }
        found |= {
            name: scaled(name, relative_rise(errors, none.errors[name]), 100.0, "percent")
            for name, errors in own.errors.items()
            if name in none.errors
        }
    return found


def trial_differences(
    row: TrialValues, versus: TrialValues, none: TrialValues | None
) -> dict[str, Difference]:
    """`row` minus `versus` by metric id; with the baseline `none` also of the rises, in points."""
    found = {name: _decision(name, name, row, versus) for name in _shared(row, versus)}
    for name, base in none.errors.items() if none else ():
        if name in row.errors and name in versus.errors:
            shifted = (base + row.errors[name] - versus.errors[name]).dropna()
            found[name] = points(name, relative_rise(shifted, base))
    return found


def _shared(a: TrialValues, b: TrialValues) -> list[str]:
    return [*(name for name in a.decisions if name in b.decisions), "acc1_first"]


def _decision(called: str, name: str, a: TrialValues, b: TrialValues) -> Difference:
    if name == "acc1_first":
        return points(called, paired_accuracy(a.is_right, b.is_right))
    result = paired_difference(a.decisions[name], b.decisions[name])
    if name == "best_margin":
        return Difference(scaled(called, result, 1.0, "sigma_t"), result.p)
    return points(called, result)


def _mean(name: str, values: "pd.Series[float]") -> Metric:
    if name == "best_margin":
        return Metric.of_mean(name, values, "sigma_t")
    return Metric.of_mean(name, 100 * values, "percent")
