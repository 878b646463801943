import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bigain.config import RunConfig
from bigain.tables.layout import Sources
from bigain.tables.markdown import render_markdown

MakeSources = Callable[..., Sources]


def not_lgtm_at_half(config: RunConfig) -> bool:
    return config.operator.settings()["ratio"] != 0.5 or config.operator.name != "lgtm"


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    section = text.partition(heading)[2]
    lines = section[section.index("|") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("table04_one_missing", {"number": 4, "wanted": not_lgtm_at_half}),
        ("table03_full", {"number": 3, "grid": "full"}),
        ("table02_nothing", {"number": 2, "wanted": lambda _: False}),
        ("table05_paper", {"number": 5, "profile": "paper", "wanted": lambda _: False}),
    ],
)
def test_golden(
    make_sources: MakeSources,
    golden: Callable[[str, str], None],
    name: str,
    arguments: dict[str, object],
) -> None:
    golden(f"{name}.md", render_markdown(make_sources(**arguments)))


def test_the_same_input_gives_the_same_bytes(make_sources: MakeSources) -> None:
    sources = make_sources(4)
    assert render_markdown(sources) == render_markdown(sources)


def test_the_stand_ins_and_the_protocol_are_named(make_sources: MakeSources) -> None:
    text = render_markdown(make_sources(4))
    assert "`mini_unet`" in text
    assert "**another backbone and other datasets**" in text
    assert "weights `0123456789ab`, the first 30 test images, trial list [5, 20]" in text
    assert "Runs: 7 of 7 done." in text


def test_a_complete_table_lists_no_commands(make_sources: MakeSources) -> None:
    text = render_markdown(make_sources(4))
    assert "What is missing" not in text
    assert "| —" not in text


def test_missing_cells_come_with_the_command_that_fills_them(make_sources: MakeSources) -> None:
    text = render_markdown(make_sources(4, not_lgtm_at_half))
    assert text.count("python -m bigain backbone=") == 1
    assert "operator=lgtm operator.ratio=0.5 dataset.limit=30\n" in text
    assert "`python -m bigain table 4 --profile mini dataset.limit=30`" in text


def test_the_paper_profile_names_every_dataset_and_its_protocol(make_sources: MakeSources) -> None:
    text = render_markdown(make_sources(4, profile="paper", wanted=lambda _: False))
    assert "Compare the shape" not in text
    assert text.count("python -m bigain profile=paper backbone=sd20") == 60
    for dataset in ("Oxford-IIIT Pets", "ImageNet-100", "ImageNet-1K", "COCO-2017"):
        assert f"SD-2.0, {dataset}" in text
    assert "\n- Oxford-IIIT Pets (`pets`): weights `stabilityai/stable-diffusion-2-base` at" in text
    assert "trial list [5, 20], keep list [5, 1]" in text
    assert "trial list [5, 20, 100], keep list [50, 10, 1]" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"path": Path("somebody/here")}, "weights of `backbone.path`, "),
        ({"path": Path("somebody/here"), "fingerprint": "0123456789ab"}, "weights `0123456789ab`"),
    ],
)
def test_weights_of_a_folder_go_by_their_fingerprint(
    make_sources: MakeSources, change: dict[str, object], told: str
) -> None:
    sources = make_sources(5, profile="paper", wanted=lambda _: False)
    cell, run = next(iter(sources.plan.runs.items()))
    backbone = run.config.backbone.model_copy(update=change)
    own = replace(run, config=run.config.model_copy(update={"backbone": backbone}))
    plan = replace(sources.plan, runs={cell: own})
    text = render_markdown(replace(sources, plan=plan))
    assert told in text
    assert "somebody" not in text


def test_all_values_of_the_paper_are_printed(make_sources: MakeSources) -> None:
    """In the mini profile one dataset stands beside the measured values, the rest below."""
    sources = make_sources(2, lambda _: False, grid="full")
    text = render_markdown(sources)
    for key, value in sources.paper.items():
        if key.table == 2 and key.task == "classification":
            assert re.search(rf"[| +]{re.escape(value.text)} ", text), key


def test_margins_are_left_out_until_they_are_measured(make_sources: MakeSources) -> None:
    assert "Margin: mean" not in render_markdown(make_sources(4, lambda _: False))
    assert "Margin: mean" in render_markdown(make_sources(4, not_lgtm_at_half))


def test_tables_are_rectangular(make_sources: MakeSources) -> None:
    table = rows(render_markdown(make_sources(4)), "## Top-1 accuracy")
    assert table[0] == ["", "no acceleration", "ratio 0.3", "ratio 0.5", "ratio 0.7"]
    assert {len(row) for row in table} == {5}
    assert [row[0] for row in table if row[0].startswith("**")] == [
        "**ToMe**",
        "**L-GTM (BiGain)**",
        "**L-GTM minus ToMe**",
    ]


def test_only_the_marks_that_are_printed_are_explained(make_sources: MakeSources) -> None:
    default = render_markdown(make_sources(4, lambda _: False))
    assert "- [a]" not in default
    assert "- [b]" in default
    assert "- [a]" in render_markdown(make_sources(4, lambda _: False, grid="full"))


def test_it_ends_with_one_newline(make_sources: MakeSources) -> None:
    text = render_markdown(make_sources(5, lambda _: False))
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_the_number_of_images_stands_under_every_measured_block(make_sources: MakeSources) -> None:
    text = render_markdown(make_sources(4))
    measured = text.partition("## Only in the paper")[0].split("\n## ")[1:]
    assert len(measured) == 6
    assert all("\n\nn = 30 images behind every measured number." in block for block in measured)
    assert "n = " not in render_markdown(make_sources(4, lambda _: False))
