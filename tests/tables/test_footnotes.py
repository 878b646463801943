from bigain.tables.document import Cell
from bigain.tables.footnotes import marks_of, texts_of
from bigain.tables.parts import Footnote

NOTES = [
    Footnote(text="general"),
    Footnote(text="first", cells=(("pets", "tome", "acc1", "ratio=0.7"),)),
    Footnote(text="second", cells=(("coco2017", "*", "map", "*"), ("pets", "*", "acc1", "*"))),
]


def test_letters_follow_the_order_of_the_notes_on_cells() -> None:
    assert marks_of(NOTES, ("pets", "tome", "acc1", "ratio=0.7")) == ("a", "b")
    assert marks_of(NOTES, ("pets", "lgtm", "acc1", "ratio=0.7")) == ("b",)
    assert marks_of(NOTES, ("coco2017", "none", "map", "")) == ("b",)
    assert marks_of(NOTES, ("coco2017", "none", "acc1", "")) == ()


def test_only_printed_marks_are_explained() -> None:
    plain, one, both = Cell("81.03"), Cell("65.76", marks=("b",)), Cell("1", marks=("a", "b"))
    assert texts_of(NOTES, [plain, one]) == (("b", "second"),)
    assert texts_of(NOTES, [one, both]) == (("a", "first"), ("b", "second"))
    assert texts_of(NOTES, [plain]) == ()


def test_no_remark_is_lost_when_the_alphabet_is_used_up() -> None:
    notes = [
        Footnote(text=str(i), cells=(("pets", "tome", "acc1", f"ratio={i}"),)) for i in range(30)
    ]
    marks = [marks_of(notes, ("pets", "tome", "acc1", f"ratio={i}"))[0] for i in range(30)]
    assert marks[0] == "a"
    assert marks[25:28] == ["z", "aa", "ab"]
    assert len(set(marks)) == 30
    cells = [Cell("1", marks=(mark,)) for mark in marks]
    assert texts_of(notes, cells) == tuple(zip(marks, map(str, range(30)), strict=True))
    assert texts_of(notes, [Cell("1", marks=("aa",))]) == (("aa", "26"),)
