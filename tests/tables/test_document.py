import pytest

from bigain.tables.document import Cell, Document, Line, Panel, inline


def test_an_empty_cell_says_nothing() -> None:
    assert Cell() == Cell("", rank="", marks=())


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("plain", [("plain", "plain")]),
        ("a `b` c", [("plain", "a "), ("code", "b"), ("plain", " c")]),
        ("**a**`b`", [("strong", "a"), ("code", "b")]),
        ("`**a**`", [("code", "**a**")]),
        ("2 * 3 * 4, a `tick", [("plain", "2 * 3 * 4, a `tick")]),
        ("", []),
    ],
)
def test_pieces_of_a_text(text: str, pieces: list[tuple[str, str]]) -> None:
    assert list(inline(text)) == pieces


def test_no_letter_is_lost() -> None:
    text = "Profile `mini`: **another backbone**, `x` and more."
    assert "".join(piece for _, piece in inline(text)) == text.replace("`", "").replace("*", "")


def test_a_document_cannot_be_changed() -> None:
    panel = Panel("Heading", "", ("a",), (Line("measured", "x", (Cell("1"),)),))
    document = Document(4, "Title", (), (panel,))
    assert (document.command, document.commands, document.footnotes) == ("", (), ())
    with pytest.raises(AttributeError, match="title"):
        document.title = "Other"  # type: ignore[misc]
