"""A document as Markdown, LaTeX or HTML: jinja2 templates, and what each format needs beside them.

Every format escapes all that a template prints, unless a filter has made it text of that format
(`Markup`), so nothing can be forgotten.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bigain.tables import latex
from bigain.tables.document import Cell, Document, Panel, inline, legend
from bigain.tables.gaps import PAPERS, Gaps, together

__all__ = ["RENDERERS", "html_environment", "render_html", "render_latex", "render_legend"]
__all__ += ["render_markdown"]

_TEMPLATES = Path(__file__).parent / "templates"
_WIDTH = 120
"""Signs of a line of prose in Markdown."""
_WIDEST = 159
"""Signs of a line of a rectangle in Markdown; what is wider goes on below."""
_KEPT = "\0"
"""A space inside of code, where no line may end."""
_LATEX_DELIMITERS = {
    **{"block_start_string": "<%", "block_end_string": "%>"},
    **{"variable_start_string": "<<", "variable_end_string": ">>"},
    **{"comment_start_string": "<#", "comment_end_string": "#>"},
}


def render_markdown(document: Document) -> str:
    """The whole page; the same bytes for the same document."""
    page = _markdown().get_template("table.md.j2").render(table=document)
    return page.rstrip() + "\n"


def render_legend(profile: str, gaps: Sequence[Gaps] = ()) -> str:
    """The README.md that stands beside the tables of a profile, with the `gaps` of each."""
    page = _markdown().get_template("legend.md.j2")
    sections, total = legend(profile), [each for each in gaps if int(each.name) <= PAPERS]
    shown = [*total, together(total, f"1 to {PAPERS}"), *gaps[len(total) :]] if total else gaps
    return page.render(profile=profile, sections=sections, gaps=shown)


def render_latex(document: Document) -> str:
    """The whole file; the same bytes for the same document."""
    wide = latex.is_wide(document.panels + document.findings)
    tabulars = latex.tabulars(document.findings + document.panels, wide=wide)
    template = _latex().get_template("table.tex.j2")
    return template.render(table=document, wide=wide, tabulars=tabulars)


def render_html(document: Document) -> str:
    """A page with the table alone; the same bytes for the same document."""
    return html_environment().get_template("table.html.j2").render(table=document)


RENDERERS: Mapping[str, Callable[[Document], str]] = {
    "md": render_markdown,
    "tex": render_latex,
    "html": render_html,
}
"""Format -> what writes a document in it."""


@cache
def html_environment() -> Environment:
    """The templates of HTML; `rich` writes a text with its markup."""
    tags = {
        "plain": "{}",
        "code": "<code>{}</code>",
        "strong": "<strong>{}</strong>",
        "emphasis": "<em>{}</em>",
        "underlined": "<u>{}</u>",
    }

    def rich(text: str) -> Markup:
        return Markup("").join(Markup(tags[kind]).format(part) for kind, part in inline(text))

    return _environment(rich=rich)


@cache
def _latex() -> Environment:
    return _environment(
        **_LATEX_DELIMITERS,
        finalize=_escaping(latex.escape),
        rich=_marked(latex.rich),
        typewriter=_marked(latex.typewriter),
    )


@cache
def _markdown() -> Environment:
    """Texts are Markdown already, but for underlining; a bar would end a cell."""
    plain = _escaping(str)
    return _environment(finalize=plain, rectangles=_rectangles, wrap=_wrap)


def _environment(finalize: Callable[[Any], Any] | None = None, **more: Any) -> Environment:
    settings = {key: more.pop(key) for key in _LATEX_DELIMITERS if key in more}
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **settings,
    )
    environment.filters.update(more)
    return environment


def _escaping(write: Callable[[str], str]) -> Callable[[Any], Markup]:
    """`write` for whatever is no text of the format yet; jinja2 then escapes no further."""
    return lambda value: value if isinstance(value, Markup) else Markup(write(str(value)))


def _marked(write: Callable[[str], str]) -> Callable[[str], Markup]:
    return lambda text: Markup(write(text))


def _rectangles(panel: Panel) -> Iterator[list[list[str]]]:
    """The rows of a panel, padded; several rectangles with the same labels if one is too wide."""
    if not panel.lines:
        return
    rows = [["", *panel.columns]]
    rows += [[line.label, *map(_markdown_cell, line.cells)] for line in panel.lines]
    columns = [_padded(column) for column in zip(*rows, strict=True)]
    for group in _groups([len(column[0]) + 3 for column in columns]):
        part = [[row[0], *row[group]] for row in zip(*columns, strict=True)]
        yield [row for row in part if "".join(row[1:]).strip()]


def _groups(widths: Sequence[int]) -> Iterator[slice]:
    """Columns after the first, in as few groups of about one size as fit beside it."""
    count = len(widths) - 1
    for groups in range(1, count + 1):
        size = -(-count // groups)
        slices = [slice(start, start + size) for start in range(1, count + 1, size)]
        if groups == count or all(1 + widths[0] + sum(widths[s]) <= _WIDEST for s in slices):
            yield from slices
            return


def _padded(column: Iterable[str]) -> list[str]:
    cells = [cell.replace("|", "\\|") for cell in column]
    width = max(map(len, cells))
    return [cell.ljust(width) for cell in cells]


_RANKS = {"best": "**{}**", "leading": "*{}*", "second": "<u>{}</u>", "": "{}"}


def _markdown_cell(cell: Cell) -> str:
    text = _RANKS[cell.rank].format(cell.text) if cell.text else ""
    marks = "".join(f"[{mark}]" for mark in cell.marks) if cell.text else ""
    return f"{text} {marks}".rstrip()


def _wrap(text: str, start: str = "") -> Markup:
    """A paragraph or the item of a list, which `start` begins."""
    styles = {"underlined": "<u>{}</u>", "emphasis": "*{}*", "strong": "**{}**", "code": "`{}`"}
    pieces = (
        styles.get(kind, "{}").format(part.replace(" ", _KEPT) if kind == "code" else part)
        for kind, part in inline(text)
    )
    wrapped = textwrap.fill(
        "".join(pieces),
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return Markup(wrapped.replace(_KEPT, " "))
