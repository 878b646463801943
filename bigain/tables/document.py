"""A finished table as data: what all output formats print, with nothing left to decide.

`layout` makes a document of a plan, of measured numbers and of the paper's values; `formats` writes
it down as Markdown, LaTeX or HTML.  Texts are plain, with four kinds of markup: `code`, **strong**,
*emphasis* and __underlined__, see `inline`.

`legend` says how to read the tables.  It is the only place of every sentence that belongs to more
than one table: `results/<profile>/tables/README.md` and the report print all of it.  An HTML or
LaTeX file of a single table prints `MARKS` and the explanations of its own quantities.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bigain.tables.quantities import QUANTITIES

__all__ = [
    "DASH",
    "MARKS",
    "Cell",
    "Document",
    "Kind",
    "Line",
    "Markup",
    "Panel",
    "Rank",
    "Section",
    "inline",
    "legend",
]

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


Section = tuple[str, tuple[str, ...]]
"""A heading and its entries."""

MARKS = (
    "**Bold**: the best of its column (in a table that compares columns: of its row). Either a "
    "paired test against the second best supports it, with p < 0.05 after Holm's correction over "
    "all such tests of its block, or the numbers are exact counts. Where the two are also one of "
    "the paper's orderings, its p value in the family of all tables is below 0.05, too.",
    "*Italic*: the best by value; no corrected test supports it.",
    "__Underlined__: the second best. Ties share a mark. The baseline is not ranked. A quantity "
    "whose rows cannot be compared has no marks.",
    "An em dash (—) means that no finished run exists. The commands that fill the gaps are listed "
    "at the end of the table. Rows without any run share one line. No run can fill an empty cell, "
    "such as the samples of an operator that only classifies.",
    "↑ higher is better, ↓ lower is better.",
)
"""What the marks mean."""

_LINES = (
    "A measured cell holds the value and its 95 % interval. The number of images or repeats (n) "
    "stands above the numbers, or in each cell where it varies.",
    "The **baseline** is the same model without any operator.",
    "*minus the baseline*: the paired difference between the row and the baseline.",
    "*paper*: what the paper prints in the same place.",
    "*measured minus paper*: only where both numbers come from the same model and the same data.",
    "*A minus B*: the paired difference between two rows on the same images, timesteps and noise, "
    "or from the same first noise. The paper's difference stands below it.",
    "[a], [b], ...: a doubt about a value of the paper; the notes of the table explain it.",
)

_VERDICTS = (
    "Each table first says which of the paper's orderings it confirms. An ordering is a pair of "
    "rows, or of columns, of which the paper prints one as better.",
    "*level*: the 95 % interval of the difference lies inside of +-delta, whether it contains 0 or "
    "not. *supported*: not level, and the method that the paper puts ahead is ahead here too, with "
    "p < 0.05 after correction. *contradicted*: not level, and it is behind, with p < 0.05 after "
    "correction. *inconclusive*: none of these. The deltas stand in `configs/verdicts.yaml`. That "
    "of the margin was set before the runs with errors of all classes were made; the others were "
    "set after the runs: values of accuracy, mAP and the Frechet distance were known by then.",
    "*p* is the p value of the single test, *p, Holm* the one with Holm's correction, which "
    "decides. A family is all that is planned of one kind of orderings, in all tables of the "
    "profile: those in the paper's quantities, those in the margin, those in the noise error. One "
    "that was not run counts with p = 1. Two runs that several tables compare in one quantity are "
    "one hypothesis and count once.",
    "A verdict is about the order. *paper's size* says, for the paper's own quantities alone, "
    "whether the interval excludes the difference that the paper prints (*excluded*) or contains "
    "it (*possible*).",
    "The tests are paired: the exact McNemar test for accuracy, a bootstrap over images for mAP, "
    "t tests over images for the margin, the pairwise AUC and the noise error, and over samples "
    "for the Frechet distance.",
    "The paper prints no uncertainty. Unpaired, its own accuracies have standard errors of 0.6 to "
    "1.1 points.",
    "The margin and the noise error are not quantities of the paper. Whether they have the order "
    "of the paper's accuracies is a separate question. The margin is the primary endpoint: it is "
    "made of the errors that decide, in units in which each timestep counts the same. The noise "
    "error comes second; it says nothing about accuracy itself.",
)

_PAPER = {
    "mini": (
        "The lines marked *paper* come from another backbone and other datasets: compare how the "
        "numbers change along a line, not the numbers themselves. Only FLOPs are counted on the "
        "paper's own model, which needs no weights.",
        "On the mini U-Net, with 400 images, ToMe and L-GTM change the accuracy after twenty "
        "trials by at most half a point, and every interval includes 0 (Table 4). With 1,000 "
        "images L-GTM at 0.7 loses accuracy, and ToMe does not (Table 14). Accuracy also falls "
        "under adaptive block merge, under 4x downsampling, and in the first stage alone. The "
        "margin tells the operators apart.",
        "On the mini DiT the accuracy falls under both at ratios 0.5 and 0.7 (Table 5).",
    ),
    "paper": (
        "The lines marked *paper* come from the same backbone and the same dataset. Which images "
        "the paper took, and with which seeds, is not published.",
    ),
}

_PROTOCOL = (
    "Classification: each class is tried on the timesteps and noises of the *trial list*, stage by "
    "stage; after each stage as many classes stay as the *keep list* says. The class with the "
    "smallest error is the prediction.",
    "ToMe draws its destinations from (seed, site, timestep): they are the same for all classes "
    "and images, so its comparison with L-GTM is paired.",
    "Where the factor of a downsampling does not divide the grid (3 on 16x16 tokens), the nearest "
    "and the average sample cover different parts of it, as in the paper's released code.",
)


def legend(profile: str) -> tuple[Section, ...]:
    """All that a reader of a profile's tables needs to know."""
    return (
        ("Marks", MARKS),
        ("Numbers", _LINES),
        ("Verdicts", _VERDICTS),
        ("The paper's numbers and these", _PAPER[profile]),
        ("Protocol", _PROTOCOL),
        ("Quantities", tuple(_quantities())),
    )


def _quantities() -> Iterator[str]:
    return (f"**{each.head}**: {each.explanation}" for each in QUANTITIES.values())
