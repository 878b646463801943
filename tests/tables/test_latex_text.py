import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain.tables.latex_text import escape, rich, typewriter

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PIECE = re.compile(
    r"\\char\d+\{\}|\\[a-zA-Z]+\{\}|\\text(?:super|sub)script\{|\\['`^~=\".][{]\w[}]|\\[a-zA-Z]\{\w\}"
    r"|\\[{}$&#%_,]|\$[<>a-zA-Z\\^{}-]+\$|\{\}|~|\}"
)
SPECIAL = set("\\{}$&#%_^~")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("70 % & more", r"70 \% \& more"),
        ("a_b #1 $x", r"a\_b \#1 \$x"),
        ("~ ^ \\ {}", r"\textasciitilde{} \textasciicircum{} \textbackslash{} \{\}"),
        ("−0.25 ± 2×", r"$-$0.25 $\pm$ 2$\times$"),
        ("ρ = σ²/µ²", r"$\rho$ = $\sigma$\textsuperscript{2}/$\mu$\textsuperscript{2}"),
        ("x₀ ⁻", r"x\textsubscript{0} \textsuperscript{$-$}"),
        ("ΑΩ", r"A$\Omega$"),
        ("— –", r"\textemdash{} \textendash{}"),
        ("--no-run ---", "-{}-no-run -{}-{}-"),
        ("Naïve Šidák Erdős", r"Na\"{i}ve \v{S}id\'{a}k Erd\H{o}s"),
        ("e\u0301", r"\'{e}"),
        ("“a” ‘b’ it's", r"\textquotedblleft{}a\textquotedblright{} \textquoteleft{}b' it's"),
        ("''", "'{}'"),
        ("1\n2\t3", "1 2 3"),
        ("中\x07", "U+4E2DU+0007"),
        ("a < b | c", r"a $<$ b $\vert$ c"),
        ("5\N{NO-BREAK SPACE}%", r"5~\%"),
    ],
)
def test_signs_become_commands(text: str, expected: str) -> None:
    assert escape(text) == expected


@given(TEXTS)
def test_nothing_special_and_nothing_foreign_is_left(text: str) -> None:
    written = escape(text)
    assert written.isascii()
    assert written.isprintable()
    assert not SPECIAL & set(PIECE.sub("", written))


@given(TEXTS)
def test_code_is_ascii_without_special_signs(text: str) -> None:
    written = typewriter(text)
    assert written.isascii()
    inner = written.removeprefix("\\texttt{").removesuffix("}")
    assert not SPECIAL & set(PIECE.sub("", inner))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_braces_balance(text: str) -> None:
    for written in (escape(text), typewriter(text)):
        bare = re.sub(r"\\[{}\\]", "", written)
        depth = 0
        for sign in bare:
            depth += {"{": 1, "}": -1}.get(sign, 0)
            assert depth >= 0
        assert depth == 0


@given(TEXTS)
def test_composed_and_decomposed_letters_are_the_same(text: str) -> None:
    assert escape(unicodedata.normalize("NFD", text)) == escape(text)


def test_code_keeps_its_letters() -> None:
    assert typewriter("a=b_c, 'd'") == (r"\texttt{a=b\char95{}c,\allowbreak{} \char13{}d\char13{}}")


def test_code_and_strong_words_are_told_apart() -> None:
    assert rich("a_ `b_` **c %**") == (r"a\_ \texttt{b\char95{}} \textbf{\boldmath c \%}")
