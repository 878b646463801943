"""Any text as LaTeX, tabulars that fit a page, and pages that compile where there is a TeX."""

import re
import subprocess
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain.tables.document import Cell, Document, Line, Panel
from bigain.tables.formats import render_latex
from bigain.tables.latex import escape, rich, typewriter

Program = Callable[..., str]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PIECE = re.compile(
    r"\\char\d+\{\}|\\[a-zA-Z]+\{\}|\\text(?:super|sub)script\{|\\['`^~=\".][{]\w[}]|\\[a-zA-Z]\{\w\}"
    r"|\\[{}$&#%_,]|\$[<>a-zA-Z\\^{}-]+\$|\{\}|~|\}"
)
SPECIAL = set("\\{}$&#%_^~")
TEX = "texlive-latex-base texlive-latex-recommended"
EVERY_SIGN = "".join(chr(code) for code in [*range(32, 127), *range(160, 0x250)])
EVERY_SIGN += (
    "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρςστυφχψωϵ−±∓×÷·•≤≥≈≠∼∝∞∈∑∇∂√→←↑↓°²³₀₁“”‘’…—–中"
)


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


def compiled(program: str, folder: Path, source: str, name: str = "table.tex") -> str:
    """The log of pdflatex, which must have made a page."""
    (folder / name).write_text(source, encoding="utf-8")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", name]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (folder / name).with_suffix(".pdf").stat().st_size > 1000
    return done.stdout


def test_what_is_complete_lists_nothing_as_missing(small_document: Document) -> None:
    text = render_latex(replace(small_document, command="", commands=()))
    assert "missing" not in text


def test_wide_tables_lie_and_long_ones_go_on(wide_document: Document) -> None:
    text = render_latex(wide_document)
    assert "a4paper,landscape," in text
    assert text.count(r"\subsection*{Wide and long (continued)}") == 3
    assert text.count(r"\begin{tabular}") == 5
    parts = text.split(r"\midrule" + "\n")[1:]
    assert all(part.startswith(r"\bigainmeasured") for part in parts)
    assert "p{70mm}" in text
    assert "p{90mm}" in text


def test_long_tables_of_the_papers_lines_are_cut_too() -> None:
    lines = tuple(Line("paper", str(n), (Cell("1"),)) for n in range(130))
    text = render_latex(Document(1, "t", "", (Panel("p", ("c",), lines),)))
    assert text.count(r"\begin{tabular}") == 3


def test_a_narrow_table_stands_upright() -> None:
    panel = Panel("p", ("c",), (Line("measured", "r", (Cell("1"),)),))
    assert "landscape" not in render_latex(Document(1, "t", "", (panel,)))
    assert "landscape" not in render_latex(Document(1, "no panel", "", ()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_document", "wide_document"])
def test_it_compiles(
    name: str, request: pytest.FixtureRequest, program: Program, tmp_path: Path
) -> None:
    document: Document = request.getfixturevalue(name)
    log = compiled(program("pdflatex", package=TEX), tmp_path, render_latex(document))
    assert "Missing character" not in log
    overfull = [float(points) for points in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt", log)]
    assert not [points for points in overfull if points > 1]


@pytest.mark.slow
def test_every_sign_compiles(program: Program, tmp_path: Path) -> None:
    texts = [f"{sign}{sign} `{sign}`" for sign in EVERY_SIGN if sign not in "`*"]
    document = Document(
        1, EVERY_SIGN, "", (), notes=(*texts, EVERY_SIGN), command=EVERY_SIGN, commands=("a",)
    )
    log = compiled(program("pdflatex", package=TEX), tmp_path, render_latex(document))
    assert "Missing character" not in log


@pytest.mark.slow
def test_one_tabular_goes_into_another_document(
    program: Program, tmp_path: Path, small_document: Document
) -> None:
    (tmp_path / "table04.tex").write_text(render_latex(small_document), encoding="utf-8")
    source = (
        r"\documentclass{article}\usepackage{booktabs,array,graphicx,xcolor}\begin{document}"
        r"Before. {\def\bigainpanel{1}\input{table04}} {\def\bigainpanel{2}\input{table04}} After."
        r"\setbox0=\hbox{\def\bigainpanel{2}\input{table04}\unskip}"
        r"\immediate\write16{WIDTH=\the\wd0}\end{document}"
    )
    log = compiled(program("pdflatex", package=TEX), tmp_path, source)
    (width,) = re.findall(r"WIDTH=([\d.]+)pt", log)
    assert 40 < float(width) < 60, "the second tabular alone is narrow"
    assert "incomplete" not in log
