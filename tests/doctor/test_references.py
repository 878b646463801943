from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.doctor.references import check_reference
from bigain.testing.datasets import write_tiny

Compose = Callable[..., RunConfig]
FID = ["backbone=sd20", "dataset=pets", "task=generation"]


def statistics(path: Path, dimension: int) -> str:
    np.savez(path, mu=np.zeros(dimension), sigma=np.eye(dimension))
    return f"task.reference={path}"


@pytest.mark.parametrize("more", [[], ["task=efficiency"]])
def test_who_generates_nothing_needs_none(compose: Compose, more: list[str]) -> None:
    assert check_reference(compose(*more)) == []


def test_the_clothes_that_ship_are_always_there(compose: Compose) -> None:
    (found,) = check_reference(compose("task=generation", "dataset.limit=5"))
    assert (found.area, found.subject, found.status) == ("datasets", "reference", "ready")
    assert found.what == "1,000 images of fashion_mnist: all images"


def test_a_run_of_few_images_needs_the_whole_split(compose: Compose, tmp_path: Path) -> None:
    """Five images of the dataset are there, and the run would end at the missing others."""
    write_tiny("pets", tmp_path)
    few = [*FID, f"dataset.root={tmp_path}", "dataset.limit=5"]
    (found,) = check_reference(compose(*few))
    assert (found.status, found.stops) == ("problem", True)
    assert "3669" in found.what
    for which in ("images", "all"):
        (found,) = check_reference(compose(*few, f"task.reference={which}"), needed=False)
        assert (found.status, found.needed) == ("ready", False)


def test_a_dataset_that_is_not_there_is_told_once(compose: Compose, tmp_path: Path) -> None:
    assert check_reference(compose(*FID, f"dataset.root={tmp_path}")) == []


def test_statistics_are_read(compose: Compose, tmp_path: Path) -> None:
    given = statistics(tmp_path / "s.npz", 64)
    (found,) = check_reference(compose("task=generation", given))
    assert found.status == "ready"
    assert found.what.endswith("s.npz, statistics of an unknown number of images, 64 features")
    given = statistics(tmp_path / "s.npz", 32)
    (found,) = check_reference(compose("task=generation", given))
    assert found.status == "problem"
    assert found.what.endswith("s.npz: is of 32 features")
    assert found.advice == ("allowed: 64, as task.extractor=mini has",)
    (tmp_path / "s.npz").write_bytes(b"half")
    (found,) = check_reference(compose("task=generation", given))
    assert "cannot be read as statistics" in found.what
    assert found.what.startswith("task.reference=")
