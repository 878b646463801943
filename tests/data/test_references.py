from pathlib import Path

import pytest

from bigain.data.fashion_mnist import SLICE_SIZE
from bigain.data.references import SELECTIONS, load_reference
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.testing.datasets import write_tiny

TASK = ["task=generation"]


def test_the_split_of_fashion_mnist_is_what_ships_whatever_the_limit() -> None:
    few = compose_config([*TASK, "dataset.limit=5"])
    assert len(load_reference(few.dataset, "split")) == SLICE_SIZE
    assert len(load_reference(few.dataset, "images")) == 5


def test_pets_may_be_compared_with_all_images(tmp_path: Path) -> None:
    write_tiny("pets", tmp_path)
    settings = ["backbone=sd20", "dataset=pets", f"dataset.root={tmp_path}", "dataset.limit=37"]
    config = compose_config([*TASK, *settings, "task.reference=all"])
    files = sorted((tmp_path / "oxford-iiit-pet" / "images").glob("*.jpg"))
    everything = load_reference(config.dataset, "all")
    assert len(everything) == len(files) >= 37
    assert everything.image_ids == list(range(len(files)))
    with pytest.raises(UserError, match=r"dataset\.limit=null: means all 3669"):
        load_reference(config.dataset, "split")


def test_every_selection_has_words() -> None:
    for which in SELECTIONS:
        dataset = "dataset=pets" if which == "all" else "dataset=fashion_mnist"
        backbone = "backbone=sd20" if which == "all" else "backbone=mini_unet"
        config = compose_config([*TASK, backbone, dataset, f"task.reference={which}"])
        assert config.task.name == "generation"
