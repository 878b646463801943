from pathlib import Path

import pytest
import torch

from bigain import build_generation
from bigain.build_generation import build_judge, build_reference, build_sampler
from bigain.compose import compose_config
from bigain.data.base import Dataset
from bigain.data.fashion_mnist import SLICE_SIZE
from bigain.data.tiny import write_tiny
from bigain.errors import UserError
from bigain.features.inception import InceptionExtractor
from bigain.features.mini import MiniExtractor

CPU = torch.device("cpu")
TASK = ["task=generation"]


def ids(dataset: Dataset) -> list[int]:
    return dataset.image_ids


def test_the_split_of_fashion_mnist_is_what_ships_whatever_the_limit() -> None:
    few = compose_config([*TASK, "dataset.limit=5"])
    assert len(build_reference(few.dataset, "split")) == SLICE_SIZE
    assert len(build_reference(few.dataset, "images")) == 5


def test_pets_may_be_compared_with_all_images(tmp_path: Path) -> None:
    write_tiny("pets", tmp_path)
    settings = ["backbone=sd20", "dataset=pets", f"dataset.root={tmp_path}", "dataset.limit=37"]
    config = compose_config([*TASK, *settings, "task.reference=all"])
    files = sorted((tmp_path / "oxford-iiit-pet" / "images").glob("*.jpg"))
    everything = build_reference(config.dataset, "all")
    assert len(everything) == len(files) >= 37
    assert ids(everything) == list(range(len(files)))
    with pytest.raises(UserError, match=r"dataset\.limit=null: means all 3669"):
        build_reference(config.dataset, "split")


def test_the_mini_extractor_also_tells_classes(tmp_path: Path) -> None:
    config = compose_config([*TASK, f"paths.cache={tmp_path}"])
    judge = build_judge(config, CPU, progress=False)
    assert isinstance(judge.extractor, MiniExtractor)
    assert judge.classify is not None
    assert not any(tmp_path.iterdir()), "a reference is computed when it is asked for"
    reference = judge.reference()
    assert reference.about["dataset"] == "fashion_mnist"
    assert reference.about["split"] == "split"
    assert reference.moments.n == SLICE_SIZE
    (kept,) = (tmp_path / "references").glob("*.npz")
    before = kept.stat().st_mtime_ns
    build_judge(config, CPU, progress=False).reference()
    assert kept.stat().st_mtime_ns == before, "computed once"


def test_inception_comes_from_the_named_file(random_inception: Path) -> None:
    named = f"task.extractor_weights={random_inception}"
    config = compose_config([*TASK, "task.extractor=inception", named])
    judge = build_judge(config, CPU, progress=False)
    assert isinstance(judge.extractor, InceptionExtractor)
    assert judge.classify is None


def test_missing_weights_of_inception_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = f"task.extractor_weights={tmp_path / 'none.pth'}"
    config = compose_config([*TASK, "task.extractor=inception", missing])
    with pytest.raises(UserError, match=r"none\.pth"):
        build_judge(config, CPU, progress=False)


def test_the_sampler_is_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}
    monkeypatch.setattr(build_generation, "Sampler", lambda _, **settings: seen.update(settings))
    settings = ["task.sampler=ddim", "task.steps=7", "task.guidance_scale=3", "seed=5"]
    config = compose_config([*TASK, *settings, "task.images_per_forward=2", "batch_size=64"])
    build_sampler(config, None, CPU)  # type: ignore[arg-type]
    assert seen == {
        "scheduler": "ddim",
        "steps": 7,
        "guidance_scale": 3.0,
        "seed": 5,
        "images_per_forward": 2,
        "device": CPU,
    }
