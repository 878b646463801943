import pytest

from bigain.tables.columns import are_text
from bigain.tables.document import DASH, Cell, Line, Panel


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("F_i = sum", "Distance"), True),
        ((DASH, "supported"), True),
        (("", "open"), True),
        (("lost", "81.03"), False),
        (("lost", "+1.5 [0.2, 2.8]"), False),
        (("−0.25", DASH), False),
        ((DASH, ""), False),
        ((), False),
    ],
)
def test_a_column_with_a_number_is_no_text(texts: tuple[str, ...], expected: bool) -> None:
    lines = tuple(Line("measured", "row", (Cell(text), Cell("1"))) for text in texts)
    assert are_text(Panel("p", "", ("a", "b"), lines)) == (expected, False)
