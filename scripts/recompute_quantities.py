"""What each quantity of the tables is, from raw records, for `scripts/recompute.py`."""

from collections.abc import Callable
from functools import cache

import pandas as pd
from recompute_records import Run
from recompute_statistics import (
    Found,
    bootstrap,
    exact,
    frechet,
    inside,
    kernel_distance,
    mcnemar,
    mean_of,
    paired,
    rise,
    share,
)

__all__ = ["OF_FEATURES", "PAIRED", "RUNS", "Pair", "difference"]

THIRDS = {"equal": None, "low": "low", "mid": "mid", "high": "high"}
OF_FEATURES = ("kid", "kid_error", "precision", "recall")
"""The quantities that need published features."""


class Pair:
    """A run, and its baseline or the run that it is compared with.

    Args:
        own: The run.
        none: Its baseline; itself if it is one.
        versus: The run that is subtracted.

    """

    def __init__(self, own: Run, none: Run, versus: Run | None = None) -> None:
        self.own, self.none, self.versus = own, none, versus

    @property
    def other(self) -> "Pair":
        """The run that is subtracted, with the same baseline as the first."""
        assert self.versus is not None
        return Pair(self.versus, self.none)


def to_none(measure: Callable[[Pair], "pd.Series[float]"]) -> Callable[[Pair], Found]:
    """The paired difference of a quantity of images to the baseline."""
    return lambda p: untested(paired(measure(p), measure(Pair(p.none, p.none))))


def untested(found: Found) -> Found:
    """Without the p value, which only differences of rows have."""
    return Found(found.value, found.low, found.high, n=found.n)


def margin(p: Pair) -> "pd.Series[float]":
    return p.own.trials.margin(p.none.trials)


def area(p: Pair) -> "pd.Series[float]":
    return 100 * p.own.trials.auc()


def noise(third: str | None) -> Callable[[Pair], "pd.Series[float]"]:
    return lambda p: p.own.trials.noise(p.none.trials, third)


def raw(p: Pair) -> "pd.Series[float]":
    return p.own.true_errors


def rise_of(measure: Callable[[Pair], "pd.Series[float]"]) -> Callable[[Pair], Found]:
    return lambda p: untested(rise(measure(p), measure(Pair(p.none, p.none)))).times(100)


def rise_between(measure: Callable[[Pair], "pd.Series[float]"]) -> Callable[[Pair], Found]:
    def difference(p: Pair) -> Found:
        base = measure(Pair(p.none, p.none))
        return rise((base + measure(p) - measure(p.other)).dropna(), base).times(100)

    return difference


@cache
def kid_of(run: Run) -> tuple[Found, float]:
    return kernel_distance(*run.features, run.manifest["config"]["seed"])


@cache
def precision_of(run: Run) -> Found:
    generated, real = run.features
    return share(inside(generated, real))


@cache
def recall_of(run: Run) -> Found:
    generated, real = run.features
    return share(inside(real, generated))


def distance(p: Pair) -> Found:
    """Mean of the records; where features are published, they have to give the same value."""
    found = mean_of(p.own.column("frechet_value"))
    value = frechet(*p.own.features) if p.own.has_features else found.value
    return Found(value, max(0.0, found.low), found.high, n=found.n)


def saved(p: Pair) -> Found:
    (row,) = p.own.samples.to_dict("records")
    return exact(100 * (1 - row["flops"] / row["baseline_flops"]))


def speedup(p: Pair) -> Found:
    found = rise(p.own.column("baseline_ms_per_step"), p.own.column("ms_per_step"))
    return Found(1 + found.value, 1 + found.low, 1 + found.high, n=found.n)


def time_saved(p: Pair) -> Found:
    found = speedup(p)
    value, low, high = (100 * (1 - 1 / each) for each in (found.value, found.low, found.high))
    return Found(value, low, high, n=found.n)


def per_second(p: Pair) -> Found:
    rows = p.own.samples
    return mean_of(1000 * rows["batch_size"] / (rows["steps"] * rows["ms_per_step"]))


def precisions(p: Pair) -> "pd.Series[float]":
    return 100 * p.own.column("average_precision").fillna(0.0)


def right(run: Run) -> "pd.Series[float]":
    return run.column("correct")


RUNS: dict[str, Callable[[Pair], Found]] = {
    "acc1": lambda p: share(right(p.own).to_numpy()).times(100),
    "acc1_to_none": lambda p: untested(mcnemar(right(p.own), right(p.none))).times(100),
    "acc1_drop": lambda p: untested(mcnemar(right(p.none), right(p.own))).times(100),
    "failed_images": lambda p: exact(p.own.samples["failure"].notna().sum(), len(p.own.samples)),
    "map_image": lambda p: mean_of(precisions(p)),
    "eps_error": lambda p: mean_of(p.own.true_errors),
    "eps_error_rise": rise_of(raw),
    "best_margin": lambda p: mean_of(margin(p)),
    "best_margin_to_none": to_none(margin),
    "pairwise_auc": lambda p: mean_of(area(p)),
    "pairwise_auc_to_none": to_none(area),
    "acc1_first": lambda p: share(p.own.trials.right().to_numpy()).times(100),
    "acc1_first_to_none": lambda p: untested(
        mcnemar(p.own.trials.right(), p.none.trials.right())
    ).times(100),
    **{f"eps_rise_{name}": rise_of(noise(third)) for name, third in THIRDS.items()},
    "frechet_mini": distance,
    "class_agreement": lambda p: share(right(p.own).to_numpy()).times(100),
    "kid": lambda p: kid_of(p.own)[0],
    "kid_error": lambda p: exact(kid_of(p.own)[1], len(p.own.samples)),
    "precision": lambda p: precision_of(p.own),
    "recall": lambda p: recall_of(p.own),
    "flops_g": lambda p: exact(p.own.samples["flops"].iloc[0] / 1e9),
    "flops_saved_percent": saved,
    "time_ms_per_step": lambda p: mean_of(p.own.column("ms_per_step")),
    "images_per_s": per_second,
    "speedup": speedup,
    "acceleration_percent": time_saved,
}
"""Metric -> its value for a run."""

PAIRED: dict[str, Callable[[Pair], Found]] = {
    "acc1": lambda p: mcnemar(right(p.own), right(p.other.own)).times(100),
    "class_agreement": lambda p: mcnemar(right(p.own), right(p.other.own)).times(100),
    "map_image": lambda p: bootstrap(precisions(p), precisions(p.other)),
    "eps_error_rise": rise_between(raw),
    "best_margin": lambda p: paired(margin(p), margin(p.other)),
    "pairwise_auc": lambda p: paired(area(p), area(p.other)),
    "acc1_first": lambda p: mcnemar(p.own.trials.right(), p.other.own.trials.right()).times(100),
    **{f"eps_rise_{name}": rise_between(noise(third)) for name, third in THIRDS.items()},
    "frechet_mini": lambda p: paired(
        p.own.column("frechet_value"), p.other.own.column("frechet_value")
    ),
}
"""Metric -> its paired difference; the others are differences of two numbers."""


def difference(name: str, pair: Pair) -> Found:
    """The first run minus the second one, in the metric `name`."""
    if name in PAIRED:
        return PAIRED[name](pair)
    one, other = RUNS[name](pair), RUNS[name](pair.other)
    return exact(one.value - other.value, min(one.n, other.n))
