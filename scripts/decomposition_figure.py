"""The picture of `decomposition_results.py`: the endpoint of each variant beside the baseline."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decomposition import BACKBONES, EXPLORATORY, VARIANTS
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from bigain.config import BACKBONE_TITLES
from bigain.figures.style import save

__all__ = ["draw"]

_SHADES = {0.3: "#9db7d5", 0.5: "#5b86b8", 0.7: "#1f4e8c"}
"""Merge ratio -> its colour in the figure."""


def draw(found: Sequence[Mapping[str, Any]], path: Path) -> list[Path]:
    """One panel a backbone, one colour a ratio, of the first seed.

    Args:
        found: Rows of `decomposition_results.rows`: the endpoint of variants minus the baseline's.
        path: Without its ending.

    Returns:
        What was written.

    """
    added = (f"{name} (added later)" for name in EXPLORATORY if _has(found, name))
    names = [*VARIANTS, *added]
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.subplots(1, len(BACKBONES), sharex=True, sharey=True)
    for axis, backbone in zip(axes, BACKBONES, strict=True):
        _panel(axis, backbone, found)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[0].xaxis.set_major_locator(MultipleLocator(0.1))
    axes[0].legend(frameon=False, fontsize="small")
    figure.supxlabel("best-wrong margin minus the baseline's, sigma_t", fontsize="medium")
    return save(figure, path)


def _has(found: Sequence[Mapping[str, Any]], variant: str) -> bool:
    return any(row["first"] == variant for row in found)


def _panel(axis: Any, backbone: str, found: Sequence[Mapping[str, Any]]) -> None:
    own = [row for row in found if row["backbone"] == backbone and row["seed"] == "0"]
    shown = [ratio for ratio in _SHADES if any(row["ratio"] == ratio for row in own)]
    for shift, ratio in enumerate(shown):
        shade = _SHADES[ratio]
        for place, variant in enumerate((*VARIANTS, *EXPLORATORY)):
            for row in own:
                if row["ratio"] == ratio and row["first"] == variant:
                    y = place + 0.22 * (shift - (len(shown) - 1) / 2)
                    axis.plot([row["ci_low"], row["ci_high"]], [y, y], color=shade, lw=1.5)
                    axis.plot(row["value"], y, "o", color=shade, ms=4)
        axis.plot([], [], "o-", color=shade, label=f"ratio {ratio}")
    axis.axvline(0, color="0.6", lw=0.8)
    axis.set_title(BACKBONE_TITLES[backbone])
