"""A document as LaTeX that compiles as it is with a stock pdflatex, and whose tabulars can be used.

Packages: booktabs, array, xcolor, graphicx, geometry.  A rectangle that is too wide for the page is
made smaller, one that is too long goes on below with its heads repeated.  Lines end in %, so that a
tabular inside a sentence brings no space along.
"""

from collections.abc import Iterator, Mapping, Sequence

from bigain.tables.columns import LONG, are_text
from bigain.tables.document import Cell, Document, Line, Panel, Rank, legend
from bigain.tables.latex_text import escape, rich, typewriter

__all__ = ["render_latex"]

_PREAMBLE = r"""% {title}
% A page of its own: pdflatex {name}.tex
% One of its tabulars inside your document, here the first:
%   {{\def\bigainpanel{{1}}\input{{{name}}}}}
% which needs \usepackage{{booktabs,array,graphicx,xcolor}}.
\ifdefined\bigainpanel\else
\documentclass[10pt]{{article}}
\usepackage[a4paper,{shape}margin=15mm]{{geometry}}
\usepackage{{booktabs,array,graphicx,xcolor}}
\setlength{{\parindent}}{{0pt}}
\setlength{{\parskip}}{{4pt}}
\frenchspacing
\newcommand{{\bigainpanel}}{{0}}
\begin{{document}}
\fi%
\providecommand{{\bigainpage}}[1]{{\ifnum\bigainpanel=0 \par#1\fi}}%
\providecommand{{\bigaintabular}}[2]{{\ifnum\bigainpanel=0 #2\else\ifnum\bigainpanel=#1 #2\fi\fi}}%
\providecommand{{\bigainfit}}[1]{{%
  \resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{#1}}}}%
\providecommand{{\bigainmeasured}}[1]{{#1}}%
\providecommand{{\bigaincomparison}}[1]{{{{\leavevmode\footnotesize #1}}}}%
\providecommand{{\bigainpaper}}[1]{{{{\leavevmode\footnotesize\color{{black!60}}#1}}}}%
\providecommand{{\bigainbest}}[1]{{\textbf{{\boldmath #1}}}}%
\providecommand{{\bigainleading}}[1]{{\textit{{#1}}}}%
\providecommand{{\bigainsecond}}[1]{{\underline{{#1}}}}%
\providecommand{{\bigainend}}{{\end{{document}}}}"""

_END = r"\ifnum\bigainpanel=0 \expandafter\bigainend\fi"
_STYLES: Mapping[Rank, str] = {
    "best": r"\bigainbest{Bold}",
    "leading": r"\bigainleading{Italic}",
    "second": r"\bigainsecond{Underlined}",
}
_UPRIGHT = 95
"""Signs of a line that fit an upright page at a size one can read."""
_LONG_LABEL = 75
_LINES = {True: 24, False: 40}
"""Lines of a tabular that fit a landscape page, and an upright one, below a heading."""


def render_latex(document: Document) -> str:
    """The whole file; the same bytes for the same document."""
    wide = max((_signs(panel) for panel in document.panels), default=0) > _UPRIGHT
    parts = [_preamble(document, wide=wide), _page(_opening(document))]
    parts += _panels(document.panels, _LINES[wide])
    closing = [*_notes(document), *_gaps(document)]
    parts += [_page(closing)] if closing else []
    return "%\n".join((*parts, _END)) + "%\n"


def _preamble(document: Document, *, wide: bool) -> str:
    title = f"Table {document.number}. {escape(document.title)}"
    shape = "landscape," if wide else ""
    return _PREAMBLE.format(title=title, name=f"table{document.number:02d}", shape=shape)


def _page(paragraphs: Sequence[str]) -> str:
    """What belongs to the whole page and not to a single tabular."""
    return "\\bigainpage{%\n" + "\n\n".join(paragraphs) + "\n\n}"


def _opening(document: Document) -> list[str]:
    title = f"\\section*{{Table {document.number}. {escape(document.title)}}}"
    marks = [legend(document, _STYLES)] if document.ranked_in else []
    return [title, *map(rich, document.intro), *marks]


def _panels(panels: Sequence[Panel], longest: int) -> Iterator[str]:
    number = 0
    for panel in panels:
        for index, lines in enumerate(_chunks(panel.lines, longest)):
            number += 1
            more = " (continued)" if index else ""
            head = [f"\\subsection*{{{rich(panel.title)}{more}}}"]
            yield _page(head if index or not panel.caption else [*head, rich(panel.caption)])
            yield f"\\bigaintabular{{{number}}}{{\\bigainfit{{{_tabular(panel, lines)}}}}}"
        if panel.remark:
            yield _page([rich(panel.remark)])


def _chunks(lines: Sequence[Line], longest: int) -> list[list[Line]]:
    """Parts of at most about `longest` lines; what is said of a line stays with it."""
    chunks: list[list[Line]] = [[]]
    for line in lines:
        if len(chunks[-1]) >= longest and line.kind == "measured":
            chunks.append([])
        if len(chunks[-1]) >= longest + longest // 2:  # lines of one kind alone
            chunks.append([])
        chunks[-1].append(line)
    return chunks


def _tabular(panel: Panel, lines: Sequence[Line]) -> str:
    heads = " & ".join(("", *map(rich, panel.columns)))
    rows = [f"{row} \\\\" for row in map(_row, lines)]
    body = "\n".join((r"\toprule", f"{heads} \\\\", r"\midrule", *rows, r"\bottomrule"))
    return f"%\n\\begin{{tabular}}{{{_format(panel)}}}\n{body}\n\\end{{tabular}}%\n"


def _format(panel: Panel) -> str:
    labels = max((len(line.label) for line in panel.lines), default=0)
    columns = zip(*(line.cells for line in panel.lines), strict=True)
    longest = [max(len(cell.text) for cell in column) for column in columns]
    longest = longest or [0] * len(panel.columns)
    first = r">{\raggedright\arraybackslash}p{90mm}" if labels > _LONG_LABEL else "l"
    broad = r">{\raggedright\arraybackslash}p{70mm}"
    narrow = ("l" if text else "r" for text in are_text(panel))
    return first + "".join(
        broad if signs > LONG else kind for signs, kind in zip(longest, narrow, strict=True)
    )


def _row(line: Line) -> str:
    texts = (rich(line.label), *map(_cell, line.cells))
    return " & ".join(f"\\bigain{line.kind}{{{text}}}" if text else "" for text in texts)


def _cell(cell: Cell) -> str:
    if not cell.text:
        return ""
    text = f"\\bigain{cell.rank}{{{rich(cell.text)}}}" if cell.rank else rich(cell.text)
    marks = ",".join(map(escape, cell.marks))
    return f"{text}\\textsuperscript{{{marks}}}" if marks else text


def _notes(document: Document) -> Iterator[str]:
    if document.notes or document.footnotes:
        yield "\\subsection*{Notes}"
    yield from map(rich, document.notes)
    for mark, text in document.footnotes:
        yield f"\\textsuperscript{{{escape(mark)}}}~{rich(text)}"


def _gaps(document: Document) -> Iterator[str]:
    if not document.commands:
        return
    yield "\\subsection*{What is missing}"
    yield f"{typewriter(document.command)} does all of these, or one by one:"
    for command in document.commands:
        yield f"{{\\footnotesize\\raggedright\\hangindent=2em {typewriter(command)}\\par}}"


def _signs(panel: Panel) -> int:
    """Signs of the widest line, as it would be without breaks."""
    rows = [("", *panel.columns), *((x.label, *(c.text for c in x.cells)) for x in panel.lines)]
    widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return sum(width + 2 for width in widths)
