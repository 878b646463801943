import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bigain.config.paper import PaperValue, load_paper
from bigain.metrics import Metric
from bigain.tables.cells import Measured
from bigain.tables.differences import Difference
from bigain.tables.document import Cell
from bigain.tables.planner import CellKey, Place, Plan
from bigain.tables.render import load_spec
from bigain.tables.sources import Sources, footnotes_of, paper_cell
from bigain.tables.spec import Block, Column, Footnote, PaperBlock, Row

PLACE = Place("mini_unet", "fashion_mnist", "classification")
ACC1 = Block(dataset="fashion_mnist", metric="acc1")
NONE = Row(id="none", method="none", label="baseline")
TOME = CellKey(PLACE, "tome", "ratio=0.3")
LGTM = CellKey(PLACE, "lgtm", "ratio=0.3")

NOTES = [
    Footnote(text="general"),
    Footnote(text="first", cells=(("pets", "tome", "acc1", "ratio=0.7"),)),
    Footnote(text="second", cells=(("coco2017", "*", "map", "*"), ("pets", "*", "acc1", "*"))),
]


def number(value: float = 80.0, n: int = 30) -> Metric:
    return Metric("acc1", value, n, value - 1, value + 1, "percent")


def table(number_: int, measured: Measured | None = None, grid: str = "default") -> Sources:
    plan = Plan(load_spec(number_), "mini", grid, (), {})
    return Sources(plan, measured or Measured(), load_paper())


def test_which_cell_stands_where() -> None:
    sources = table(4)
    tome, column = sources.plan.rows[0], sources.plan.columns[0]
    assert sources.key(ACC1, tome, column) == TOME
    assert sources.key(ACC1, NONE, column) == CellKey(PLACE, "none")


def test_what_is_known_of_a_cell() -> None:
    broken = number(math.nan)
    sources = table(4, Measured({TOME: {"acc1": number()}, LGTM: {"acc1": broken}}))
    assert sources.metric(TOME, "acc1") == number()
    assert sources.metric(TOME, "fid") is None
    assert sources.metric(LGTM, "acc1") is None
    assert sources.metric(CellKey(PLACE, "none"), "acc1") is None


@pytest.mark.parametrize(
    ("metric", "known"), [(number(math.nan), False), (number(n=0), False), (number(), True)]
)
def test_a_number_has_a_value_and_images(metric: Metric, known: bool) -> None:
    assert metric.is_known == known


def test_differences_have_a_direction() -> None:
    difference = Difference(number(5.0), 0.5)
    sources = table(4, Measured({}, {(LGTM, TOME): {"acc1": difference}}))
    assert sources.difference(LGTM, TOME, "acc1") is difference
    assert sources.difference(TOME, LGTM, "acc1") is None


def test_the_papers_values_in_their_places() -> None:
    sources = table(4)
    tome, lgtm = sources.plan.rows
    column = sources.plan.columns[2]
    block = sources.plan.spec.paper.block("pets", "acc1")
    texts = [sources.printed(block, row, column) for row in (NONE, tome, lgtm)]
    assert [value.text for value in texts if value] == ["81.03", "65.76", "74.63"]
    delta = sources.printed_delta(block, lgtm, tome, column)
    assert delta is not None
    assert delta.text == "8.87"
    assert sources.printed_delta(block, tome, lgtm, column) is None


def test_a_block_may_say_less_of_a_setting() -> None:
    """Table 7 prints one number of FLOPs per row, without its ratio."""
    sources = table(7)
    *_, flops = sources.plan.spec.profile("mini").blocks
    paper = sources.plan.spec.paper.block("pets", "flops_g")
    row = sources.plan.rows[0]
    texts = [sources.printed(paper, row, column, flops) for column in sources.plan.columns]
    assert [value and value.text for value in texts] == [None, None, "704.99"]


def test_the_baseline_at_another_number_of_images() -> None:
    sources = table(14)
    block = sources.plan.spec.paper.block("imagenet1k", "acc1")
    for column in sources.plan.columns:
        value = sources.printed(block, NONE, column)
        assert value is not None
        assert value.status == "lost"


def test_marks_of_values_and_of_differences() -> None:
    sources = table(4, grid="full")
    tome, lgtm = sources.plan.rows
    first = sources.plan.columns[0]
    block = sources.plan.spec.paper.block
    assert sources.marks(block("pets", "acc1"), lgtm, first) == ("a",)
    assert sources.marks(block("pets", "acc1"), tome, first) == ()
    assert sources.marks(block("coco2017", "map"), NONE, first) == ("b",)
    assert sources.marks(block("coco2017", "fid"), lgtm, first, "tome") == ("c",)
    assert sources.marks(block("coco2017", "fid"), lgtm, first) == ("e",)


def test_counts_of_what_is_printed() -> None:
    other = CellKey(PLACE._replace(work="generation"), "tome", "ratio=0.3")
    runs = {
        TOME: {"acc1": number(n=30), "acc1_to_none": number(n=29), "margin_mean": number(n=7)},
        LGTM: {"acc1": number(n=0)},
        other: {"acc1": number(n=5)},
    }
    assert sorted(table(4, Measured(runs)).counts(ACC1)) == [29, 30]


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (None, "", ""),
        (PaperValue("", "lost", "", ""), "", "lost"),
        (PaperValue("65.76", "reported", "", ""), "", "65.76"),
        (PaperValue("-0.3", "reported", "", ""), "", "−0.3"),
        (PaperValue("0.06", "reported", "", ""), "-", "−0.06"),
        (PaperValue("8.87", "reported", "", ""), "+", "+8.87"),
    ],
)
def test_cells_of_the_paper(value: PaperValue | None, sign: str, text: str) -> None:
    assert paper_cell(value, (), sign) == Cell(text)


def test_a_cell_without_value_has_no_marks() -> None:
    assert paper_cell(None, ("a",)) == Cell()
    assert paper_cell(PaperValue("1", "reported", "", ""), ("a",)).marks == ("a",)


def marks(notes: Sequence[Footnote], cell: tuple[str, str, str, str]) -> tuple[str, ...]:
    """The letters of a value of Table 4 whose remarks are `notes`."""
    dataset, method, metric, setting = cell
    sources = table(4)
    spec = sources.plan.spec.model_copy(update={"footnotes": tuple(notes)})
    own = replace(sources, plan=replace(sources.plan, spec=spec))
    block = PaperBlock(dataset=dataset, metric=metric, label="")
    return own.marks(block, Row(id="x", method=method, label=""), Column(setting=setting))


def test_letters_follow_the_order_of_the_notes_on_cells() -> None:
    assert marks(NOTES, ("pets", "tome", "acc1", "ratio=0.7")) == ("a", "b")
    assert marks(NOTES, ("pets", "lgtm", "acc1", "ratio=0.7")) == ("b",)
    assert marks(NOTES, ("coco2017", "none", "map", "")) == ("b",)
    assert marks(NOTES, ("coco2017", "none", "acc1", "")) == ()


def test_only_printed_marks_are_explained() -> None:
    plain, one, both = Cell("81.03"), Cell("65.76", marks=("b",)), Cell("1", marks=("a", "b"))
    assert footnotes_of(NOTES, [plain, one]) == (("b", "second"),)
    assert footnotes_of(NOTES, [one, both]) == (("a", "first"), ("b", "second"))
    assert footnotes_of(NOTES, [plain]) == ()


def test_no_remark_is_lost_when_the_alphabet_is_used_up() -> None:
    notes = [
        Footnote(text=str(i), cells=(("pets", "tome", "acc1", f"ratio={i}"),)) for i in range(30)
    ]
    found = [marks(notes, ("pets", "tome", "acc1", f"ratio={i}"))[0] for i in range(30)]
    assert found[0] == "a"
    assert found[25:28] == ["z", "aa", "ab"]
    assert len(set(found)) == 30
    cells = [Cell("1", marks=(mark,)) for mark in found]
    assert footnotes_of(notes, cells) == tuple(zip(found, map(str, range(30)), strict=True))
    assert footnotes_of(notes, [Cell("1", marks=("aa",))]) == (("aa", "26"),)
