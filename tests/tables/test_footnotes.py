from bigain.tables.footnotes import marks_of, texts_of
from bigain.tables.spec import Footnote

NOTES = [
    Footnote(text="general"),
    Footnote(text="first", cells=(("pets", "tome", "acc1", "ratio=0.7"),)),
    Footnote(text="second", cells=(("coco2017", "*", "map", "*"), ("pets", "*", "acc1", "*"))),
]


def test_letters_follow_the_order_of_the_notes_on_cells() -> None:
    assert marks_of(NOTES, ("pets", "tome", "acc1", "ratio=0.7")) == "[a][b]"
    assert marks_of(NOTES, ("pets", "lgtm", "acc1", "ratio=0.7")) == "[b]"
    assert marks_of(NOTES, ("coco2017", "none", "map", "")) == "[b]"
    assert marks_of(NOTES, ("coco2017", "none", "acc1", "")) == ""


def test_only_printed_marks_are_explained() -> None:
    assert texts_of(NOTES, ["81.03", "65.76 [b]"]) == [("[b]", "second")]
    assert texts_of(NOTES, ["65.76 [b]", "1 [a]"]) == [("[a]", "first"), ("[b]", "second")]
    assert texts_of(NOTES, ["—"]) == []


def test_an_interval_is_no_mark() -> None:
    assert texts_of(NOTES, ["85.00 [81.2, 88.1] n=400"]) == []


def test_no_remark_is_lost_when_the_alphabet_is_used_up() -> None:
    notes = [
        Footnote(text=str(i), cells=(("pets", "tome", "acc1", f"ratio={i}"),)) for i in range(30)
    ]
    marks = [marks_of(notes, ("pets", "tome", "acc1", f"ratio={i}")) for i in range(30)]
    assert marks[0] == "[a]"
    assert marks[25:28] == ["[z]", "[aa]", "[ab]"]
    assert len(set(marks)) == 30
    assert texts_of(notes, marks) == list(zip(marks, map(str, range(30)), strict=True))
    assert texts_of(notes, ["1 [aa]"]) == [("[aa]", "26")]
