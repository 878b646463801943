"""A finished table as data: what all output formats print, with nothing left to decide.

`layout` makes a document of a plan, of measured numbers and of the paper's values; `markdown`,
`latex` and `html` only write it down.  Texts are plain but for `code` in backticks and **strong**
words, see `inline`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["DASH", "Cell", "Document", "Kind", "Line", "Panel", "Rank", "inline", "legend"]

DASH = "—"
"""Stands where no finished run exists."""

Kind = Literal["measured", "comparison", "paper"]
Rank = Literal["", "best", "second", "leading"]

_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")


@dataclass(frozen=True)
class Cell:
    """One printed value.

    Attributes:
        text: As printed, such as `65.76 [64.20, 67.28]`; empty where nothing belongs.
        rank: `best` of its column where a paired test supports it, `leading` if it is best by
            value alone, `second` for the next one.
        marks: Letters of the footnotes that concern it.

    """

    text: str = ""
    rank: Rank = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One line of a panel: `kind` is measured, comparison (a remark on the line above) or paper."""

    kind: Kind
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Panel:
    """One rectangle of numbers under a heading.

    Attributes:
        title: Heading.
        caption: What the cells hold.
        columns: Heads of the columns, without that of the labels.
        lines: From top to bottom; each has as many cells as there are columns.
        remark: Below the rectangle, such as how many images are behind its numbers.

    """

    title: str
    caption: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    remark: str = ""


@dataclass(frozen=True)
class Document:
    """A whole table.

    Attributes:
        number: Of the paper's table.
        title: Without its number.
        intro: Paragraphs before the panels.
        panels: In order.
        notes: Remarks on the whole.
        footnotes: Letter and text of the remarks on single cells, those that are printed.
        command: Fills all gaps and renders again; empty if there are none.
        commands: Fill one gap each.
        ranked_in: Of what marks tell the best, `column` or `row`; empty where nothing is marked.

    """

    number: int
    title: str
    intro: tuple[str, ...]
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()
    footnotes: tuple[tuple[str, str], ...] = ()
    command: str = ""
    commands: tuple[str, ...] = ()
    ranked_in: str = ""


def legend(document: Document, styles: Mapping[Rank, str]) -> str:
    """What the marks mean, in words; empty where nothing is marked.

    `styles` has the name of each mark, such as `Bold`, as the output format shows it.  The words
    have no sign that means something to a format, so they need no escaping.
    """
    if not document.ranked_in:
        return ""
    return (
        f"{styles['best']} numbers: the best of a {document.ranked_in}, by a paired test against "
        f"the second (p below 0.05) or by exact counts. {styles['leading']}: the best by value "
        f"alone. {styles['second']}: the second. Several that are level share a mark. What has no "
        "such number is not ranked, and neither is no acceleration."
    )


def inline(text: str) -> Iterator[tuple[Literal["plain", "code", "strong"], str]]:
    """The pieces of a text: `("plain", "a ")`, `("code", "b")`, ... in order."""
    position = 0
    for match in _INLINE.finditer(text):
        if match.start() > position:
            yield "plain", text[position : match.start()]
        code, strong = match.groups()
        yield ("code", code) if code is not None else ("strong", strong)
        position = match.end()
    if position < len(text):
        yield "plain", text[position:]
