"""One point per image: a score under one run against the same score under the reference.

A point on the diagonal is an image that both runs see alike.  Files stay small for any number of
images, because they are pixels.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from bigain.figures.style import INK, publication
from bigain.metrics import image_errors
from bigain.runs.pairing import FinishedRun

__all__ = ["draw_scores", "png_of"]

_DPI = 180
_COLOURS = 64
"""Enough for few hues and their edges; a third of the bytes."""
_OUTCOMES = (
    ("both right", "#999999", 1, 1),
    ("both wrong", "#CC79A7", 0, 0),
    ("only {run} right", "#009E73", 1, 0),
    ("only {reference} right", "#D55E00", 0, 1),
)
"""Words, colour (Okabe and Ito), and whether the run and the reference are right."""


@publication()
def draw_scores(run: FinishedRun, reference: FinishedRun, names: tuple[str, str]) -> Figure:
    """The scores of the images of both: noise error and margin, or share in the distance.

    Args:
        run: Drawn upwards.
        reference: Drawn to the right.
        names: What the axes call the two.

    """
    scores = list(_scores(run, reference))
    figure = Figure(figsize=(3.2 * len(scores), 3.6), layout="constrained")
    for axis, (title, pair) in zip(
        figure.subplots(1, len(scores), squeeze=False)[0], scores, strict=True
    ):
        _draw(axis, pair, _right(run, reference, pair.index), names)
        axis.set_title(title, color=INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if labels:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=2 * len(scores), markerscale=2
        )
    return figure


def png_of(figure: Figure) -> bytes:
    """The picture as a PNG file; the same bytes for the same figure."""
    drawn, written = io.BytesIO(), io.BytesIO()
    with publication():
        figure.savefig(drawn, format="png", dpi=_DPI)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(written, "PNG", optimize=True)
    return written.getvalue()


def _scores(run: FinishedRun, reference: FinishedRun) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title, and the scores of both by image id, of images that have one in both."""
    pair = {"run": run.samples, "reference": reference.samples}
    if run.is_generation:
        yield "share in the distance", _joined(pair, "frechet_value")
        return
    errors = {name: image_errors(samples) for name, samples in pair.items()}
    yield "noise error of the true class", pd.DataFrame(errors).dropna()
    yield "margin (wrong classes minus true class)", _joined(pair, "margin_mean")


def _joined(pair: dict[str, pd.DataFrame], column: str) -> pd.DataFrame:
    columns = {name: frame.set_index("image_id")[column] for name, frame in pair.items()}
    return pd.DataFrame(columns).astype(np.float64).dropna()


def _right(run: FinishedRun, reference: FinishedRun, ids: "pd.Index[int]") -> pd.DataFrame | None:
    frames = {"run": run.samples, "reference": reference.samples}
    if not all("correct" in frame for frame in frames.values()):
        return None
    return pd.DataFrame(
        {name: frame.set_index("image_id")["correct"].loc[ids] for name, frame in frames.items()}
    ).astype(bool)


def _draw(
    axis: Axes, pair: pd.DataFrame, right: pd.DataFrame | None, names: tuple[str, str]
) -> None:
    style: dict[str, Any] = {"s": 9, "alpha": 0.6, "linewidths": 0}
    if right is None:
        axis.scatter(pair["reference"], pair["run"], color="#0072B2", **style)
    else:
        for words, colour, run, reference in _OUTCOMES:
            chosen = pair[(right["run"] == run) & (right["reference"] == reference)]
            label = words.format(run=names[0], reference=names[1])
            label = f"{label} ({len(chosen)})"
            axis.scatter(chosen["reference"], chosen["run"], color=colour, label=label, **style)
    ends = pair.min().min(), pair.max().max()
    axis.plot(ends, ends, color=INK, linewidth=0.6, zorder=0)
    axis.set(xlabel=names[1], ylabel=names[0], box_aspect=1)
    axis.tick_params(axis="x", rotation=30)
