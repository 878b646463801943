"""Markdown and HTML: what a document says stands there, and any text leaves the page whole."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain.tables.document import MARKS, Cell, Document, Line, Panel, Rank, inline, legend
from bigain.tables.formats import render_html, render_latex, render_legend, render_markdown
from bigain.tables.quantities import QUANTITIES

Golden = Callable[[str, str], None]
VOID = {"meta", "link", "br", "img", "input"}
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


class Page(HTMLParser):
    """The elements of a page; every one that opens must close, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, attribute: str) -> list[str]:
        return [str(a[attribute]) for _, a in self.elements if attribute in a]

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def one_line(line: Line, **more: object) -> Document:
    columns = tuple(f"c{n}" for n, _ in enumerate(line.cells))
    panel = Panel("Heading", columns, (line,), "n = 3 images.")
    return Document(4, "Title", "First `code`.", (panel,), **more)  # type: ignore[arg-type]


def rectangles(page: str) -> list[list[list[str]]]:
    """The cells of every rectangle of a Markdown page, heads first."""
    found: list[list[list[str]]] = [[]]
    for line in page.splitlines():
        if line.startswith("| "):
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found[-1] and not line.startswith("|"):
            found.append([])
    return [rows for rows in found if rows]


@pytest.mark.parametrize(
    ("name", "render"),
    [("small.md", render_markdown), ("small.html", render_html), ("small.tex", render_latex)],
)
def test_golden(
    small_document: Document, golden: Golden, name: str, render: Callable[[Document], str]
) -> None:
    golden(name, render(small_document))
    assert render(small_document) == render(small_document)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("plain", [("plain", "plain")]),
        ("a `b` c", [("plain", "a "), ("code", "b"), ("plain", " c")]),
        ("**a**`b`", [("strong", "a"), ("code", "b")]),
        ("*a* __b__", [("emphasis", "a"), ("plain", " "), ("underlined", "b")]),
        ("`**a**`", [("code", "**a**")]),
        ("2 * 3 * 4, a `tick, sum_c x_c", [("plain", "2 * 3 * 4, a `tick, sum_c x_c")]),
        ("", []),
    ],
)
def test_pieces_of_a_text(text: str, pieces: list[tuple[str, str]]) -> None:
    assert list(inline(text)) == pieces


def test_markdown_says_first_what_was_found() -> None:
    line = Line("measured", "x", (Cell("1"),))
    found = (Panel("Findings", ("verdict",), (replace(line, cells=(Cell("open"),)),)),)
    page = render_markdown(one_line(line, findings=found, setup=("Seed 0.",), notes=("Doubt.",)))
    heads = re.findall(r"^##? (.*)$", page, flags=re.MULTILINE)
    assert heads == ["Table 4. Title", "Findings", "Heading", "Notes", "Setup"]
    assert "(README.md)" in page


@pytest.mark.parametrize(
    ("rank", "text"), [("best", "**1**"), ("leading", "*1*"), ("second", "<u>1</u>"), ("", "1")]
)
def test_marks_of_the_best(rank: Rank, text: str) -> None:
    line = Line("paper", "x", (Cell("1", rank=rank, marks=("a", "b")),))
    assert rectangles(render_markdown(one_line(line)))[0][1] == ["x", f"{text} [a][b]"]


def test_a_bar_does_not_end_a_cell() -> None:
    ((head, row),) = rectangles(render_markdown(one_line(Line("paper", "r|s", (Cell("||x||"),)))))
    assert row == ["r\\|s", "\\|\\|x\\|\\|"]
    assert len(head) == 2


def test_markdown_is_narrower_than_160_columns(wide_document: Document) -> None:
    """What does not fit goes on below, with the labels again; no cell is lost."""
    page = render_markdown(wide_document)
    assert max(map(len, page.splitlines())) < 160
    *parts, _ = rectangles(page)
    assert len(parts) > 1
    labels = [line.label for line in wide_document.panels[0].lines]
    assert all([row[0] for row in rows[1:]] == labels for rows in parts)
    joined = [cell for rows in parts for cell in rows[1][1:]]
    assert joined == [cell.text.strip() for cell in wide_document.panels[0].lines[0].cells]


def test_a_line_without_cells_in_a_part_is_left_out_there() -> None:
    wide = tuple(Cell("1" * 60) for _ in range(4))
    lines = (Line("measured", "a", wide), Line("comparison", "b", (Cell("2"), *[Cell()] * 3)))
    panel = Panel("Heading", ("w", "x", "y", "z"), lines)
    first, second = rectangles(render_markdown(Document(4, "Title", "", (panel,))))
    assert [row[0] for row in first] == ["", "a", "b"]
    assert [row[0] for row in second] == ["", "a"]


def test_gaps_come_with_the_commands_that_fill_them() -> None:
    line = Line("measured", "x", (Cell("1"),))
    page = render_markdown(one_line(line, command="table 4", commands=("run a", "run b")))
    assert "`table 4`" in page
    assert page.endswith("```\nrun a\nrun b\n```\n")
    assert "missing" not in render_markdown(one_line(line))


def test_code_is_not_broken_into_lines() -> None:
    command = "python -m bigain " + "operator.ratio=0.3 " * 10 + "end"
    page = render_markdown(
        one_line(Line("measured", "x", (Cell("1"),)), notes=(f"Do `{command}`.",))
    )
    assert f"`{command}`" in page


@pytest.mark.parametrize("profile", ["mini", "paper"])
def test_the_legend_stands_once_and_explains_everything(profile: str) -> None:
    page = " ".join(render_legend(profile).split())
    for quantity in QUANTITIES.values():
        assert quantity.head in page
        assert quantity.explanation in page
    for word in ("**Bold**", "*Italic*", "<u>Underlined</u>", "—", "*contradicted*", "baseline"):
        assert word in page
    assert len({entry for _, entries in legend(profile) for entry in entries}) == sum(
        len(entries) for _, entries in legend(profile)
    )


def test_html_and_latex_explain_themselves_and_markdown_does_not() -> None:
    panel = Panel("P", ("c",), (Line("measured", "x", (Cell("1"),)),), explanation="Of all images.")
    document = Document(4, "Title", "", (panel,), legend=MARKS)
    for render, bold in ((render_html, "<strong>Bold</strong>"), (render_latex, "boldmath Bold")):
        assert bold in render(document)
        assert "Of all images." in render(document)
    assert "Bold" not in render_markdown(document)
    assert "Of all images." not in render_markdown(document)


def test_every_element_closes_and_every_link_leads_somewhere(small_document: Document) -> None:
    page = Page(render_html(small_document))
    names = page.values("id")
    assert len(names) == len(set(names))
    assert {link.removeprefix("#") for link in page.values("href")} <= set(names)
    assert set(page.values("aria-labelledby")) <= set(names)
    assert page.count("sup") == 4
    assert page.values("lang") == ["en"]


def test_nothing_comes_from_elsewhere(small_document: Document) -> None:
    text = render_html(small_document)
    page = Page(text)
    assert page.values("src") == []
    assert not [link for link in page.values("href") if not link.startswith("#")]
    assert not re.search(r"url\(|@import", text)
    assert page.count("script") == page.count("link") == 0


def test_html_tables_say_what_their_heads_are_of(small_document: Document) -> None:
    page, panels = Page(render_html(small_document)), small_document.panels
    scopes = page.values("scope")
    assert scopes.count("row") == sum(len(panel.lines) for panel in panels)
    assert scopes.count("col") == sum(len(panel.columns) + 1 for panel in panels)
    assert page.count("th") == len(scopes)
    assert page.count("caption") == page.count("table") == len(panels)


def test_ranks_and_kinds_of_html(small_document: Document, wide_document: Document) -> None:
    text = render_html(small_document)
    assert re.search(r"<strong [^>]*>86.25 \[82.53, 89.28\]</strong>", text)
    assert re.search(r"<em [^>]*>1.5e−05</em>", text)
    assert re.search(r"<u [^>]*>−0.25 \[−2.32, \+1.82\]</u>", text)
    assert text.count('<tr class="paper">') == 2
    assert render_html(wide_document).count('<td class="text long">') == 90


@given(TEXTS)
def test_any_text_anywhere_leaves_the_page_whole_and_reads_as_it_is(text: str) -> None:
    plain = re.sub("[`*_]", "", text)
    line = Line("measured", plain, (Cell(plain, "best", ("a",)), Cell(plain)))
    panel = Panel(plain, (plain, plain), (line,), plain, plain, plain)
    document = Document(
        1, plain, plain, (panel,), (), (plain,), (plain,), (("a", plain),), plain, (plain,)
    )
    page = Page(render_html(document))
    assert page.count("td") == 2
    assert page.count("script") == 0
    assert "".join(page.text).count(plain) >= 2
