"""A document as HTML: a section for a larger page, or a page that stands alone.

No script, no other file: everything is in the text, and it prints on paper as it reads.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from bigain.tables.columns import LONG, are_text
from bigain.tables.document import Cell, Document, Line, Panel, Rank, inline, legend

__all__ = ["STYLE", "render_html", "rich", "table_fragment"]

STYLE = """\
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --rule: #d0d7de;
  --paper: #ffffff; --shade: #f6f8fa; --link: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --rule: #3d444d;
  --paper: #0d1117; --shade: #161b22; --link: #79b8ff; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 84rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
p, li { max-width: 52rem; }
a { color: var(--link); }
h1, h2, h3 { line-height: 1.25; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; min-width: min(30rem, 100%);
  font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .4rem 0; max-width: 52rem; }
caption strong { display: block; font-size: 1.1em; }
caption span { color: var(--soft); }
thead { border-top: 2px solid var(--ink); border-bottom: 1px solid var(--ink); }
tbody { border-bottom: 2px solid var(--ink); }
th, td { padding: .25rem .7rem; text-align: right; vertical-align: top; }
td { white-space: nowrap; }
th.text, td.text { text-align: left; }
td.long { white-space: normal; min-width: 18rem; }
th:first-child { text-align: left; max-width: 26rem; }
tr.measured th, tr.measured td { border-top: 1px solid var(--rule); }
tr.comparison, tr.paper { color: var(--soft); font-size: .91em; }
tr.comparison th, tr.paper th { font-weight: normal; }
sup { line-height: 0; }
.remark, .legend { color: var(--soft); }
code { font-family: ui-monospace, Consolas, "DejaVu Sans Mono", monospace; font-size: .9em; }
pre { background: var(--shade); padding: .7rem; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; }
@media print { :root { --ink: #000; --soft: #333; --rule: #999; --paper: #fff; --shade: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; } .scroll { overflow: visible; }
  table { font-size: 7.5pt; } tr { break-inside: avoid; } }
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_RANKS = {
    "": "{}",
    "best": '<strong title="best, an exact count or supported by the paired test">{}</strong>',
    "leading": '<em title="best by value alone">{}</em>',
    "second": '<u title="second">{}</u>',
}
_STYLES: Mapping[Rank, str] = {
    "best": "<strong>Bold</strong>",
    "leading": "<em>Italic</em>",
    "second": "<u>Underlined</u>",
}


def render_html(document: Document) -> str:
    """A page with the table alone; the same bytes for the same document."""
    title = escape(f"Table {document.number}. {document.title}")
    return _PAGE.format(title=title, style=STYLE, body=table_fragment(document))


def table_fragment(document: Document) -> str:
    """A `<section id="tableN">`, with nothing outside of it."""
    name = f"table{document.number}"
    lines = [f'<section class="table" id="{name}" aria-labelledby="{name}-title">']
    lines.append(f'<h2 id="{name}-title">Table {document.number}. {escape(document.title)}</h2>')
    lines += [f"<p>{rich(text)}</p>" for text in document.intro]
    if document.ranked_in:
        lines.append(f'<p class="legend">{legend(document, _STYLES)}</p>')
    for index, panel in enumerate(document.panels, start=1):
        lines += _panel(panel, name, f"{name}-panel{index}")
    lines += [*_notes(document, name), *_gaps(document), "</section>"]
    return "\n".join(lines)


def rich(text: str) -> str:
    """A text with `code` and **strong** words."""
    tags = {"plain": "{}", "code": "<code>{}</code>", "strong": "<strong>{}</strong>"}
    return "".join(tags[kind].format(escape(part)) for kind, part in inline(text))


def _panel(panel: Panel, name: str, own: str) -> Iterator[str]:
    caption = f"<strong>{rich(panel.title)}</strong>"
    caption += f"<span>{rich(panel.caption)}</span>" if panel.caption else ""
    # Who cannot point may scroll with the keyboard, so the box takes the focus.
    yield f'<div class="scroll" role="region" aria-labelledby="{own}" tabindex="0">'
    yield f'<table>\n<caption id="{own}">{caption}</caption>'
    texts = are_text(panel)
    heads = "".join(map(_head, panel.columns, texts))
    yield f'<thead><tr><th scope="col"><span hidden>row</span></th>{heads}</tr></thead>\n<tbody>'
    yield from (_line(line, texts, name) for line in panel.lines)
    yield "</tbody>\n</table>\n</div>"
    if panel.remark:
        yield f'<p class="remark">{rich(panel.remark)}</p>'


def _head(text: str, is_text: bool) -> str:
    return f'<th scope="col"{_class(["text"] if is_text else [])}>{rich(text)}</th>'


def _line(line: Line, texts: Sequence[bool], name: str) -> str:
    pairs = zip(line.cells, texts, strict=True)
    cells = "".join(_cell(cell, is_text, name) for cell, is_text in pairs)
    return f'<tr class="{line.kind}"><th scope="row">{rich(line.label)}</th>{cells}</tr>'


def _cell(cell: Cell, is_text: bool, name: str) -> str:
    if not cell.text:
        return "<td></td>"
    marks = ",".join(f'<a href="#{name}-note-{escape(m)}">{escape(m)}</a>' for m in cell.marks)
    text = _RANKS[cell.rank].format(rich(cell.text)) + (f"<sup>{marks}</sup>" if marks else "")
    kinds = [*(["text"] if is_text else []), *(["long"] if len(cell.text) > LONG else [])]
    return f"<td{_class(kinds)}>{text}</td>"


def _class(kinds: Sequence[str]) -> str:
    return f' class="{" ".join(kinds)}"' if kinds else ""


def _notes(document: Document, name: str) -> Iterator[str]:
    if not document.notes and not document.footnotes:
        return
    yield "<h3>Notes</h3>\n<ul>"
    yield from (f"<li>{rich(note)}</li>" for note in document.notes)
    for mark, text in document.footnotes:
        yield f'<li id="{name}-note-{escape(mark)}"><sup>{escape(mark)}</sup> {rich(text)}</li>'
    yield "</ul>"


def _gaps(document: Document) -> Iterator[str]:
    if not document.commands:
        return
    count = len(document.commands)
    yield f"<details>\n<summary>What is missing: {count} run{'s' * (count > 1)}</summary>"
    yield f"<p><code>{escape(document.command)}</code> does all of these, or one by one:</p>"
    commands = "\n".join(map(escape, document.commands))
    yield f"<pre><code>{commands}</code></pre>\n</details>"
