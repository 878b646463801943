"""What LaTeX needs beside its template: any text in plain ASCII, and tabulars that fit a page.

Only the oldest fonts (OT1) and math are used, so a stock TeX without further fonts prints it.  A
sign without a command here is printed as its code point, such as U+4E2D: nothing is lost silently.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bigain.tables.document import Line, Panel, inline

__all__ = ["Tabular", "escape", "is_wide", "rich", "tabulars", "typewriter"]

_GREEK = r"\alpha \beta \gamma \delta \epsilon \zeta \eta \theta \iota \kappa \lambda \mu \nu \xi"
_GREEK += r" \pi \rho \varsigma \sigma \tau \upsilon \phi \chi \psi \omega \epsilon \mu"
_CAPITALS = r"\Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Upsilon \Phi \Psi \Omega"

_MATH: Mapping[str, str] = {
    **dict(zip("αβγδεζηθικλμνξπρςστυφχψωϵµ", _GREEK.split(), strict=True)),
    **dict(zip("ΓΔΘΛΞΠΣΥΦΨΩ", _CAPITALS.split(), strict=True)),
    **{"<": "<", ">": ">", "|": r"\vert", "−": "-", "±": r"\pm", "∓": r"\mp", "×": r"\times"},
    **{"÷": r"\div", "·": r"\cdot", "•": r"\bullet", "≤": r"\leq", "≥": r"\geq"},
    **{"≈": r"\approx", "≠": r"\neq", "∼": r"\sim", "∝": r"\propto", "∞": r"\infty"},
    **{"∈": r"\in", "∑": r"\sum", "∇": r"\nabla", "∂": r"\partial", "√": r"\surd"},
    **{"→": r"\rightarrow", "←": r"\leftarrow", "↑": r"\uparrow", "↓": r"\downarrow"},
    "°": r"^{\circ}",
}

_TEXT: Mapping[str, str] = {
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True)),
    **{sign: f"\\{sign}" for sign in "{}$&#%_"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"‑": "-", "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\ldots{}", "§": r"\S{}"},
    **{"‘": r"\textquoteleft{}", "`": r"\textquoteleft{}", "’": "'"},
    **{"“": r"\textquotedblleft{}", "”": r"\textquotedblright{}", '"': r"\textquotedblright{}"},
    **{"ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ı": r"\i{}"},
    **{"\N{NO-BREAK SPACE}": "~", "\N{THIN SPACE}": r"\,", "\N{NARROW NO-BREAK SPACE}": r"\,"},
    **dict.fromkeys("\t\n\r\v\f", " "),
}

_ACCENTS: Mapping[str, str] = {
    **{"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u"},
    **{"\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c"},
}
_RAISED: Mapping[str, str] = {"<super>": r"\textsuperscript", "<sub>": r"\textsubscript"}
_WOULD_JOIN = re.compile(r"([-'])(?=\1)")
"""Two of these would print as one sign."""
_STRAIGHT: Mapping[str, str] = {"'": "13", "`": "18"}
"""Where the typewriter font has these two; in their own places it has curly ones."""
_BREAKABLE = ",/"


_UPRIGHT = 95
"""Signs of a line that fit an upright page at a size one can read."""
_LONG_LABEL = 75
_LINES = {True: 24, False: 40}
"""Lines of a tabular that fit a landscape page, and an upright one, below a heading."""


@dataclass(frozen=True)
class Tabular:
    """A panel, or as much of it as fits a page.

    Attributes:
        panel: The whole panel.
        columns: The format of the columns, such as `lrr`.
        lines: Those of this part.
        is_first: Whether it begins the panel.
        is_last: Whether it ends the panel.

    """

    panel: Panel
    columns: str
    lines: tuple[Line, ...]
    is_first: bool
    is_last: bool


def is_wide(panels: Sequence[Panel]) -> bool:
    """Whether a page with these panels should lie."""
    return max(map(_signs, panels), default=0) > _UPRIGHT


def tabulars(panels: Sequence[Panel], *, wide: bool) -> list[Tabular]:
    """The panels, those cut that are longer than a page."""
    return [part for panel in panels for part in _parts(panel, _LINES[wide])]


def _parts(panel: Panel, longest: int) -> Iterator[Tabular]:
    chunks = _chunks(panel.lines, longest)
    for index, lines in enumerate(chunks):
        ends = index == 0, index == len(chunks) - 1
        yield Tabular(panel, _columns(panel), tuple(lines), *ends)


def _chunks(lines: Sequence[Line], longest: int) -> list[list[Line]]:
    """Parts of at most about `longest` lines; the lines below a row stay with it."""
    chunks: list[list[Line]] = [[]]
    for line in lines:
        if len(chunks[-1]) >= longest and line.kind == "measured":
            chunks.append([])
        if len(chunks[-1]) >= longest + longest // 2:  # all lines are of one kind
            chunks.append([])
        chunks[-1].append(line)
    return chunks


def _columns(panel: Panel) -> str:
    labels = max((len(line.label) for line in panel.lines), default=0)
    first = r">{\raggedright\arraybackslash}p{90mm}" if labels > _LONG_LABEL else "l"
    broad = r">{\raggedright\arraybackslash}p{70mm}"
    columns = zip(*(line.cells for line in panel.lines), strict=True)
    long = [any(cell.is_long for cell in column) for column in columns]
    narrow = ["l" if text else "r" for text in panel.texts]
    return first + "".join(
        broad if is_long else kind
        for is_long, kind in zip(long or [False] * len(narrow), narrow, strict=True)
    )


def _signs(panel: Panel) -> int:
    """Signs of the widest line, as it would be without breaks."""
    rows = [("", *panel.columns), *((x.label, *(c.text for c in x.cells)) for x in panel.lines)]
    widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return sum(width + 2 for width in widths)


def rich(text: str) -> str:
    """A text with its markup."""
    write = {
        "plain": "{}",
        "code": "{}",
        "strong": r"\textbf{{\boldmath {}}}",
        "emphasis": r"\textit{{{}}}",
        "underlined": r"\underline{{{}}}",
    }
    pieces = (
        (kind, typewriter(part) if kind == "code" else escape(part)) for kind, part in inline(text)
    )
    return "".join(write[kind].format(piece) for kind, piece in pieces)


def escape(text: str) -> str:
    """A plain text: it prints as it reads; line breaks are spaces."""
    written = "".join(map(_sign, unicodedata.normalize("NFC", text)))
    return _WOULD_JOIN.sub(r"\1{}", written)


def typewriter(text: str) -> str:
    """Code, letter by letter, so that it can be copied from the page; it may break at spaces."""
    return f"\\texttt{{{''.join(map(_typed, text))}}}"


def _sign(sign: str) -> str:
    if sign in _TEXT:
        return _TEXT[sign]
    if sign in _MATH:
        return f"${_MATH[sign]}$"
    if sign.isascii() and sign.isprintable():
        return sign
    return _composed(sign) or f"U+{ord(sign):04X}"


def _composed(sign: str) -> str:
    """A letter with an accent, or a raised or lowered sign; empty if it is neither."""
    parts = unicodedata.decomposition(sign).split()
    if len(parts) == 2 and parts[0] in _RAISED:
        return f"{_RAISED[parts[0]]}{{{escape(chr(int(parts[1], 16)))}}}"
    if len(parts) != 2 or parts[0].startswith("<"):
        return ""
    letter, accent = (chr(int(part, 16)) for part in parts)
    simple = letter.isascii() and letter.isalpha() and accent in _ACCENTS
    return f"\\{_ACCENTS[accent]}{{{letter}}}" if simple else ""


def _typed(sign: str) -> str:
    if sign in _BREAKABLE:
        return f"{sign}\\allowbreak{{}}"
    if sign.isascii() and (sign.isalnum() or sign in " =.:+-*()[];"):
        return sign
    if sign.isascii() and sign.isprintable():
        return f"\\char{_STRAIGHT.get(sign, str(ord(sign)))}{{}}"
    return escape(sign)
