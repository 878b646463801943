import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from bigain.config import RunConfig
from bigain.tables.layout import DASH, Line, Sources, block_lines, common_n, is_empty, paper_lines
from bigain.tables.spec import Block

MakeSources = Callable[..., Sources]


def accuracy(sources: Sources) -> dict[str, Line]:
    """Lines of the first block; those below a row are prefixed with it."""
    return labelled(sources, 0)


def labelled(sources: Sources, number: int) -> dict[str, Line]:
    block = sources.plan.spec.profile(sources.plan.profile).blocks[number]
    named, row = {}, ""
    for line in block_lines(sources, block):
        if line.label.startswith("·"):
            named[f"{row} {line.label}"] = line
        else:
            row = line.label
            named[row] = line
    return named


def cells_of(sources: Sources, block: Block) -> list[str]:
    """All measured cells of a block that are not empty."""
    lines = [line for line in block_lines(sources, block) if line.kind != "paper"]
    return [cell for line in lines for cell in line.cells if cell]


def only(*names: str) -> Callable[[RunConfig], bool]:
    return lambda config: config.operator.name in names


@pytest.fixture
def complete(make_sources: MakeSources) -> Sources:
    return make_sources(4)


@pytest.fixture
def empty(make_sources: MakeSources) -> Sources:
    return make_sources(4, only())


def test_lines_of_an_accuracy_block(complete: Sources) -> None:
    below = ["· minus no acceleration", "· paper: SD-2.0, Oxford-IIIT Pets"]
    expected = ["ToMe", *below, "L-GTM (BiGain)", *below, "L-GTM minus ToMe", below[1]]
    block = complete.plan.spec.profile("mini").blocks[0]
    assert [line.label for line in block_lines(complete, block)] == expected


def test_every_line_has_one_cell_per_column(complete: Sources) -> None:
    for block in complete.plan.spec.profile("mini").blocks:
        assert {len(line.cells) for line in block_lines(complete, block)} == {4}


def test_measured_cells_hold_value_and_interval(complete: Sources) -> None:
    for row in ("ToMe", "L-GTM (BiGain)"):
        for cell in accuracy(complete)[row].cells:
            assert re.fullmatch(r"\d+\.\d\d \[.+, .+\]", cell)


def test_n_is_said_once_if_it_is_the_same_everywhere(complete: Sources, empty: Sources) -> None:
    for block in complete.plan.spec.profile("mini").blocks:
        assert common_n(complete, block) == 30
        assert not any("n=" in cell for cell in cells_of(complete, block))
        assert common_n(empty, block) is None


@pytest.mark.parametrize("number", range(6))
def test_every_measured_cell_has_its_n_if_they_differ(complete: Sources, number: int) -> None:
    block = complete.plan.spec.profile("mini").blocks[number]
    key = ("fashion_mnist", "tome", "ratio=0.5")
    fewer = {name: replace(m, n=29) for name, m in complete.measured.runs[key].items()}
    runs = {**complete.measured.runs, key: fewer}
    mixed = replace(complete, measured=replace(complete.measured, runs=runs))
    assert common_n(mixed, block) is None
    cells = cells_of(mixed, block)
    assert {cell.rpartition(" ")[2] for cell in cells} == {"n=29", "n=30"}


def test_no_acceleration_is_one_run_for_all_rows(complete: Sources) -> None:
    lines = accuracy(complete)
    assert lines["ToMe"].cells[0] == lines["L-GTM (BiGain)"].cells[0]


def test_the_papers_values_stand_in_their_place(empty: Sources) -> None:
    lines = accuracy(empty)
    paper = "· paper: SD-2.0, Oxford-IIIT Pets"
    assert lines[f"ToMe {paper}"].cells == ("81.03", "78.44", "72.96", "65.76")
    assert lines[f"L-GTM (BiGain) {paper}"].cells == ("81.03", "80.40", "78.38", "74.63")
    assert lines[f"L-GTM minus ToMe {paper}"].cells == ("", "+1.96", "+5.42", "+8.87")


def test_without_runs_all_measured_cells_are_dashes(empty: Sources) -> None:
    for number in (0, 1):
        for line in labelled(empty, number).values():
            if line.kind == "measured" and "minus" not in line.label:
                assert line.cells == (DASH,) * 4
            elif line.kind != "paper":
                assert line.cells == ("", DASH, DASH, DASH)


def test_a_comparison_needs_both_runs(make_sources: MakeSources) -> None:
    lines = accuracy(make_sources(4, only("tome")))
    assert DASH not in lines["ToMe"].cells[1:]
    assert lines["ToMe"].cells[0] == DASH
    assert lines["ToMe · minus no acceleration"].cells[1:] == (DASH,) * 3
    assert lines["L-GTM minus ToMe"].cells[1:] == (DASH,) * 3
    paired = accuracy(make_sources(4, only("tome", "none")))
    assert all(c[0] in "+−0" for c in paired["ToMe · minus no acceleration"].cells[1:])


def test_the_error_itself_stands_at_no_acceleration(complete: Sources) -> None:
    lines = labelled(complete, 1)
    assert list(lines) == ["ToMe", "L-GTM (BiGain)", "L-GTM minus ToMe"]
    assert lines["ToMe"].cells[0].startswith("0.1")
    assert all(cell.startswith("+") for cell in lines["ToMe"].cells[1:])
    assert lines["L-GTM minus ToMe"].cells[3].startswith("−")


def test_margins_have_values_only(complete: Sources) -> None:
    assert list(labelled(complete, 2)) == list(labelled(complete, 3)) == ["ToMe", "L-GTM (BiGain)"]
    assert list(labelled(complete, 4)) == list(labelled(complete, 5)) == ["ToMe", "L-GTM (BiGain)"]


def test_blocks_that_nobody_measured_are_empty(complete: Sources, empty: Sources) -> None:
    blocks = complete.plan.spec.profile("mini").blocks
    assert not any(is_empty(complete, block) for block in blocks)
    assert all(is_empty(empty, block) for block in blocks)


def test_known_doubts_are_marked_at_the_value(make_sources: MakeSources) -> None:
    lines = accuracy(make_sources(2, only()))
    paper = "· paper: SD-2.0, Oxford-IIIT Pets"
    assert lines[f"Average pooling {paper}"].cells == ("81.03", "77.02", "73.45", "71.26 [a]")
    assert lines[f"IE-KVD (BiGain) {paper}"].cells == ("81.03", "81.52", "79.91 [b]", "78.03")


def test_other_datasets_of_the_paper(empty: Sources) -> None:
    block = empty.plan.spec.paper.block("imagenet1k", "acc1")
    tome, lgtm, delta = paper_lines(empty, block)
    assert tome == Line("paper", "ToMe", ("57.05", "52.35", "47.55", "37.35"))
    assert lgtm.cells[3] == "44.50"
    assert delta == Line("paper", "L-GTM minus ToMe", ("", "+3.45", "+4.95", "+7.15"))


def test_rows_of_ours_have_no_paper_value(make_sources: MakeSources) -> None:
    lines = accuracy(make_sources(3, only(), grid="full"))
    assert lines["IE-KVD (BiGain), alpha 0.5"].cells == (DASH,) * 5
    assert not any(key.startswith("IE-KVD (BiGain), alpha 0.5 · paper") for key in lines)


def test_the_papers_grid_in_its_own_profile(make_sources: MakeSources) -> None:
    sources = make_sources(3, lambda _: False, profile="paper")
    lines = accuracy(sources)
    assert lines["ToDo"].cells == (DASH,) * 5
    paper = "· paper: DiT-XL/2-512, ImageNet-100"
    assert lines[f"ToDo {paper}"].cells == ("84.82", "69.34", "8.46", "4.74", "3.32")
