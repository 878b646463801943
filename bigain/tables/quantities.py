"""The quantities of the tables: titles, explanations, number formats, and who measures them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bigain.metrics import HIGHER_IS_BETTER, Metric

__all__ = ["QUANTITIES", "TO_NONE", "Quantity", "format_difference", "format_metric"]

TO_NONE = "acc1_to_none"
"""Metric id of the paired difference of the accuracy to the baseline, in points."""

Work = Literal["classification", "generation", "flops", "time"]

_FRECHET = (
    "Value and 95 % jackknife interval over samples. Differences are paired over samples that "
    "start from the same first noise. Compare it only at equal n: its bias depends on n."
)


_RISE = (
    "How much larger the noise-prediction error of the true class is than that of the baseline on "
    "the same (image, timestep, noise), relative to the mean error of the baseline, with the "
    "paired 95 % interval. Differences between rows are in points."
)


@dataclass(frozen=True)
class Quantity:
    """One metric as a block of a table.

    Attributes:
        metric: Its id.
        title: Heading of the block.
        name: Short, for a line of text.
        explanation: What the cells hold.
        work: What is done for it: a task, or one of the two measures of efficiency.
        signed: Print a plus sign before positive values.
        at_none: Metric that stands in the column of the baseline, if the table has one.
        title_at_none: What to call it.
        to_none: Metric of the comparison with the baseline, printed in a line of its own.
        deltas: Whether rows are compared with each other, at the end of the block.
        ranked: Whether the best and the second are marked.
        needs_none: Whether it is a comparison with the baseline itself.
        scaled: Whether it is in units that the baseline gives.

    """

    metric: str
    title: str
    name: str
    explanation: str
    work: Work = "classification"
    signed: bool = False
    at_none: str | None = None
    title_at_none: str = ""
    to_none: str | None = None
    deltas: bool = False
    ranked: bool = False
    needs_none: bool = False
    scaled: bool = False

    @property
    def lower_is_better(self) -> bool:
        """Whether less of it is better."""
        return not HIGHER_IS_BETTER[self.metric]

    @property
    def head(self) -> str:
        """The title with an arrow that says what is better."""
        return f"{self.title} {'↓' if self.lower_is_better else '↑'}"


_QUANTITIES = (
    Quantity(
        "acc1",
        title="Top-1 accuracy, %",
        name="accuracy",
        explanation="Value and 95 % Wilson interval. Differences are in points, paired over images "
        "(same timesteps and noise), with their 95 % interval.",
        to_none=TO_NONE,
        deltas=True,
        ranked=True,
    ),
    Quantity(
        "acc1_drop",
        title="Accuracy lost, points",
        name="accuracy lost",
        explanation="Accuracy of the baseline minus that of the method, paired over images, with "
        "its 95 % interval.",
        signed=True,
        needs_none=True,
    ),
    Quantity(
        "map_image",
        title="Mean average precision, %",
        name="mAP",
        explanation="The average precision of an image, averaged over images. Differences are "
        "paired, with their 95 % bootstrap interval over images.",
        deltas=True,
        ranked=True,
    ),
    Quantity(
        "best_margin",
        title="Best-wrong margin, sigma_t",
        name="margin",
        explanation="The primary endpoint. In each trial of the first stage: the lowest error of a "
        "wrong class minus the error of the true class, over sigma_t, the standard deviation of "
        "the baseline's errors over the classes at this timestep; mean over the trials of an image "
        "and over images, with the 95 % interval. Differences are paired over images (t).",
        to_none="best_margin_to_none",
        deltas=True,
        ranked=True,
        scaled=True,
    ),
    Quantity(
        "pairwise_auc",
        title="Pairwise AUC, %",
        name="pairwise AUC",
        explanation="Share of the pairs of a trial of the first stage and a wrong class in which "
        "the error of the wrong class is the higher one, mean over images, with the 95 % interval. "
        "Differences are in points, paired over images (t).",
        to_none="pairwise_auc_to_none",
        deltas=True,
        ranked=True,
    ),
    Quantity(
        "acc1_first",
        title="Top-1 accuracy of the first stage, %",
        name="accuracy of the first stage",
        explanation="Share of images on which the true class has the lowest mean error over the "
        "trials of the first stage, with its 95 % Wilson interval. Differences are in points, "
        "paired over images (McNemar).",
        to_none="acc1_first_to_none",
        deltas=True,
        ranked=True,
    ),
    Quantity(
        "eps_rise_equal",
        title="Rise of the noise error, equal weights per timestep, %",
        name="noise error, equal weights",
        explanation=f"{_RISE} Equal weights: each error is first divided by the baseline's mean "
        "error at its timestep.",
        signed=True,
        deltas=True,
        ranked=True,
        needs_none=True,
        scaled=True,
    ),
    *(
        Quantity(
            f"eps_rise_{third}",
            title=f"Rise of the noise error at {noise} noise, equal weights per timestep, %",
            name=f"noise error at {noise} noise",
            explanation=f"The same with the trials in the third of {noise} noise alone.",
            signed=True,
            deltas=True,
            ranked=True,
            needs_none=True,
            scaled=True,
        )
        for third, noise in {"low": "low", "mid": "medium", "high": "high"}.items()
    ),
    Quantity(
        "eps_error_rise",
        title="Rise of the noise error, raw, %",
        name="noise error, raw",
        explanation=f"{_RISE} Raw: a mean over the trials, in which low noise weighs most.",
        signed=True,
        at_none="eps_error",
        title_at_none="the error itself",
        deltas=True,
        ranked=True,
        needs_none=True,
    ),
    Quantity(
        "fid",
        title="FID",
        name="FID",
        explanation=_FRECHET,
        work="generation",
        deltas=True,
        ranked=True,
    ),
    Quantity(
        "frechet_mini",
        title="Frechet distance (mini)",
        name="Frechet distance",
        explanation="Not an FID: the shipped classifier of Fashion-MNIST takes the place of "
        f"Inception. {_FRECHET}",
        work="generation",
        deltas=True,
        ranked=True,
    ),
    Quantity(
        "class_agreement",
        title="Class agreement, %",
        name="class agreement",
        explanation="Share of generated images that the shipped classifier recognises as the class "
        "that was asked for, with its 95 % Wilson interval. Differences are paired over samples.",
        work="generation",
        deltas=True,
        ranked=True,
    ),
    Quantity(
        "flops_g",
        title="GFLOPs of one forward",
        name="FLOPs",
        explanation="Counted for one sample; no weights are needed.",
        work="flops",
        ranked=True,
    ),
    Quantity(
        "flops_saved_percent",
        title="FLOPs saved, %",
        name="FLOPs saved",
        explanation="Counted for one forward of the denoiser.",
        work="flops",
        ranked=True,
    ),
    Quantity(
        "time_ms_per_step",
        title="Time of a step, ms",
        name="time of a step",
        explanation="One denoising step, denoiser alone, mean over repeats with its 95 % interval. "
        "Each row is a run of its own, and the state of the machine differs between runs, so the "
        "rows are not ranked. To compare methods, take the speed-up.",
        work="time",
    ),
    Quantity(
        "speedup",
        title="Speed-up",
        name="speed-up",
        explanation="Time without the operator over time with it, with the paired 95 % interval. "
        "Both are timed in turn, in one process.",
        work="time",
        ranked=True,
    ),
    Quantity(
        "acceleration_percent",
        title="Time saved, %",
        name="time saved",
        explanation="1 - 1/speed-up, with its 95 % interval. Both are timed in turn, in one "
        "process.",
        work="time",
        signed=True,
        ranked=True,
    ),
)
QUANTITIES = {each.metric: each for each in _QUANTITIES}
"""Metric id -> how it is printed."""

_PERCENT = ("percent", "points")


def format_metric(metric: Metric, *, signed: bool = False, with_n: bool = False) -> str:
    """`65.76 [64.20, 67.28]`, on request with a sign or followed by `n=3669`."""
    digits = _digits(metric)
    text = f"{digits(metric.value, signed)} {_interval(metric, signed)}".rstrip()
    return f"{text} n={metric.n}" if with_n else text


def format_difference(metric: Metric, *, with_n: bool = False) -> str:
    """`+1.25 [-0.30, +2.80]`, with typographic minus signs."""
    return format_metric(metric, signed=True, with_n=with_n)


def _interval(metric: Metric, signed: bool) -> str:
    if math.isnan(metric.ci_low) or math.isnan(metric.ci_high):
        return ""
    digits = _digits(metric)
    return f"[{digits(metric.ci_low, signed)}, {digits(metric.ci_high, signed)}]"


_TWO_DECIMALS = ("fid", "flops_g", "time_ms_per_step", "speedup")


def _digits(metric: Metric) -> Callable[[float, bool], str]:
    """Two decimals of percents, FID, FLOPs and times, three of distances and margins; 4 digits."""
    if metric.unit in _PERCENT or metric.metric in _TWO_DECIMALS:
        return _percent
    return _thousandths if metric.unit in ("feature^2", "sigma_t") else _significant


def _thousandths(value: float, signed: bool) -> str:
    return (f"{value:+.3f}" if signed else f"{value:.3f}").replace("-", "−")


def _percent(value: float, signed: bool) -> str:
    rounded = round(value, 2) + 0.0
    text = f"{rounded:+.2f}" if signed and rounded else f"{rounded:.2f}"
    return text.replace("-", "−")


def _significant(value: float, signed: bool) -> str:
    text = f"{value:+#.4g}" if signed else f"{value:#.4g}"
    return text.removesuffix(".").replace("-", "−")
