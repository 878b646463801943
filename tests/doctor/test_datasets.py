import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bigain.config import RunConfig
from bigain.data import fashion_mnist
from bigain.data.files import PublishedFiles
from bigain.data.pets import Pets
from bigain.doctor import datasets
from bigain.doctor.datasets import check_dataset, check_reference
from bigain.doctor.findings import Finding
from bigain.testing.datasets import TINY, write_tiny

Compose = Callable[..., RunConfig]
FID = ["backbone=sd20", "dataset=pets", "task=generation"]


@pytest.fixture
def check(compose: Compose) -> Callable[..., Finding]:
    """What is found of a dataset below a root."""

    def examined(name: str, root: Path | None, *more: str) -> Finding:
        where = [] if root is None else [f"dataset.root={root}"]
        run = compose("backbone=sd20", "task=efficiency", f"dataset={name}", *where, *more)
        return check_dataset(run.dataset)

    return examined


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_dataset_that_is_there_is_ready(
    name: str, check: Callable[..., Finding], tmp_path: Path
) -> None:
    write_tiny(name, tmp_path)
    found = check(name, tmp_path, "dataset.limit=5")
    assert (found.status, found.advice) == ("ready", ())
    assert found.what.startswith(f"5 images in {tmp_path}")


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_missing_dataset_comes_with_its_source_and_its_layout(
    name: str, check: Callable[..., Finding], compose: Compose, tmp_path: Path
) -> None:
    found = check(name, tmp_path)
    assert (found.status, found.what) == ("missing", "nothing of it")
    get, lay_out = found.advice
    facts = compose("task=efficiency", f"dataset={name}").dataset.kind
    assert issubclass(facts, PublishedFiles)
    assert facts.layout.source in get
    assert facts.layout.shape in lay_out
    assert str(tmp_path / facts.layout.folders[0]) in lay_out


def test_without_a_root_the_ways_to_set_one_are_named(
    check: Callable[..., Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIGAIN_DATA", raising=False)
    found = check("pets", None)
    assert found.what == ("there is no folder data (dataset.root and BIGAIN_DATA are not set)")


def test_archives_that_were_not_unpacked_are_found(
    check: Callable[..., Finding], tmp_path: Path
) -> None:
    (tmp_path / "ILSVRC2012_img_val.tar").touch()
    found = check("imagenet1k", tmp_path)
    assert found.status == "missing"
    assert "ILSVRC2012_img_val.tar, which must be unpacked in" in found.what


def test_images_that_are_gone_are_a_problem(check: Callable[..., Finding], tmp_path: Path) -> None:
    write_tiny("pets", tmp_path)
    for image in (tmp_path / "oxford-iiit-pet" / "images").iterdir():
        image.unlink()
    found = check("pets", tmp_path, "dataset.limit=5")
    assert found.status == "problem"
    assert "5 of the 5 images in use are missing" in found.what


@pytest.mark.parametrize(("position", "seen"), [(3, True), (30, False)])
def test_images_that_can_never_be_read_are_a_problem_with_their_names(
    check: Callable[..., Finding],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    position: int,
    seen: bool,
) -> None:
    """Headers of the first images are read; 10 here, which are quicker than 200."""
    write_tiny("pets", tmp_path)
    monkeypatch.setattr(datasets, "_LOOKED_AT", 10)
    file = Pets(37, tmp_path).entries[position].file
    pixels = np.zeros((4, 4), np.float32)
    Image.fromarray(pixels).save(tmp_path / "oxford-iiit-pet" / file, "TIFF")
    found = check("pets", tmp_path, "dataset.limit=37")
    assert found.status == ("problem" if seen else "ready")
    assert (f"1 of 10 images cannot be read: {file} (its pixels are floating" in found.what) == seen


def test_fewer_images_than_the_split_are_a_problem_with_a_way_out(
    check: Callable[..., Finding], tmp_path: Path
) -> None:
    write_tiny("pets", tmp_path)
    found = check("pets", tmp_path, "profile=paper")
    assert found.status == "problem"
    assert "means all 3669 images of the published split" in found.what
    assert found.advice == ("allowed: dataset.limit=1 to 37, or the whole split",)


def test_damaged_annotations_are_a_problem(check: Callable[..., Finding], tmp_path: Path) -> None:
    write_tiny("coco2017", tmp_path)
    (tmp_path / "coco" / "annotations" / "instances_val2017.json").write_text("{")
    found = check("coco2017", tmp_path, "dataset.limit=5")
    assert found.status == "problem"
    assert "is no COCO annotation file" in found.what


@pytest.mark.parametrize("kind", ["instances", "captions"])
def test_coco_without_annotations_is_a_problem(
    check: Callable[..., Finding], tmp_path: Path, kind: str
) -> None:
    write_tiny("coco2017", tmp_path)
    path = tmp_path / "coco" / "annotations" / f"{kind}_val2017.json"
    content = json.loads(path.read_text())
    del content["annotations"]
    path.write_text(json.dumps(content))
    found = check("coco2017", tmp_path, "dataset.limit=5")
    assert (found.status, found.what) == ("problem", f"{path}: has no annotations")


def test_a_package_that_does_not_import_is_a_problem(
    check: Callable[..., Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: object) -> None:
        raise ImportError("no\nsymbol")

    write_tiny("pets", tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", broken)
    found = check("pets", tmp_path, "dataset.limit=5")
    assert (found.status, found.what) == ("problem", "ImportError: no symbol")


def test_the_images_that_ship_are_ready(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fashion_mnist, "find_root", lambda _: None)
    found = check_dataset(compose().dataset, needed=False)
    assert (found.status, found.needed) == ("ready", False)
    assert found.what == "400 images of the 1,000 that ship"


def test_mosaics_are_ready_wherever_the_full_data_are(compose: Compose) -> None:
    found = check_dataset(compose("dataset=fashion_mosaic").dataset)
    assert (found.status, found.what) == ("ready", "400 images made of the 1,000 that ship")


# References.


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
    (found,) = check_reference(compose(*few, "task.reference=images"), needed=False)
    assert (found.status, found.needed) == ("ready", False)


def test_a_part_of_all_images_is_a_problem_with_both_counts(
    compose: Compose, tmp_path: Path
) -> None:
    write_tiny("pets", tmp_path)
    given = [*FID, f"dataset.root={tmp_path}", "dataset.limit=5", "task.reference=all"]
    (found,) = check_reference(compose(*given))
    assert (found.status, found.stops) == ("problem", True)
    assert "7390" in found.what
    assert "holds 74" in found.what


@pytest.mark.parametrize(
    ("name", "listed"),
    [("pets", "37 images; published are 3,669"), ("coco2017", "12 images; published are 5,000")],
)
def test_lists_of_a_part_of_the_split_are_told_with_both_counts(
    check: Callable[..., Finding], tmp_path: Path, name: str, listed: str
) -> None:
    write_tiny(name, tmp_path)
    assert check(name, tmp_path, "dataset.limit=5").what.endswith(f"which lists {listed}")


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
