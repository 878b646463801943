"""What the figures of the paper have in common: an operator's look, and how pictures are saved.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; each operator also has a
marker of its own, for readers of grey prints.  Nothing depends on the user's matplotlibrc, and no
file has a date in it: the same figure gives the same bytes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bigain.files import replace_file

__all__ = ["FORMATS", "GREY", "INK", "OPERATORS", "OperatorLook", "publication", "save"]

INK, GREY = "#222222", "#777777"

FORMATS = ("svg", "pdf", "png")
"""Two vector formats, and one for pages that show neither."""

_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}
_DPI = 130
_RC: Mapping[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "svg.hashsalt": "bigain",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class OperatorLook:
    """How one operator is drawn: its name for readers, its colour, its marker."""

    label: str
    colour: str
    marker: str


OPERATORS = {
    "none": OperatorLook("no acceleration", "#000000", ""),
    "tome": OperatorLook("ToMe", "#D55E00", "o"),
    "lgtm": OperatorLook("L-GTM (BiGain)", "#0072B2", "s"),
    "todo": OperatorLook("ToDo (nearest)", "#E69F00", "^"),
    "avg_pool": OperatorLook("average pooling", "#CC79A7", "v"),
    "ie_kvd": OperatorLook("IE-KVD (BiGain)", "#009E73", "D"),
}
"""Name in the configuration -> its look, in every figure."""


@contextmanager
def publication() -> Iterator[None]:
    """Fonts, lines and sizes of all figures, for as long as the context lasts."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `<stem>.svg`, `.pdf` and `.png`, each atomically; their paths."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in FORMATS]
    for kind, path in zip(FORMATS, paths, strict=True):
        with publication():
            replace_file(
                path,
                lambda temporary, kind=kind: figure.savefig(  # type: ignore[misc]
                    temporary, format=kind, dpi=_DPI, metadata=_METADATA[kind]
                ),
            )
    return paths
