"""The style of all figures: the look of each operator, and how pictures are drawn and saved.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart; each operator has
its own marker for grey prints.  Files do not depend on the user's matplotlibrc and contain no date,
so the same figure gives the same bytes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bigain.files import replace_file

__all__ = ["INK", "OPERATORS", "OperatorLook", "publication", "save", "show_square"]

INK = "#222222"

FORMATS = ("svg", "pdf", "png")
"""Two vector formats, and PNG for pages that cannot show them."""

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
    "axes.edgecolor": "#777777",
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
    """How one operator is drawn: its name for readers, colour and marker."""

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


MORE_OPERATORS = {
    "cached": OperatorLook("cached assignment", "#8C4A1E", "P"),
    "abm": OperatorLook("adaptive block merge", "#56B4E9", "h"),
    "sito": OperatorLook("SiTo", "#B8860B", "<"),
    "kv_select": OperatorLook("key/value selection", "#7F9F00", ">"),
    "toma": OperatorLook("ToMA", "#6A3D9A", "X"),
    "dip_go": OperatorLook("after DiP-GO", "#A00040", "*"),
    "mosaic_diff": OperatorLook("after MosaicDiff", "#E0508A", "p"),
    "lgtm_enc_ie_kvd_dec": OperatorLook("L-GTM + IE-KVD", "#00408A", "d"),
    "ie_kvd_enc_lgtm_dec": OperatorLook("IE-KVD + L-GTM", "#00604A", "H"),
}
"""The same of the operators that the paper's figures do not have."""


@contextmanager
def publication() -> Iterator[None]:
    """Fonts, lines and sizes of all figures inside the context."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `<stem>.svg`, `.pdf` and `.png`, each atomically; return their paths."""
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


def show_square(axis: Axes, values: npt.NDArray[Any], title: str = "", **style: Any) -> None:
    """Pixels or scores without ticks and frame; `style` is that of `imshow`."""
    axis.imshow(values, interpolation="none", **style)
    axis.set_title(title, color=INK)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
