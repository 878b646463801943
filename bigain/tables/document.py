"""A finished table as data: what all output formats print, with nothing left to decide.

`layout` makes a document of a plan, of measured numbers and of the paper's values; `formats` writes
it down as Markdown, LaTeX or HTML.  Texts are plain, with four kinds of markup: `code`, **strong**,
*emphasis* and __underlined__, see `inline`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["DASH", "Cell", "Document", "Kind", "Line", "Markup", "Panel", "Rank", "inline"]

DASH = "—"
"""Stands where no finished run exists."""

Kind = Literal["measured", "comparison", "paper"]
Rank = Literal["", "best", "second", "leading"]
Markup = Literal["plain", "code", "strong", "emphasis", "underlined"]

_INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*"
    r"|\*(?P<emphasis>\w[^*]*)\*|__(?P<underlined>[^_]+)__"
)
_NUMBER = re.compile(r"[+−-]?[\d.]*\d")
_LONG = 60
"""Signs of a cell that may be broken into several lines."""


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

    @property
    def is_long(self) -> bool:
        """Whether it may be broken into several lines."""
        return len(self.text) > _LONG


@dataclass(frozen=True)
class Line:
    """One line of a panel: `kind` is measured, comparison (a remark on the line above) or paper."""

    kind: Kind
    label: str
    cells: tuple[Cell, ...]

    @property
    def says_something(self) -> bool:
        """Whether a cell has a text."""
        return any(cell.text for cell in self.cells)


@dataclass(frozen=True)
class Panel:
    """One rectangle of numbers under a heading.

    Attributes:
        title: Heading.
        columns: Heads of the columns, without that of the labels.
        lines: From top to bottom; each has as many cells as there are columns.
        caption: Above the rectangle, such as how many images are behind its numbers.
        remark: Below the rectangle, such as which rows have no run.
        explanation: What the legend of the profile says of these numbers; for a page without it.

    """

    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    caption: str = ""
    remark: str = ""
    explanation: str = ""

    @property
    def texts(self) -> tuple[bool, ...]:
        """For each column whether it has a word somewhere, and no number."""
        columns = zip(*(line.cells for line in self.lines), strict=True)
        found = tuple(_is_text([cell.text for cell in column]) for column in columns)
        return found or (False,) * len(self.columns)


@dataclass(frozen=True)
class Document:
    """A whole table.

    Attributes:
        number: Of the paper's table.
        title: Without its number.
        summary: One line: profile, backbone, datasets, how many runs are done.
        findings: What the numbers say of the paper's orderings.
        panels: The numbers.
        setup: The protocol of the runs, one line for each kind of work.
        notes: Remarks on the whole.
        footnotes: Letter and text of the remarks on single cells, those that are printed.
        command: Fills all gaps and renders again; empty if there are none.
        commands: Each fills one gap.
        legend: What the marks mean, for a page without the legend of the profile.
        measured: How many measured values it has, and how many it would have with all runs.

    """

    number: int
    title: str
    summary: str
    panels: tuple[Panel, ...]
    findings: tuple[Panel, ...] = ()
    setup: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    footnotes: tuple[tuple[str, str], ...] = ()
    command: str = ""
    commands: tuple[str, ...] = ()
    legend: tuple[str, ...] = ()
    measured: tuple[int, int] = (0, 0)

    @property
    def heading(self) -> str:
        """Number and title."""
        return f"Table {self.number}. {self.title}"


def _is_text(texts: Sequence[str]) -> bool:
    has_word = any(any(map(str.isalpha, text)) for text in texts)
    return has_word and not any(_NUMBER.match(text) for text in texts)


def inline(text: str) -> Iterator[tuple[Markup, str]]:
    """The pieces of a text: `("plain", "a ")`, `("code", "b")`, ... in order."""
    position = 0
    for match in _INLINE.finditer(text):
        if match.start() > position:
            yield "plain", text[position : match.start()]
        kind = match.lastgroup or "plain"
        yield kind, match[kind]  # type: ignore[misc]
        position = match.end()
    if position < len(text):
        yield "plain", text[position:]
