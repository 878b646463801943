"""Letters for the remarks on single cells, fixed by their order in the table's specification.

They are a to z, then aa, ab and so on: no remark is lost, however many there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, product
from string import ascii_lowercase

from bigain.tables.spec import Footnote

__all__ = ["marks_of", "texts_of"]


def marks_of(footnotes: Sequence[Footnote], cell: tuple[str, str, str, str]) -> str:
    """`[a]` or `[a][c]`: the remarks on (dataset, method, metric, setting); empty without any."""
    return "".join(mark for mark, note in _marked(footnotes) if note.concerns(cell))


def texts_of(footnotes: Sequence[Footnote], cells: Iterable[str]) -> list[tuple[str, str]]:
    """Mark and text of every remark whose mark stands in one of the printed cells, by letter."""
    printed = "\n".join(cells)
    return [(mark, note.text) for mark, note in _marked(footnotes) if mark in printed]


def _marked(footnotes: Sequence[Footnote]) -> Iterator[tuple[str, Footnote]]:
    letters = _letters()
    local = (note for note in footnotes if note.cells)
    return ((f"[{next(letters)}]", note) for note in local)


def _letters() -> Iterator[str]:
    for length in count(1):
        yield from map("".join, product(ascii_lowercase, repeat=length))
