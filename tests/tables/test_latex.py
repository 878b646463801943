import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bigain.tables.document import Cell, Document, Line, Panel
from bigain.tables.latex import render_latex

Program = Callable[..., str]
TEX = "texlive-latex-base texlive-latex-recommended"
EVERY_SIGN = "".join(chr(code) for code in [*range(32, 127), *range(160, 0x250)])
EVERY_SIGN += (
    "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρςστυφχψωϵ−±∓×÷·•≤≥≈≠∼∝∞∈∑∇∂√→←↑↓°²³₀₁“”‘’…—–中"
)


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


def test_golden(small_document: Document, golden: Callable[[str, str], None]) -> None:
    golden("small.tex", render_latex(small_document))


def test_the_same_document_gives_the_same_bytes(small_document: Document) -> None:
    assert render_latex(small_document) == render_latex(small_document)
    assert render_latex(small_document).isascii()
    assert render_latex(small_document).endswith("\n")


def test_ranks_marks_and_kinds_are_told_apart(small_document: Document) -> None:
    text = render_latex(small_document)
    assert r"\bigainbest{86.25 [82.53, 89.28]}\textsuperscript{a}" in text
    assert r"\bigainsecond{$-$0.25 [$-$2.32, +1.82]}\textsuperscript{a,b}" in text
    assert r"\bigainleading{1.5e$-$05}" in text
    assert r"\bigaincomparison{$\cdot$ minus no acceleration} &  & " in text
    assert r"\bigainpaper{lost}" in text
    assert r"\bigainbest{Bold} numbers: the best of a column, by" in text


def test_without_ranks_there_is_no_legend(wide_document: Document) -> None:
    assert "Bold" not in render_latex(wide_document)


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
    text = render_latex(Document(1, "t", (), (Panel("p", "", ("c",), lines),)))
    assert text.count(r"\begin{tabular}") == 3


def test_a_narrow_table_stands_upright() -> None:
    panel = Panel("p", "", ("c",), (Line("measured", "r", (Cell("1"),)),))
    assert "landscape" not in render_latex(Document(1, "t", (), (panel,)))
    assert "landscape" not in render_latex(Document(1, "no panel", (), ()))


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
    document = Document(1, EVERY_SIGN, tuple(texts), (), (EVERY_SIGN,), (), EVERY_SIGN, ("a",))
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
