"""Which columns of a panel hold text to read, and which numbers to compare."""

import re

from bigain.tables.document import Panel

__all__ = ["LONG", "are_text"]

LONG = 60
"""Signs of a cell that may be broken into several lines."""

_NUMBER = re.compile(r"[+−-]?[\d.]*\d")


def are_text(panel: Panel) -> tuple[bool, ...]:
    """For each column whether it has a word somewhere, and no number."""
    places = range(len(panel.columns))
    return tuple(
        any(any(map(str.isalpha, text)) for text in texts)
        and not any(_NUMBER.match(text) for text in texts)
        for texts in ([line.cells[index].text for line in panel.lines] for index in places)
    )
