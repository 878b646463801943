"""Any text as LaTeX that prints it, in plain ASCII.

Only the oldest fonts (OT1) and math are used, so that a stock TeX without further fonts prints it.
What has no command here is printed as its code point, such as U+4E2D: nothing is lost silently.
"""

import re
import unicodedata
from collections.abc import Mapping

from bigain.tables.document import inline

__all__ = ["escape", "rich", "typewriter"]

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


def rich(text: str) -> str:
    """A text with `code` and **strong** words."""
    write = {"plain": escape, "code": typewriter, "strong": _strong}
    return "".join(write[kind](part) for kind, part in inline(text))


def escape(text: str) -> str:
    """A plain text: it prints as it reads; line breaks are spaces."""
    written = "".join(map(_sign, unicodedata.normalize("NFC", text)))
    return _WOULD_JOIN.sub(r"\1{}", written)


def typewriter(text: str) -> str:
    """Code, letter by letter, so that it can be copied from the page; it may break at spaces."""
    return f"\\texttt{{{''.join(map(_typed, text))}}}"


def _strong(text: str) -> str:
    return f"\\textbf{{\\boldmath {escape(text)}}}"


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
