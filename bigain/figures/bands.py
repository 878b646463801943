"""Errors by frequency: what operators change, and where noise error and margin move.

One row of panels for each backbone; every number is a percentage of the baseline's noise error of
the true class, all bands together, with its 95 % interval.
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bigain.figures.style import INK, OPERATORS, OperatorLook, publication
from bigain.metrics.bands import ALL, BANDS
from bigain.metrics.margins import Estimate

__all__ = ["Measured", "draw_bands"]

Measured = Mapping[tuple[str, str, str], Estimate]
"""(operator's title, quantity, band) -> fraction, of one backbone; the baseline is `none`."""

_PANELS = {
    "change": "change of the prediction",
    "rise": "rise of the noise error",
    "margin_change": "change of the margin",
}
_PLACES = (*BANDS, ALL)
_OTHERS = (("#56B4E9", "P"), ("#F0E442", "X"), ("#999999", "*"))
"""Colours and markers of operators that the other figures do not show."""


@publication()
def draw_bands(backbones: Mapping[str, Measured]) -> Figure:
    """The figure; a title, such as backbone and number of images, for each row."""
    titles = dict.fromkeys(key[0] for own in backbones.values() for key in own)
    looks = _looks([title for title in titles if title != "none"])
    layout = ConstrainedLayoutEngine(w_pad=0.08)
    figure = Figure(figsize=(9.4, 0.6 + 2.5 * len(backbones)), layout=layout)
    grid = figure.subplots(len(backbones), len(_PANELS), squeeze=False)
    for line, (name, measured) in zip(grid, backbones.items(), strict=True):
        for axis, (quantity, words) in zip(line, _PANELS.items(), strict=True):
            _draw(axis, measured, quantity, looks)
            axis.set_title(f"{name}\n{words}", loc="left", color=INK)
        line[0].set_ylabel("% of the baseline's noise error")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _looks(titles: Sequence[str]) -> dict[str, OperatorLook]:
    """A look of its own for each title: that of its operator, if no other title has it."""
    looks: dict[str, OperatorLook] = {}
    others = 0
    for title in titles:
        known = OPERATORS.get(title.partition(" ")[0])
        if known is None or any(look.colour == known.colour for look in looks.values()):
            known = OperatorLook("", *_OTHERS[others % len(_OTHERS)])
            others += 1
        looks[title] = OperatorLook(title, known.colour, known.marker)
    return looks


def _draw(axis: Axes, measured: Measured, quantity: str, looks: Mapping[str, OperatorLook]) -> None:
    own = {title: look for title, look in looks.items() if (title, quantity, ALL) in measured}
    for index, (title, look) in enumerate(own.items()):
        shift = 0.13 * (index - (len(own) - 1) / 2)
        places = [k + shift for k in range(len(_PLACES))]
        found = [measured[title, quantity, band] for band in _PLACES]
        axis.vlines(
            places,
            [100 * each.ci_low for each in found],
            [100 * each.ci_high for each in found],
            colors=look.colour,
            linewidth=0.9,
        )
        axis.plot(
            places,
            [100 * each.value for each in found],
            color=look.colour,
            marker=look.marker,
            markersize=4.4,
            linewidth=0,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=look.label,
        )
    axis.axhline(0, color="#777777", linewidth=0.7, zorder=0)
    axis.axvline(len(BANDS) - 0.5, color="#BBBBBB", linewidth=0.6, zorder=0)
    shares = [measured["none", "error", band].value for band in _PLACES]
    labels = [f"{band}\n{100 * share:.0f} %" for band, share in zip(_PLACES, shares, strict=True)]
    axis.set_xticks(range(len(_PLACES)), labels)
    axis.set_xlabel("band, and the baseline's error in it", fontsize=7)
