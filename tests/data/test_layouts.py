import re
from pathlib import Path

import pytest

from bigain.data.coco import Coco
from bigain.data.imagenet import ImageNet1K, ImageNet100
from bigain.data.layouts import Layout
from bigain.data.pets import Pets
from bigain.errors import UserError

LAYOUTS: dict[str, Layout] = {
    "pets": Pets.layout,
    "imagenet1k": ImageNet1K.layout,
    "imagenet100": ImageNet100.layout,
    "coco2017": Coco.layout,
}


def lay_out(folder: Path, parts: tuple[str, ...]) -> Path:
    for part in parts:
        path = folder / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir()
    return folder


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_every_folder_of_the_layout_is_found(dataset: str, tmp_path: Path) -> None:
    layout = LAYOUTS[dataset]
    for index, folder in enumerate(layout.folders):
        root = tmp_path / str(index)
        laid = lay_out(root / folder, layout.parts)
        assert LAYOUTS[dataset].find(root) == laid
        assert layout.missing_parts(laid) == ()


def test_the_more_special_folder_goes_first(tmp_path: Path) -> None:
    lay_out(tmp_path / "imagenet", ("val",))
    lay_out(tmp_path, ("val",))
    assert LAYOUTS["imagenet100"].find(tmp_path) == tmp_path / "imagenet"
    lay_out(tmp_path / "imagenet100", ("val",))
    assert LAYOUTS["imagenet100"].find(tmp_path) == tmp_path / "imagenet100"
    assert LAYOUTS["imagenet1k"].find(tmp_path) == tmp_path / "imagenet"


def test_without_a_root_the_folder_data_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"dataset\.root=null: no COCO 2017 there"):
        LAYOUTS["coco2017"].find(None)
    lay_out(tmp_path / "data" / "coco", LAYOUTS["coco2017"].parts)
    assert LAYOUTS["coco2017"].find(None) == Path("data/coco")


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_nothing_there_is_one_line_that_tells_the_layout(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        LAYOUTS[dataset].find(tmp_path)
    message = str(told.value)
    assert message.startswith(f"dataset.root={tmp_path}: no {LAYOUTS[dataset].title} there")
    assert LAYOUTS[dataset].shape in message
    assert "set dataset.root or BIGAIN_DATA" in message
    assert "\n" not in message


@pytest.mark.parametrize("dataset", ["pets", "coco2017"])
def test_what_is_missing_of_the_best_folder_is_named(dataset: str, tmp_path: Path) -> None:
    layout = LAYOUTS[dataset]
    folder = lay_out(tmp_path / layout.folders[0], layout.parts[:-1])
    assert layout.missing_parts(folder) == layout.parts[-1:]
    with pytest.raises(UserError, match=re.escape(f"{folder / layout.parts[-1]} is missing")):
        LAYOUTS[dataset].find(tmp_path)


def test_a_root_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root=.*nowhere: no ImageNet-1K there"):
        LAYOUTS["imagenet1k"].find(tmp_path / "nowhere")


# What is there in its place.


def clue(dataset: str, root: Path) -> str:
    found = LAYOUTS[dataset].search(root)
    assert found.missing
    with pytest.raises(UserError) as told:
        LAYOUTS[dataset].find(root)
    assert str(told.value).endswith(f"; found: {found.clue}")
    return found.clue


def test_nothing_is_called_nothing(tmp_path: Path) -> None:
    assert clue("pets", tmp_path) == "nothing of it"
    assert clue("pets", tmp_path / "nowhere") == f"there is no folder {tmp_path / 'nowhere'}"


@pytest.mark.parametrize(
    ("dataset", "archive"),
    [
        ("pets", "images.tar.gz"),
        ("pets", "oxford-iiit-pet/annotations.tar.gz"),
        ("imagenet1k", "ILSVRC2012_img_val.tar"),
        ("coco2017", "coco/val2017.zip"),
    ],
)
def test_an_archive_that_was_not_unpacked_is_recognised(
    dataset: str, archive: str, tmp_path: Path
) -> None:
    (tmp_path / archive).parent.mkdir(exist_ok=True)
    (tmp_path / archive).touch()
    folder = tmp_path / LAYOUTS[dataset].folders[0]
    assert clue(dataset, tmp_path) == f"{tmp_path / archive}, which must be unpacked in {folder}"


def test_a_root_that_is_the_dataset_itself_is_recognised(tmp_path: Path) -> None:
    """torchvision wants the folder above; with any other name it would not find the files."""
    laid = lay_out(tmp_path / "oxford-iiit-pet", LAYOUTS["pets"].parts)
    assert clue("pets", laid) == f"{laid} is the dataset itself; set dataset.root={tmp_path}"
    laid = laid.rename(tmp_path / "mine")
    assert clue("pets", laid).endswith(
        f"rename it to oxford-iiit-pet and set dataset.root={tmp_path}"
    )


def test_what_is_there_is_told_beside_what_is_not(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "coco", LAYOUTS["coco2017"].parts[:2])
    expected = f"val2017, annotations/instances_val2017.json in {folder}, but not the rest"
    assert clue("coco2017", tmp_path) == expected


def test_what_is_whole_is_found_and_lacks_nothing(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "coco", LAYOUTS["coco2017"].parts)
    found = LAYOUTS["coco2017"].search(tmp_path)
    assert (found.folder, found.missing) == (folder, ())
