"""With what the report opens: the verdicts of all tables."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bigain.tables.document import Document
from bigain.tables.verdicts import VERDICTS

__all__ = ["VerdictGroup", "VerdictLine", "verdict_groups"]


@dataclass(frozen=True)
class VerdictLine:
    """One comparison: what is compared, its cells, and the numbers of the tables that show it."""

    label: str
    cells: tuple[str, ...]
    tables: tuple[int, ...]


@dataclass(frozen=True)
class VerdictGroup:
    """The comparisons of one kind.

    Attributes:
        title: What they compare.
        columns: Heads of the cells.
        lines: In the order of the tables.
        counts: How many lines have each verdict, in the order of `VERDICTS`.

    """

    title: str
    columns: tuple[str, ...]
    lines: tuple[VerdictLine, ...]
    counts: tuple[tuple[str, int], ...]


def verdict_groups(documents: Sequence[Document]) -> list[VerdictGroup]:
    """The findings of all tables by kind; what several tables print alike is one line."""
    columns: dict[str, tuple[str, ...]] = {}
    shown: dict[str, dict[tuple[str, tuple[str, ...]], list[int]]] = {}
    for document in documents:
        for panel in document.findings:
            columns[panel.title] = panel.columns
            own = shown.setdefault(panel.title, {})
            for line in panel.lines:
                cells = tuple(cell.text for cell in line.cells)
                own.setdefault((line.label, cells), []).append(document.number)
    return [_group(title, columns[title], own) for title, own in shown.items()]


def _group(
    title: str,
    columns: tuple[str, ...],
    shown: dict[tuple[str, tuple[str, ...]], list[int]],
) -> VerdictGroup:
    lines = tuple(VerdictLine(*key, tuple(tables)) for key, tables in shown.items())
    verdicts = Counter(line.cells[columns.index("verdict")] for line in lines)
    counts = tuple((name, verdicts[name]) for name in VERDICTS)
    return VerdictGroup(title, columns, lines, counts)
