"""A document as Markdown."""

from collections.abc import Iterator, Mapping, Sequence

from bigain.tables.document import Cell, Document, Line, Panel, Rank, legend

__all__ = ["render_markdown"]

_RANKS: Mapping[Rank, str] = {"best": "**{}**", "leading": "*{}*", "second": "<u>{}</u>", "": "{}"}
_NAMES: Mapping[Rank, str] = {"best": "Bold", "leading": "Italic", "second": "Underlined"}
_STYLES = {rank: _RANKS[rank].format(name) for rank, name in _NAMES.items()}


def render_markdown(document: Document) -> str:
    """The whole page; the same bytes for the same document."""
    parts = [f"# Table {document.number}. {document.title}", *document.intro]
    parts.append(legend(document, _STYLES))
    parts += [_panel(panel) for panel in document.panels]
    parts += [_notes(document), _gaps(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _panel(panel: Panel) -> str:
    rectangle = _rectangle(panel) if panel.lines else ""
    parts = [f"## {panel.title}", panel.caption, rectangle, panel.remark]
    return "\n\n".join(part for part in parts if part)


def _rectangle(panel: Panel) -> str:
    rows = [["", *map(_escaped, panel.columns)], *map(_styled, panel.lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts)


def _styled(line: Line) -> list[str]:
    return [_escaped(line.label), *map(_cell, line.cells)]


def _cell(cell: Cell) -> str:
    text = _RANKS[cell.rank].format(_escaped(cell.text)) if cell.text else ""
    marks = "".join(f"[{mark}]" for mark in cell.marks) if cell.text else ""
    return f"{text} {marks}".rstrip()


def _escaped(text: str) -> str:
    """A bar would end the cell."""
    return text.replace("|", "\\|")


def _notes(document: Document) -> str:
    lines = [*document.notes, *(f"[{mark}] {text}" for mark, text in document.footnotes)]
    return "\n".join(("## Notes", "", *(f"- {line}" for line in lines))) if lines else ""


def _gaps(document: Document) -> str:
    return "\n".join(_gap_lines(document.command, document.commands))


def _gap_lines(command: str, commands: Sequence[str]) -> Iterator[str]:
    if commands:
        yield from ("## What is missing", "")
        yield from (f"`{command}` does all of these, or one by one:", "")
        yield from ("```", *commands, "```")
