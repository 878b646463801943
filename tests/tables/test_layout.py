from collections.abc import Callable

import pytest

from bigain.config import RunConfig
from bigain.tables.document import DASH
from bigain.tables.layout import lay_out
from bigain.tables.sources import Sources

MakeSources = Callable[..., Sources]


def titles(sources: Sources) -> list[str]:
    return [panel.title for panel in lay_out(sources).panels]


def nothing(_: RunConfig) -> bool:
    return False


def test_panels_in_order(make_sources: MakeSources) -> None:
    found = titles(make_sources(4))
    assert found[0] == "Top-1 accuracy, %: the mini U-Net, Fashion-MNIST"
    assert "The paper's orderings" in found
    paper = [title for title in found if title.startswith("Only in the paper: ")]
    assert found[-len(paper) :] == paper
    assert len(paper) == 9 - 4, "four of the paper's blocks stand beside measured ones"


def test_optional_blocks_are_left_out_until_they_are_measured(make_sources: MakeSources) -> None:
    def margins(wanted: Callable[[RunConfig], bool]) -> int:
        return sum("Margin" in title for title in titles(make_sources(4, wanted)))

    assert margins(nothing) == 0
    assert margins(lambda config: config.operator.name == "tome") == 4


def test_a_table_of_columns_side_by_side_has_one_measured_panel(make_sources: MakeSources) -> None:
    assert titles(make_sources(11))[0] == "Measured, and the paper's values"
    assert titles(make_sources(11))[1:] == [
        "Only in the paper: SD-2.0, RTX 4090, seconds per batch of 50 steps"
    ]


def test_a_complete_table_lists_no_commands(make_sources: MakeSources) -> None:
    document = lay_out(make_sources(4))
    assert (document.command, document.commands) == ("", ())
    cells = [c.text for p in document.panels for line in p.lines for c in line.cells]
    assert DASH not in cells


def test_missing_cells_come_with_the_command_that_fills_them(make_sources: MakeSources) -> None:
    document = lay_out(
        make_sources(
            4, lambda c: (c.operator.name, c.operator.settings()["ratio"]) != ("lgtm", 0.5)
        )
    )
    assert document.command == "python -m bigain table 4 --profile mini dataset.limit=30"
    assert [command.split("task=")[1] for command in document.commands] == [
        "classification operator=lgtm operator.ratio=0.5 dataset.limit=30",
        "classification operator=lgtm operator.ratio=0.5 dataset.limit=30",
        "generation operator=lgtm operator.ratio=0.5 dataset.limit=30",
    ]


def test_notes_of_the_profile_and_of_the_whole_table(make_sources: MakeSources) -> None:
    document = lay_out(make_sources(4, nothing))
    assert any("draws its destinations" in note for note in document.notes)
    assert any("all five 64x64 blocks" in note for note in document.notes)


def test_only_the_marks_that_are_printed_are_explained(make_sources: MakeSources) -> None:
    marks = dict(lay_out(make_sources(4, nothing)).footnotes)
    assert "a" not in marks
    assert "b" in marks
    assert "a" in dict(lay_out(make_sources(4, nothing, grid="full")).footnotes)


def test_the_same_document_for_the_same_input(make_sources: MakeSources) -> None:
    sources = make_sources(12)
    assert lay_out(sources) == lay_out(sources)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18])
def test_every_line_of_every_table_has_a_cell_per_column(
    make_sources: MakeSources, number: int
) -> None:
    document = lay_out(make_sources(number, nothing))
    assert document.number == number
    for panel in document.panels:
        assert {len(line.cells) for line in panel.lines} <= {len(panel.columns)}, panel.title
    measured = [line for panel in document.panels for line in panel.lines]
    assert any(cell.text == DASH for line in measured for cell in line.cells)
    assert document.commands


@pytest.mark.parametrize(("number", "group"), [(4, "column"), (15, "row")])
def test_of_what_the_best_is_marked(make_sources: MakeSources, number: int, group: str) -> None:
    assert lay_out(make_sources(number)).ranked_in == group
    assert lay_out(make_sources(number, lambda _: False)).ranked_in == ""


@pytest.mark.parametrize(("number", "there"), [(4, True), (1, False), (14, False), (17, False)])
def test_the_column_of_no_acceleration_is_spoken_of_where_there_is_one(
    make_sources: MakeSources, number: int, there: bool
) -> None:
    text = " ".join(panel.caption for panel in lay_out(make_sources(number)).panels)
    assert ("The column of no acceleration holds the error itself." in text) == there
