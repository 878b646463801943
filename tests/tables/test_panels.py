import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from bigain.config import RunConfig
from bigain.tables.document import DASH, Line, Panel
from bigain.tables.panels import (
    beside_panel,
    block_title,
    common_n,
    is_empty,
    paper_panel,
    stacked_panel,
)
from bigain.tables.parts import Block
from bigain.tables.planner import CellKey, Place
from bigain.tables.sources import Sources

MakeSources = Callable[..., Sources]
BELOW = [
    "· minus no acceleration",
    "· paper: SD-2.0, Oxford-IIIT Pets",
    "· measured minus paper, other data",
]
PAPER = BELOW[1]


def block_of(sources: Sources, metric: str) -> Block:
    blocks = sources.plan.spec.profile(sources.plan.profile).blocks
    return next(block for block in blocks if block.metric == metric)


def labelled(panel: Panel) -> dict[str, Line]:
    """Lines by label; those below a row are prefixed with it."""
    named, row = {}, ""
    for line in panel.lines:
        below = line.label.startswith("·")
        row = row if below else line.label
        named[f"{row} {line.label}" if below else row] = line
    return named


def lines(sources: Sources, metric: str = "acc1") -> dict[str, Line]:
    return labelled(stacked_panel(sources, block_of(sources, metric)))


def texts(line: Line) -> tuple[str, ...]:
    return tuple(cell.text for cell in line.cells)


def only(*names: str) -> Callable[[RunConfig], bool]:
    return lambda config: config.operator.name in names


@pytest.fixture
def complete(make_sources: MakeSources) -> Sources:
    return make_sources(4)


@pytest.fixture
def empty(make_sources: MakeSources) -> Sources:
    return make_sources(4, only())


def test_lines_of_an_accuracy_block(complete: Sources) -> None:
    panel = stacked_panel(complete, block_of(complete, "acc1"))
    assert [line.label for line in panel.lines] == [
        *("ToMe", *BELOW, "L-GTM (BiGain)", *BELOW, "L-GTM minus ToMe", PAPER)
    ]
    assert panel.columns == ("no acceleration", "ratio 0.3", "ratio 0.5", "ratio 0.7")
    assert panel.title == block_title(complete, block_of(complete, "acc1"))
    assert panel.title == "Top-1 accuracy, %: the mini U-Net, Fashion-MNIST"
    assert panel.caption.endswith("Better: higher.")


def test_every_line_has_one_cell_per_column(complete: Sources) -> None:
    for block in complete.plan.spec.profile("mini").blocks:
        panel = stacked_panel(complete, block)
        assert {len(line.cells) for line in panel.lines} == {len(panel.columns)} == {4}


def test_measured_cells_hold_value_and_interval(complete: Sources) -> None:
    for row in ("ToMe", "L-GTM (BiGain)"):
        for text in texts(lines(complete)[row]):
            assert re.fullmatch(r"\d+\.\d\d \[.+, .+\]", text)


def test_measured_minus_paper_is_their_difference(complete: Sources) -> None:
    found = lines(complete)
    measured, paper, apart = (
        texts(found[f"ToMe{below}"])
        for below in ("", f" {PAPER}", " · measured minus paper, other data")
    )
    for one, other, difference in zip(measured, paper, apart, strict=True):
        value = float(one.split()[0]) - float(other)
        assert float(difference.replace("−", "-")) == pytest.approx(value, abs=0.006)


def test_another_distance_is_not_subtracted_from_fid(complete: Sources) -> None:
    found = lines(complete, "frechet_mini")
    assert "ToMe · paper: SD-2.0, Oxford-IIIT Pets, FID" in found
    assert not any("measured minus paper" in label for label in found)


def test_n_is_said_once_if_it_is_the_same_everywhere(complete: Sources, empty: Sources) -> None:
    for block in complete.plan.spec.profile("mini").blocks:
        assert common_n(complete, block) == 30
        panel = stacked_panel(complete, block)
        assert panel.remark == "n = 30 images behind every measured number."
        assert not any("n=" in text for line in panel.lines for text in texts(line))
        assert common_n(empty, block) is None
        assert stacked_panel(empty, block).remark == ""


@pytest.mark.parametrize("metric", ["acc1", "eps_error_rise", "frechet_mini", "margin_rho"])
def test_every_measured_cell_has_its_n_if_they_differ(complete: Sources, metric: str) -> None:
    block = block_of(complete, metric)
    key = CellKey(complete.plan.place(block), "tome", "ratio=0.5")
    fewer = {name: replace(m, n=29) for name, m in complete.measured.runs[key].items()}
    runs = {**complete.measured.runs, key: fewer}
    mixed = replace(complete, measured=replace(complete.measured, runs=runs))
    assert common_n(mixed, block) is None
    panel = stacked_panel(mixed, block)
    assert panel.remark == ""
    cells = {
        text
        for line in panel.lines
        if line.kind == "measured" or "no acceleration" in line.label
        for text in texts(line)
        if text
    }
    assert {text.rpartition(" ")[2] for text in cells} == {"n=29", "n=30"}
    assert "n=29" in texts(labelled(panel)["ToMe"])[2]


def test_no_acceleration_is_one_run_for_all_rows(complete: Sources) -> None:
    found = lines(complete)
    assert found["ToMe"].cells[0] == found["L-GTM (BiGain)"].cells[0]


def test_the_papers_values_stand_in_their_place(empty: Sources) -> None:
    found = lines(empty)
    assert texts(found[f"ToMe {PAPER}"]) == ("81.03", "78.44", "72.96", "65.76")
    assert texts(found[f"L-GTM (BiGain) {PAPER}"]) == ("81.03", "80.40", "78.38", "74.63")
    assert texts(found[f"L-GTM minus ToMe {PAPER}"]) == ("", "+1.96", "+5.42", "+8.87")


def test_without_runs_all_measured_cells_are_dashes(empty: Sources) -> None:
    for metric in ("acc1", "eps_error_rise", "frechet_mini"):
        for label, line in lines(empty, metric).items():
            if line.kind == "measured":
                none = "" if "minus" in label else DASH
                assert texts(line) == (none, DASH, DASH, DASH)


def test_a_comparison_needs_both_runs(make_sources: MakeSources) -> None:
    found = lines(make_sources(4, only("tome")))
    assert DASH not in texts(found["ToMe"])[1:]
    assert texts(found["ToMe"])[0] == DASH
    assert texts(found["ToMe · minus no acceleration"])[1:] == (DASH,) * 3
    assert texts(found["L-GTM minus ToMe"])[1:] == (DASH,) * 3
    paired = lines(make_sources(4, only("tome", "none")))
    assert all(text[0] in "+−0" for text in texts(paired["ToMe · minus no acceleration"])[1:])


def test_the_error_itself_stands_at_no_acceleration(complete: Sources) -> None:
    found = lines(complete, "eps_error_rise")
    assert list(found) == ["ToMe", "L-GTM (BiGain)", "L-GTM minus ToMe"]
    assert texts(found["ToMe"])[0].startswith("0.1")
    assert all(text.startswith("+") for text in texts(found["ToMe"])[1:])
    assert texts(found["L-GTM minus ToMe"])[3].startswith("−")
    assert found["L-GTM (BiGain)"].cells[3].rank == "best"


def test_margins_have_values_only(complete: Sources) -> None:
    for metric in ("margin_mean", "margin_variance", "margin_rho", "margin_bound"):
        assert list(lines(complete, metric)) == ["ToMe", "L-GTM (BiGain)"]


def test_blocks_that_nobody_measured_are_empty(complete: Sources, empty: Sources) -> None:
    blocks = complete.plan.spec.profile("mini").blocks
    assert not any(is_empty(complete, block) for block in blocks)
    assert all(is_empty(empty, block) for block in blocks)


def test_known_doubts_are_marked_at_the_value(make_sources: MakeSources) -> None:
    found = lines(make_sources(2, only()))
    cells = found[f"Average pooling {PAPER}"].cells
    assert [cell.text for cell in cells] == ["81.03", "77.02", "73.45", "71.26"]
    assert [cell.marks for cell in cells] == [(), (), (), ("a",)]
    assert found[f"IE-KVD (BiGain) {PAPER}"].cells[2].marks == ("b",)


def test_other_datasets_of_the_paper(empty: Sources) -> None:
    panel = paper_panel(empty, empty.plan.spec.paper.block("imagenet1k", "acc1"))
    assert panel.title == "Only in the paper: SD-2.0, ImageNet-1K"
    assert {line.kind for line in panel.lines} == {"paper"}
    tome, lgtm, delta = panel.lines
    assert texts(tome) == ("57.05", "52.35", "47.55", "37.35")
    assert texts(lgtm)[3] == "44.50"
    assert (delta.label, texts(delta)) == ("L-GTM minus ToMe", ("", "+3.45", "+4.95", "+7.15"))


def test_the_papers_fid_differences_are_turned_round(empty: Sources) -> None:
    """The paper prints rival minus ours, here it is always the row minus its rival."""
    panel = paper_panel(empty, empty.plan.spec.paper.block("imagenet100", "fid"))
    tome, lgtm, delta = (texts(line) for line in panel.lines)
    for one, other, difference in list(zip(lgtm, tome, delta, strict=True))[1:]:
        expected = float(one) - float(other)
        assert float(difference.replace("−", "-")) == pytest.approx(expected, abs=0.006)


def test_rows_of_ours_have_no_paper_value(make_sources: MakeSources) -> None:
    found = lines(make_sources(3, only(), grid="full"))
    assert texts(found["IE-KVD (BiGain), alpha 0.5"]) == (DASH,) * 5
    assert not any(key.startswith("IE-KVD (BiGain), alpha 0.5 · paper") for key in found)


def test_blocks_side_by_side(make_sources: MakeSources) -> None:
    sources = make_sources(1)
    panel = beside_panel(sources, sources.plan.spec.profile("mini").blocks)
    assert panel.columns[:2] == ("FLOPs saved, % (SD-2.0, counted)", "Top-1 accuracy, %")
    assert {len(line.cells) for line in panel.lines} == {4}
    found = labelled(panel)
    assert texts(found["No acceleration"])[0] == "", "nothing is saved"
    assert texts(found["No acceleration"])[2:] == ("", "")
    not_run = found["DiP-GO (pruning), reported, not run"]
    assert (not_run.kind, texts(not_run)) == ("paper", ("lost", "76.53", "4.50", ""))
    assert not any(label.startswith("DiP-GO (pruning), reported, not run ·") for label in found)
    assert DASH not in texts(found["SiTo, ratio 0.5 (pruning)"])
    assert "Top-1 accuracy, %: n = 30 images behind every measured number." in panel.remark
    assert "FLOPs saved" not in panel.remark


def test_numbers_of_a_table_with_one_column(make_sources: MakeSources) -> None:
    panel = stacked_panel(sources := make_sources(12), block_of(sources, "acc1"))
    assert panel.columns == ("value",)
    assert sources.plan.place(block_of(sources, "acc1")) == Place(
        "mini_unet", "fashion_mnist", "classification"
    )
