import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from bigain.config import RunConfig
from bigain.tables.document import DASH, Line, Panel
from bigain.tables.panels import number_panels
from bigain.tables.planner import CellKey
from bigain.tables.quantities import QUANTITIES
from bigain.tables.sources import Sources
from bigain.tables.spec import Block

MakeSources = Callable[..., Sources]
BELOW = [
    "· minus the baseline",
    "· paper: SD-2.0, Oxford-IIIT Pets",
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


def panel_of(sources: Sources, block: Block) -> Panel:
    """The panel of a block in a stacked table."""
    title = f"{QUANTITIES[block.metric].head}: {sources.place_name(block)}"
    (panel,) = (panel for panel in number_panels(sources) if panel.title == title)
    return panel


def papers(sources: Sources, label: str) -> Panel:
    title = f"Only in the paper: {sources.plan.spec.paper.label}, {label}"
    (panel,) = (panel for panel in number_panels(sources) if panel.title == title)
    return panel


def lines(sources: Sources, metric: str = "acc1") -> dict[str, Line]:
    return labelled(panel_of(sources, block_of(sources, metric)))


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
    panel = panel_of(complete, block_of(complete, "acc1"))
    assert [line.label for line in panel.lines] == [
        *("ToMe", *BELOW, "L-GTM (BiGain)", *BELOW, "L-GTM minus ToMe", PAPER)
    ]
    assert panel.columns == ("baseline", "ratio 0.3", "ratio 0.5", "ratio 0.7")
    assert panel.title == "Top-1 accuracy, % ↑: the mini U-Net, Fashion-MNIST"


def test_measured_cells_hold_value_and_interval(complete: Sources) -> None:
    for row in ("ToMe", "L-GTM (BiGain)"):
        for text in texts(lines(complete)[row]):
            assert re.fullmatch(r"\d+\.\d\d \[.+, .+\]", text)


def test_measured_minus_paper_is_their_difference(as_printed: Callable[[int], Sources]) -> None:
    found = lines(as_printed(4))
    below = (PAPER, "· measured minus paper")
    measured, paper, apart = (
        texts(found[f"ToMe{each}"]) for each in ("", *map(" {}".format, below))
    )
    for one, other, difference in zip(measured, paper, apart, strict=True):
        value = float(one.split()[0]) - float(other)
        assert float(difference.replace("−", "-")) == pytest.approx(value, abs=0.006)


def test_numbers_of_another_model_or_other_data_are_not_subtracted(
    complete: Sources, make_sources: MakeSources
) -> None:
    for metric in ("acc1", "frechet_mini"):
        assert not any("measured minus paper" in label for label in lines(complete, metric))
    flops = lines(make_sources(7), "flops_g")
    assert any("measured minus paper" in label for label in flops), "counted on the paper's model"


def test_n_is_said_once_if_it_is_the_same_everywhere(complete: Sources, empty: Sources) -> None:
    for block in complete.blocks:
        panel = panel_of(complete, block)
        assert panel.caption.startswith("n = 30 images.")
        assert not any("n=" in text for line in panel.lines for text in texts(line))
    assert "n =" not in panel_of(empty, block_of(empty, "acc1")).caption


@pytest.mark.parametrize("metric", ["acc1", "eps_error_rise", "frechet_mini", "class_agreement"])
def test_every_measured_cell_has_its_n_if_they_differ(complete: Sources, metric: str) -> None:
    block = block_of(complete, metric)
    key = CellKey(complete.plan.place(block), "tome", "ratio=0.5")
    fewer = {name: replace(m, n=29) for name, m in complete.measured.runs[key].items()}
    runs = {**complete.measured.runs, key: fewer}
    mixed = replace(complete, measured=replace(complete.measured, runs=runs))
    panel = panel_of(mixed, block)
    assert "n =" not in panel.caption
    cells = {
        text
        for line in panel.lines
        if line.kind == "measured" or "the baseline" in line.label
        for text in texts(line)
        if text
    }
    assert {text.rpartition(" ")[2] for text in cells} == {"n=29", "n=30"}
    assert "n=29" in texts(labelled(panel)["ToMe"])[2]


def test_the_papers_values_stand_in_their_place(empty: Sources) -> None:
    found = lines(empty)
    paper = PAPER.removeprefix("· ")
    assert texts(found[f"ToMe, {paper}"]) == ("81.03", "78.44", "72.96", "65.76")
    assert texts(found[f"L-GTM (BiGain), {paper}"]) == ("81.03", "80.40", "78.38", "74.63")
    assert texts(found[f"L-GTM minus ToMe, {paper}"]) == ("", "+1.96", "+5.42", "+8.87")


def test_rows_without_any_run_share_one_line_of_dashes(empty: Sources) -> None:
    for metric in ("acc1", "eps_error_rise", "frechet_mini"):
        panel = panel_of(empty, block_of(empty, metric))
        (folded,) = (line for line in panel.lines if line.kind == "measured")
        assert texts(folded) == (DASH,) * 4
        assert "2 rows" in folded.label
        for word in ("ToMe", "L-GTM (BiGain)", f"`{empty.plan.command}`"):
            assert word in panel.remark


def test_rows_with_a_run_stand_before_the_others(make_sources: MakeSources) -> None:
    panel = panel_of(sources := make_sources(4, only("lgtm", "none")), block_of(sources, "acc1"))
    labels = [line.label for line in panel.lines]
    assert labels.index("L-GTM (BiGain)") < labels.index("not run: 1 row")
    folded = labelled(panel)["not run: 1 row"]
    assert texts(folded)[0] == texts(labelled(panel)["L-GTM (BiGain)"])[0] != DASH, "the baseline"
    assert "Not run: ToMe." in panel.remark


def test_a_comparison_needs_both_runs(make_sources: MakeSources) -> None:
    found = lines(make_sources(4, only("tome")))
    assert DASH not in texts(found["ToMe"])[1:]
    assert texts(found["ToMe"])[0] == DASH
    assert "ToMe · minus the baseline" not in found
    assert "L-GTM minus ToMe" not in found
    paired = lines(make_sources(4, only("tome", "none")))
    assert all(text[0] in "+−0" for text in texts(paired["ToMe · minus the baseline"])[1:])


def test_the_error_itself_stands_at_the_baseline(complete: Sources) -> None:
    found = lines(complete, "eps_error_rise")
    assert list(found) == ["ToMe", "L-GTM (BiGain)", "L-GTM minus ToMe"]
    assert texts(found["ToMe"])[0].startswith("0.1")
    assert all(text.startswith("+") for text in texts(found["ToMe"])[1:])
    assert texts(found["L-GTM minus ToMe"])[3].startswith("−")
    assert found["L-GTM (BiGain)"].cells[3].rank == "best"


def test_optional_blocks_that_nobody_measured_are_left_out(
    complete: Sources, empty: Sources
) -> None:
    """The runs here are from before the errors of the first stage were kept."""
    blocks = complete.plan.spec.profile("mini").blocks
    assert list(empty.blocks) == [block for block in blocks if not block.optional]
    needs_errors = {"best_margin", "pairwise_auc", "acc1_first"}
    needs_errors |= {f"eps_rise_{part}" for part in ("equal", "low", "mid", "high")}
    assert {block.metric for block in blocks if block not in complete.blocks} == needs_errors


def test_known_doubts_are_marked_at_the_value(make_sources: MakeSources) -> None:
    found, paper = lines(make_sources(2, only())), PAPER.removeprefix("· ")
    cells = found[f"Average pooling, {paper}"].cells
    assert [cell.text for cell in cells] == ["81.03", "77.02", "73.45", "71.26"]
    assert [cell.marks for cell in cells] == [(), (), (), ("a",)]
    assert found[f"IE-KVD (BiGain), {paper}"].cells[2].marks == ("b",)


def test_other_datasets_of_the_paper(empty: Sources) -> None:
    panel = papers(empty, "ImageNet-1K")
    assert {line.kind for line in panel.lines} == {"paper"}
    tome, lgtm, delta = panel.lines
    assert texts(tome) == ("57.05", "52.35", "47.55", "37.35")
    assert texts(lgtm)[3] == "44.50"
    assert (delta.label, texts(delta)) == ("L-GTM minus ToMe", ("", "+3.45", "+4.95", "+7.15"))


def test_the_papers_fid_differences_are_turned_round(empty: Sources) -> None:
    """The paper prints rival minus ours, here it is always the row minus its rival."""
    panel = papers(empty, "ImageNet-100, FID")
    tome, lgtm, delta = (texts(line) for line in panel.lines)
    for one, other, difference in list(zip(lgtm, tome, delta, strict=True))[1:]:
        expected = float(one) - float(other)
        assert float(difference.replace("−", "-")) == pytest.approx(expected, abs=0.006)


def test_rows_of_ours_have_no_paper_value(make_sources: MakeSources) -> None:
    found = lines(make_sources(3, only(), grid="full"))
    assert not any("alpha 0.5" in label and "paper" in label for label in found)


def test_blocks_side_by_side(make_sources: MakeSources) -> None:
    sources = make_sources(1)
    (panel,) = number_panels(sources)
    saved = ("FLOPs saved, % ↑ (SD-2.0)", "FLOPs saved, % ↑ (the mini U-Net)")
    assert panel.columns[:3] == (*saved, "Top-1 accuracy, % ↑")
    assert [column.endswith(" (the mini DiT)") for column in panel.columns] == 5 * [False] + 3 * [
        True
    ]
    assert {len(line.cells) for line in panel.lines} == {8}
    found = labelled(panel)
    assert texts(found["Baseline"])[0] == "", "nothing is saved"
    assert texts(found["Baseline"])[3:6] == ("", "", "")
    not_run = found["DiP-GO (pruning), reported, not run"]
    assert (not_run.kind, texts(not_run)) == (
        "paper",
        ("lost", "", "76.53", "4.50", "", *3 * ("",)),
    )
    assert not any(label.startswith("DiP-GO (pruning), reported, not run ·") for label in found)
    assert all(texts(found["SiTo, ratio 0.5 (pruning)"]))
    for label in ("Masks by timestep, after DiP-GO", "Weights by stage, after MosaicDiff"):
        assert [bool(text) for text in texts(found[label])] == [False] + 7 * [True]
    pairs = texts(found["Masks minus ToMe"])
    assert [bool(text) for text in pairs] == [
        head.startswith(("Top-1 accuracy", "Rise of the noise error")) for head in panel.columns
    ]
    assert DASH not in pairs
    assert panel.caption == "n = 30 images."
