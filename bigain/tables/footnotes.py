"""Letters for the remarks on single cells, fixed by their order in the table's specification.

They are a to z, then aa, ab and so on: no remark is lost, however many there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, product
from string import ascii_lowercase

from bigain.tables.document import Cell
from bigain.tables.parts import Footnote

__all__ = ["marks_of", "texts_of"]


def marks_of(footnotes: Sequence[Footnote], cell: tuple[str, str, str, str]) -> tuple[str, ...]:
    """The letters of the remarks on (dataset, method, metric, setting), in order."""
    return tuple(mark for mark, note in _marked(footnotes) if note.concerns(cell))


def texts_of(footnotes: Sequence[Footnote], cells: Iterable[Cell]) -> tuple[tuple[str, str], ...]:
    """Letter and text of every remark that stands in one of the printed cells, by letter."""
    printed = {mark for cell in cells for mark in cell.marks}
    return tuple((mark, note.text) for mark, note in _marked(footnotes) if mark in printed)


def _marked(footnotes: Sequence[Footnote]) -> Iterator[tuple[str, Footnote]]:
    letters = _letters()
    return ((next(letters), note) for note in footnotes if note.cells)


def _letters() -> Iterator[str]:
    for length in count(1):
        yield from map("".join, product(ascii_lowercase, repeat=length))
