"""The paper's own values fed in as if they were measured give the paper's own differences."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from bigain.config.paper import PaperKey, load_paper
from bigain.metrics import Metric
from bigain.tables.differences import plain_difference
from bigain.tables.document import Document, Line
from bigain.tables.layout import lay_out
from bigain.tables.quantities import format_difference
from bigain.tables.render import load_spec
from bigain.tables.sources import Sources

AsPrinted = Callable[[int], Sources]
OURS = {"map": "map_image"}
DELTAS = ("delta_acc1", "delta_map", "delta_fid")
EXCEPTION = (4, "coco2017", "fid", "ratio=0.1")


def pairs(sources: Sources) -> Iterator[tuple[tuple[int, str, str, str], str, str]]:
    """(table, dataset, metric, column), what the code subtracts, what the paper prints."""
    plan = sources.plan
    rows = {row.id: row for row in plan.rows}
    own = {(block.dataset, block.metric): block for block in plan.spec.profile("paper").blocks}
    for block in plan.spec.paper.blocks:
        ours = own[block.dataset, OURS.get(block.metric, block.metric)]
        for delta in plan.deltas:
            row, versus = rows[str(delta.row)], rows[str(delta.versus)]
            if not row.in_paper:
                continue
            for column in plan.columns_of(ours):
                printed = sources.printed_delta(block, row, versus, column)
                assert printed is not None
                first, second = (sources.key(ours, each, column) for each in (row, versus))
                found = sources.difference(first, second, ours.metric)
                assert found is not None
                # The paper prints FID as rival minus ours, so that positive is better.
                sign = -1 if block.metric == "fid" else 1
                value = f"{sign * found.metric.value:.2f}"
                place = (plan.spec.number, block.dataset, block.metric, column.id)
                yield place, value, printed.text


def test_121_of_122_differences_of_tables_2_to_5_come_out_as_printed(
    as_printed: AsPrinted,
) -> None:
    found = [each for number in (2, 3, 4, 5) for each in pairs(as_printed(number))]
    assert len(found) == 122
    paper = load_paper()
    printed = [k for k, v in paper.items() if k.metric in DELTAS and v.status == "reported"]
    assert len([key for key in printed if key.table in (2, 3, 4, 5)]) == 122
    other = [each for each in found if Decimal(each[1]) != Decimal(each[2])]
    assert other == [(EXCEPTION, "-0.06", "0.06")]
    (derived,) = (value.text for key, value in paper.items() if key.metric == "delta_fid_signed")
    assert derived == "-0.06"


def lines_of(document: Document, title: str) -> list[Line]:
    (panel,) = (panel for panel in document.panels if panel.title == title)
    return list(panel.lines)


def test_the_exception_is_footnoted(as_printed: AsPrinted) -> None:
    document = lay_out(as_printed(4))
    *_, measured, paper = lines_of(document, "FID ↓: SD-2.0, COCO-2017")
    assert measured.label == "L-GTM minus ToMe"
    assert (measured.cells[1].text, paper.cells[1].text) == ("+0.06", "−0.06")
    (mark,) = paper.cells[1].marks
    assert "L-GTM is 0.06 worse" in dict(document.footnotes)[mark]
    assert all(mark not in cell.marks for cell in paper.cells[2:])


@pytest.mark.parametrize("number", [2, 3, 4])
def test_rendered_differences_equal_the_papers_lines_below_them(
    as_printed: AsPrinted, number: int
) -> None:
    """As texts, but for the exception."""
    labels = {delta.label for delta in load_spec(number).deltas}
    seen = 0
    for panel in lay_out(as_printed(number)).panels:
        for measured, paper in zip(panel.lines, panel.lines[1:], strict=False):
            if measured.label in labels and measured.kind == "measured":
                assert paper.kind == "paper"
                for one, other in zip(measured.cells[1:], paper.cells[1:], strict=True):
                    seen += 1
                    if one.text != "—" and not other.marks:
                        assert Decimal(plain(one.text)) == Decimal(plain(other.text)), panel.title
    assert seen >= 8


def plain(text: str) -> str:
    return text.replace("−", "-")


def test_all_seven_losses_of_table_1_come_out_as_printed() -> None:
    """Also those of the methods that nobody runs."""
    values, seen = load_paper(), 0
    nan = float("nan")
    spec = load_spec(1)

    def acc1(method: str, setting: str) -> Metric:
        key = PaperKey(1, "sd20", "pets", method, setting, "acc1")
        return Metric("acc1", float(values[key].text), 3669, nan, nan, "percent")

    for row in spec.rows:
        if row.method == "none" or not row.in_paper:
            continue
        drop = plain_difference("acc1_drop", acc1("none", ""), acc1(row.method, row.setting))
        key = PaperKey(1, "sd20", "pets", row.method, row.setting, "delta_acc1_drop")
        assert format_difference(drop.metric).lstrip("+") == values[key].text, row.id
        seen += 1
    assert seen == 7
