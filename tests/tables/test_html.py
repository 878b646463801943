from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from bigain.tables.document import Cell, Document, Line, Panel
from bigain.tables.html import render_html, rich, table_fragment

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


def test_golden(small_document: Document, golden: Callable[[str, str], None]) -> None:
    golden("small.html", render_html(small_document))


def test_the_same_document_gives_the_same_bytes(small_document: Document) -> None:
    assert render_html(small_document) == render_html(small_document)
    assert table_fragment(small_document) in render_html(small_document)


def test_every_element_closes_and_every_link_leads_somewhere(small_document: Document) -> None:
    page = Page(render_html(small_document))
    names = page.values("id")
    assert len(names) == len(set(names))
    assert {link.removeprefix("#") for link in page.values("href")} <= set(names)
    assert set(page.values("aria-labelledby")) <= set(names)
    assert page.count("sup") == 4


def test_nothing_comes_from_elsewhere(small_document: Document) -> None:
    text = render_html(small_document)
    page = Page(text)
    assert page.values("src") == []
    assert not [link for link in page.values("href") if not link.startswith("#")]
    assert "url(" not in text
    assert "@import" not in text
    assert page.count("script") == page.count("link") == 0


def test_tables_say_what_their_heads_are_of(small_document: Document) -> None:
    page = Page(table_fragment(small_document))
    panels = small_document.panels
    scopes = page.values("scope")
    assert scopes.count("row") == sum(len(panel.lines) for panel in panels)
    assert scopes.count("col") == sum(len(panel.columns) + 1 for panel in panels)
    assert page.count("th") == len(scopes)
    assert page.count("caption") == page.count("table") == len(panels)
    assert page.values("lang") == []
    assert Page(render_html(small_document)).values("lang") == ["en"]


def test_ranks_kinds_and_marks_are_told_apart(small_document: Document) -> None:
    text = table_fragment(small_document)
    assert (
        '<strong title="best, an exact count or supported by the paired test">'
        "86.25 [82.53, 89.28]</strong>" in text
    )
    assert '<em title="best by value alone">1.5e−05</em>' in text
    assert '<u title="second">−0.25 [−2.32, +1.82]</u>' in text
    assert text.count('<tr class="paper">') == 2
    assert '<sup><a href="#table4-note-a">a</a>,<a href="#table4-note-b">b</a></sup>' in text


def test_what_is_missing_is_counted(small_document: Document) -> None:
    assert "What is missing: 2 runs<" in table_fragment(small_document)
    one = replace(small_document, commands=("x",))
    assert "What is missing: 1 run<" in table_fragment(one)
    assert "missing" not in table_fragment(replace(small_document, commands=()))


def test_long_texts_may_be_broken(wide_document: Document) -> None:
    assert table_fragment(wide_document).count('<td class="text long">') == 90


@given(TEXTS)
def test_any_text_reads_as_it_is(text: str) -> None:
    plain = text.replace("`", "").replace("*", "")
    assert "".join(Page(f"<p>{rich(plain)}</p>").text) == plain


@given(TEXTS)
def test_any_text_anywhere_leaves_the_page_whole(text: str) -> None:
    lines = (Line("measured", text, (Cell(text, "best", ("a",)), Cell(text))),)
    panel = Panel(text, text, (text, text), lines, text)
    document = Document(1, text, (text,), (panel,), (text,), (("a", text),), text, (text,))
    page = Page(render_html(document))
    assert page.count("td") == 2
    assert page.count("script") == 0
