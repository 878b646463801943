"""Errors by frequency: what operators change, and where noise error and margin move.

One row of panels for each backbone; every number is a percentage of the baseline's noise error of
the true class, all bands together, with its 95 % interval.
"""

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import StrMethodFormatter, SymmetricalLogLocator

from bigain.figures.style import INK, MORE_OPERATORS, OPERATORS, OperatorLook, publication
from bigain.metrics.bands import ALL, BANDS
from bigain.metrics.margins import Estimate

__all__ = ["PLACES", "Measured", "draw_bands"]

Measured = Mapping[tuple[str, str, str], Estimate]
"""(operator's title, quantity, band) -> fraction, of one backbone; the baseline is `none`."""

_PANELS = {
    "change": "change of the prediction (log)",
    "rise": "rise of the noise error (log)",
    "margin_change": "change of the margin",
}
_LINEAR_TO = 1.0
"""Percent up to which an axis of the first two panels, whose values differ widely, is linear."""

PLACES = (*BANDS, ALL)
"""The bands of a panel."""
_OTHERS = (
    OperatorLook("", "#56B4E9", "h"),
    OperatorLook("", "#F0E442", "p"),
    OperatorLook("", "#999999", "*"),
)
"""Looks of operators that the other figures do not show, and of further settings of one."""


@publication()
def draw_bands(backbones: Mapping[str, Measured]) -> Figure:
    """The figure; a title, such as backbone and number of images, for each row."""
    looks = _looks([list(dict.fromkeys(key[0] for key in own)) for own in backbones.values()])
    layout = ConstrainedLayoutEngine(w_pad=0.08)
    figure = Figure(figsize=(9.4, 0.6 + 2.5 * len(backbones)), layout=layout)
    grid = figure.subplots(len(backbones), len(_PANELS), squeeze=False)
    for line, (name, measured) in zip(grid, backbones.items(), strict=True):
        for axis, (quantity, words) in zip(line, _PANELS.items(), strict=True):
            _draw(axis, measured, quantity, looks)
            axis.set_title(f"{name}\n{words}", loc="left", color=INK)
        line[0].set_ylabel("% of the baseline's noise error")
    shown: dict[str, Artist] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    if shown:
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3)
    return figure


def _looks(rows: Sequence[Sequence[str]]) -> dict[str, OperatorLook]:
    """A look for each title; two share one only if they are one operator, and in no row together.

    Such is an operator whose settings are others on another backbone.
    """
    looks: dict[str, OperatorLook] = {}
    known = OPERATORS | MORE_OPERATORS
    for title in dict.fromkeys(title for row in rows for title in row if title != "none"):
        name = title.partition(" ")[0]
        beside = {other for row in rows if title in row for other in row}
        taken = {
            look.colour
            for other, look in looks.items()
            if other in beside or other.partition(" ")[0] != name
        }
        choices = [*([known[name]] if name in known else []), *_OTHERS]
        free = [each for each in choices if each.colour not in taken]
        looks[title] = (free or choices[-1:])[0]
    return looks


def _draw(axis: Axes, measured: Measured, quantity: str, looks: Mapping[str, OperatorLook]) -> None:
    own = {title: look for title, look in looks.items() if (title, quantity, ALL) in measured}
    reach: list[float] = []
    for index, (title, look) in enumerate(own.items()):
        shift = 0.13 * (index - (len(own) - 1) / 2)
        places = [k + shift for k in range(len(PLACES))]
        found = [measured[title, quantity, band] for band in PLACES]
        low, high = ([100 * end for end in ends] for ends in zip(*map(_ends, found), strict=True))
        axis.vlines(places, low, high, colors=look.colour, linewidth=0.9)
        reach += [*low, *high]
        axis.plot(
            places,
            [100 * each.value for each in found],
            color=look.colour,
            marker=look.marker,
            markersize=4.4,
            linewidth=0,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=title,
        )
    axis.axhline(0, color="#777777", linewidth=0.7, zorder=0)
    axis.axvline(len(BANDS) - 0.5, color="#BBBBBB", linewidth=0.6, zorder=0)
    shares = [measured["none", "error", band].value for band in PLACES]
    labels = [f"{band}\n{100 * share:.0f} %" for band, share in zip(PLACES, shares, strict=True)]
    axis.set_xticks(range(len(PLACES)), labels)
    axis.set_xlabel("band, and the baseline's error in it", fontsize=7)
    if quantity != "margin_change":
        _make_logarithmic(axis, reach)


def _ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.ci_low, estimate.ci_high


def _make_logarithmic(axis: Axes, reach: Sequence[float]) -> None:
    """The axis is linear around zero, and as long as the intervals, whose ends `reach` has."""
    axis.set_yscale("symlog", linthresh=_LINEAR_TO)
    axis.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=_LINEAR_TO, subs=(1, 3)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    low, high = min(reach, default=0.0), max(reach, default=0.0)
    axis.set_ylim(min(0.0, 1.3 * low), max(_LINEAR_TO, 1.3 * high))
