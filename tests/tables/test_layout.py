from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bigain.config import RunConfig
from bigain.tables.cells import Measured
from bigain.tables.document import DASH
from bigain.tables.layout import lay_out
from bigain.tables.planner import Compose, plan_table
from bigain.tables.render import load_spec
from bigain.tables.sources import Sources

MakeSources = Callable[..., Sources]


def titles(sources: Sources) -> list[str]:
    return [panel.title for panel in lay_out(sources).panels]


def nothing(_: RunConfig) -> bool:
    return False


def test_panels_in_order(make_sources: MakeSources) -> None:
    found = titles(make_sources(4))
    assert found[0] == "Top-1 accuracy, % ↑: the mini U-Net, Fashion-MNIST"
    findings = [panel.title for panel in lay_out(make_sources(4)).findings]
    assert findings[0] == "Findings: the paper's orderings"
    assert "noise error" in findings[1]
    paper = [title for title in found if title.startswith("Only in the paper: ")]
    assert found[-len(paper) :] == paper
    assert len(paper) == 9 - 4, "four of the paper's blocks stand beside measured ones"


def test_optional_blocks_are_left_out_until_they_are_measured(make_sources: MakeSources) -> None:
    def agreements(wanted: Callable[[RunConfig], bool]) -> int:
        return sum("Class agreement" in title for title in titles(make_sources(4, wanted)))

    assert agreements(nothing) == 0
    assert agreements(lambda config: config.operator.name == "tome") == 1


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


def test_only_the_marks_that_are_printed_are_explained(make_sources: MakeSources) -> None:
    marks = dict(lay_out(make_sources(4, nothing)).footnotes)
    assert "a" not in marks
    assert "b" in marks
    assert "a" in dict(lay_out(make_sources(4, nothing, grid="full")).footnotes)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19])
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
    assert document.measured[0] == 0
    assert document.measured[1] > 0


def everything(sources: Sources) -> str:
    """Summary and protocols."""
    document = lay_out(sources)
    return "\n".join((document.summary, *document.setup))


def test_the_stand_ins_and_the_protocols_are_named(make_sources: MakeSources) -> None:
    text = everything(make_sources(4))
    for word in ("`mini`", "`mini_unet`", "`fashion_mnist`", "`fashion_mosaic`", "SD-2.0"):
        assert word in text
    assert "Grid" not in text
    assert "Grid `full`" in everything(make_sources(4, lambda _: False, grid="full"))
    assert "weights `0123456789ab`, the first 30 test images, trial list [5, 20]" in text
    assert "30 samples, sampler euler, 25 steps, guidance 2, reference `split`" in text
    assert "21 of 21 runs done" in text


def test_how_far_it_is(make_sources: MakeSources) -> None:
    some = make_sources(4, lambda config: config.operator.name == "tome")
    assert "9 of 21 runs done" in lay_out(some).summary
    assert lay_out(some).measured[0] < lay_out(make_sources(4)).measured[0]


def test_efficiency_says_how_it_was_measured(make_sources: MakeSources) -> None:
    paragraphs = lay_out(make_sources(18)).setup
    assert (
        "Times: `mini_unet` with random weights, batch 4, 5 repeats of 50 steps, device `cpu`, "
        "default threads, attention `sdpa`, float32."
    ) in paragraphs
    assert "FLOPs: `sd20`, one forward of one sample, counted without weights." in paragraphs


def test_every_number_of_images_is_named(compose: Compose, make_sources: MakeSources) -> None:
    """Table 14 has two."""
    plan = plan_table(load_spec(14), "mini", "default", (), compose)
    text = everything(replace(make_sources(14, lambda _: False), plan=plan))
    assert "the first 400 test images" in text
    assert "the first 1000 test images" in text


def test_the_paper_profile_names_every_dataset_and_its_protocol(
    as_printed: Callable[[int], Sources],
) -> None:
    text = everything(as_printed(4))
    for dataset in ("Oxford-IIIT Pets", "ImageNet-100", "ImageNet-1K", "COCO-2017"):
        assert dataset in text
    assert "Classification (`pets`, `imagenet100`, `coco2017`): weights `stabilityai/" in text
    assert "trial list [5, 20], keep list [5, 1]" in text
    assert "Classification (`imagenet1k`): " in text
    assert "trial list [5, 20, 100], keep list [50, 10, 1]" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"path": Path("somebody/here")}, "weights of `backbone.path`, "),
        ({"path": Path("somebody/here"), "fingerprint": "0123456789ab"}, "weights `0123456789ab`"),
    ],
)
def test_weights_of_a_folder_go_by_their_fingerprint(
    as_printed: Callable[[int], Sources], change: dict[str, object], expected: str
) -> None:
    sources = as_printed(12)
    cell, run = next(iter(sources.plan.runs.items()))
    backbone = run.config.backbone.model_copy(update=change)
    own = replace(run, config=run.config.model_copy(update={"backbone": backbone}))
    plan = replace(sources.plan, runs={cell: own})
    text = everything(replace(sources, plan=plan, measured=Measured()))
    assert expected in text
    assert "somebody" not in text
