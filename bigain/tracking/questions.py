"""The paper's questions, as what a dashboard draws against what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FACTOR", "FLOPS", "QUESTIONS", "RATIO", "UNREDUCED", "Question", "known_at", "short"]

RATIO = "operator.ratio"
FACTOR = "operator.factor"
"""Settings of the configuration, dotted."""

FLOPS = "flops_g"
"""A value of the summary: GFLOPs of one evaluation of the denoiser."""

UNREDUCED: Mapping[str, float] = {RATIO: 0.0, FACTOR: 1.0}
"""Setting that says how much an operator reduces -> its value that reduces nothing."""


@dataclass(frozen=True)
class Question:
    """What to draw for one of the questions: a point for each run.

    Attributes:
        title: What is drawn.
        x: `RATIO`, `FACTOR` or `FLOPS`.
        y: Metrics of the summary.

    """

    title: str
    x: str
    y: tuple[str, ...]


QUESTIONS = (
    Question("Accuracy against ratio", RATIO, ("acc1",)),
    Question("Accuracy against factor", FACTOR, ("acc1",)),
    Question("Accuracy against GFLOPs", FLOPS, ("acc1",)),
    Question("Fréchet distance against ratio", RATIO, ("frechet_mini", "fid")),
    Question("Margin statistics against ratio", RATIO, ("margin_mean", "margin_variance")),
)


def known_at(config: Mapping[str, Any], summary: Mapping[str, float], x: str) -> float | None:
    """Where a run is on the axis `x`; None if it has no place there."""
    found = config["operator"].get(short(x)) if x in UNREDUCED else summary.get(x)
    return None if found is None else float(found)


def short(x: str) -> str:
    """`RATIO`, `FACTOR` or `FLOPS` in one word."""
    return x.removeprefix("operator.")
