"""The paper's questions, as what a dashboard draws against what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FLOPS", "QUESTIONS", "RATIO", "Question", "known_at"]

RATIO = "operator.ratio"
"""A setting of the configuration, dotted."""

FLOPS = "flops_g"
"""A value of the summary: GFLOPs of one evaluation of the denoiser."""


@dataclass(frozen=True)
class Question:
    """What to draw for one of the questions: a point for each run.

    Attributes:
        title: What is drawn.
        x: `RATIO`, or `FLOPS`.
        y: Metrics of the summary.

    """

    title: str
    x: str
    y: tuple[str, ...]


QUESTIONS = (
    Question("Accuracy against ratio", RATIO, ("acc1",)),
    Question("Fréchet distance against ratio", RATIO, ("frechet_mini", "fid")),
    Question("Accuracy against GFLOPs", FLOPS, ("acc1",)),
    Question("Margin statistics against ratio", RATIO, ("margin_mean", "margin_variance")),
)


def known_at(config: Mapping[str, Any], summary: Mapping[str, float], x: str) -> float | None:
    """Where a run is on the axis `x`; None if it has no place there."""
    if x == RATIO:
        ratio = config["operator"].get("ratio")
        return None if ratio is None else float(ratio)
    return summary.get(x)
