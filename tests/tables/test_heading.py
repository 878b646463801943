from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bigain.tables.heading import introduction
from bigain.tables.overrides import Compose
from bigain.tables.planner import plan_table
from bigain.tables.sources import Sources
from bigain.tables.spec import load_spec

MakeSources = Callable[..., Sources]


def test_the_stand_ins_and_the_protocols_are_named(make_sources: MakeSources) -> None:
    text = "\n".join(introduction(make_sources(4)))
    assert (
        "Profile `mini`: the mini U-Net (`mini_unet`) on Fashion-MNIST (`fashion_mnist`), "
        "mosaics of Fashion-MNIST (`fashion_mosaic`)." in text
    )
    assert "Grid `default`." in text
    assert "**another backbone and other datasets**" in text
    assert "weights `0123456789ab`, the first 30 test images, trial list [5, 20]" in text
    assert "30 samples, sampler euler, 25 steps, guidance 2, reference `split`" in text
    assert "Runs: 21 of 21 done." in text


def test_how_far_it_is(make_sources: MakeSources) -> None:
    some = make_sources(4, lambda config: config.operator.name == "tome")
    assert "Runs: 9 of 21 done." in introduction(some)[-1]


def test_efficiency_says_how_it_was_measured(make_sources: MakeSources) -> None:
    paragraphs = introduction(make_sources(18))
    assert (
        "Times: `mini_unet` with random weights, batch 4, 5 repeats of 50 steps, device `cpu`, "
        "torch default threads, attention `sdpa`, float32."
    ) in paragraphs
    assert "FLOPs: `sd20`, one forward of one sample, counted without weights." in paragraphs


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (
            4,
            "**another backbone and other datasets**. Compare the shape of a line, not its ",
        ),
        (
            11,
            "**another backbone**. Compare the shape of a line, not its numbers; only GFLOPs ",
        ),
        (1, "numbers; only FLOPs saved, % are counted on the paper's own model."),
    ],
)
def test_which_numbers_can_be_compared_with_the_papers(
    make_sources: MakeSources, number: int, expected: str
) -> None:
    text = "\n".join(introduction(make_sources(number, lambda _: False)))
    assert expected in text


def test_every_number_of_images_is_named(compose: Compose, make_sources: MakeSources) -> None:
    """Table 14 has two."""
    plan = plan_table(load_spec(14), "mini", "default", (), compose)
    text = "\n".join(introduction(replace(make_sources(14, lambda _: False), plan=plan)))
    assert "the first 400 test images" in text
    assert "the first 1000 test images" in text


def test_the_paper_profile_names_every_dataset_and_its_protocol(
    as_printed: Callable[[int], Sources],
) -> None:
    paragraphs = introduction(as_printed(4))
    text = "\n".join(paragraphs)
    assert "Compare the shape" not in text
    for dataset in ("Oxford-IIIT Pets", "ImageNet-100", "ImageNet-1K", "COCO-2017"):
        assert dataset in paragraphs[0]
    assert "Classification (`pets`, `imagenet100`, `coco2017`): weights `stabilityai/" in text
    assert "trial list [5, 20], keep list [5, 1]" in text
    assert "Classification (`imagenet1k`): " in text
    assert "trial list [5, 20, 100], keep list [50, 10, 1]" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"path": Path("somebody/here")}, "weights of `backbone.path`, "),
        ({"path": Path("somebody/here"), "fingerprint": "0123456789ab"}, "weights `0123456789ab`"),
    ],
)
def test_weights_of_a_folder_go_by_their_fingerprint(
    as_printed: Callable[[int], Sources], change: dict[str, object], told: str
) -> None:
    sources = as_printed(12)
    cell, run = next(iter(sources.plan.runs.items()))
    backbone = run.config.backbone.model_copy(update=change)
    own = replace(run, config=run.config.model_copy(update={"backbone": backbone}))
    plan = replace(sources.plan, runs={cell: own})
    text = "\n".join(introduction(replace(sources, plan=plan)))
    assert told in text
    assert "somebody" not in text
