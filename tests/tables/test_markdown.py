import re
from collections.abc import Callable

import pytest

from bigain.config import RunConfig
from bigain.tables.document import Cell, Document, Line, Panel, Rank
from bigain.tables.layout import lay_out
from bigain.tables.markdown import render_markdown
from bigain.tables.sources import Sources

MakeSources = Callable[..., Sources]


def not_lgtm_at_half(config: RunConfig) -> bool:
    return config.operator.settings()["ratio"] != 0.5 or config.operator.name != "lgtm"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("table04_one_missing", {"number": 4, "wanted": not_lgtm_at_half}),
        ("table03_full", {"number": 3, "grid": "full"}),
        ("table02_nothing", {"number": 2, "wanted": lambda _: False}),
        ("table05_paper", {"number": 5, "profile": "paper", "wanted": lambda _: False}),
        ("table01", {"number": 1}),
        ("table11", {"number": 11}),
        ("table15", {"number": 15}),
        ("table16", {"number": 16}),
    ],
)
def test_golden(
    make_sources: MakeSources,
    golden: Callable[[str, str], None],
    name: str,
    arguments: dict[str, object],
) -> None:
    golden(f"{name}.md", render_markdown(lay_out(make_sources(**arguments))))


def document(*lines: Line, columns: tuple[str, ...] = ("a", "b"), **more: object) -> Document:
    panel = Panel("Heading", "What it is.", columns, lines, "n = 3.")
    return Document(4, "Title", ("First `code`.",), (panel,), **more)  # type: ignore[arg-type]


def test_a_whole_page() -> None:
    lines = (
        Line("measured", "ToMe", (Cell("1.00"), Cell("2.00", rank="best"))),
        Line("paper", "· paper", (Cell("3.00", marks=("a", "b")), Cell())),
    )
    page = render_markdown(document(*lines, notes=("General.",), footnotes=(("a", "Doubt."),)))
    assert page == (
        "# Table 4. Title\n\nFirst `code`.\n\n## Heading\n\nWhat it is.\n\n"
        "|         | a           | b        |\n"
        "|---------|-------------|----------|\n"
        "| ToMe    | 1.00        | **2.00** |\n"
        "| · paper | 3.00 [a][b] |          |\n"
        "\nn = 3.\n\n## Notes\n\n- General.\n- [a] Doubt.\n"
    )


def test_the_marks_are_explained_where_there_are_some() -> None:
    line = Line("measured", "ToMe", (Cell("1.00"), Cell("2.00", rank="best")))
    page = render_markdown(document(line, ranked_in="row"))
    assert "\n\n**Bold** numbers: the best of a row, by a paired test" in page
    assert "*Italic*: the best by value alone" in page
    assert "<u>Underlined</u>: the second." in page
    assert "Bold" not in render_markdown(document(line))


@pytest.mark.parametrize(
    ("rank", "text"), [("best", "**1**"), ("leading", "*1*"), ("second", "<u>1</u>"), ("", "1")]
)
def test_marks_of_the_best(rank: Rank, text: str) -> None:
    page = render_markdown(document(Line("paper", "x", (Cell("1", rank=rank),)), columns=("a",)))
    assert f"| {text} " in page


def test_a_bar_does_not_end_a_cell() -> None:
    page = render_markdown(document(Line("paper", "r|s", (Cell("||x||_2"),)), columns=("a|b",)))
    rectangle = [line for line in page.splitlines() if line.startswith("|")]
    assert "\\|\\|x\\|\\|_2" in page
    assert "r\\|s" in page
    assert {len(re.split(r"(?<!\\)\|", line)) for line in rectangle} == {4}


def test_gaps_come_with_the_commands_that_fill_them() -> None:
    page = render_markdown(document(command="table 4", commands=("run a", "run b")))
    assert page.endswith(
        "## What is missing\n\n`table 4` does all of these, or one by one:\n\n"
        "```\nrun a\nrun b\n```\n"
    )
    assert "What is missing" not in render_markdown(document())


def test_a_panel_without_lines_has_no_rectangle() -> None:
    assert "|" not in render_markdown(document())


def test_the_same_document_gives_the_same_bytes(make_sources: MakeSources) -> None:
    sources = make_sources(4)
    assert render_markdown(lay_out(sources)) == render_markdown(lay_out(sources))
