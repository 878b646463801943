from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bigain.data.coco import Coco
from bigain.data.files import Entry, ImageFiles, take
from bigain.data.imagenet import ImageNet100
from bigain.data.images import UnreadableImage
from bigain.errors import UserError

CLASSES = Coco.classes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        pixels = np.full((3, 5 + number, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


def entries(count: int = 4) -> list[Entry]:
    return [Entry(10 + number, f"{number}.png", number) for number in range(count)]


def test_samples_come_in_the_order_of_the_entries(folder: Path) -> None:
    dataset = ImageFiles(entries()[::-1], folder, CLASSES)
    assert dataset.image_ids == [13, 12, 11, 10]
    assert len(dataset) == 4
    assert [(s.image_id, s.label) for s in (dataset[i] for i in range(4))] == [
        (13, 3), (12, 2), (11, 1), (10, 0)
    ]  # fmt: skip
    assert dataset[0].image.shape == (3, 8, 3)
    assert int(dataset[1].image.max()) == 80


@pytest.mark.parametrize("position", [-1, 4])
def test_there_is_nothing_beyond_the_ends(folder: Path, position: int) -> None:
    with pytest.raises(IndexError):
        ImageFiles(entries(), folder, CLASSES)[position]


def test_names_and_prompts_are_those_of_the_classes(folder: Path) -> None:
    dataset = ImageFiles(entries(), folder, ImageNet100.classes())
    assert dataset.class_names[0] == "American robin"
    assert dataset.prompts[0] == "a photo of a American robin."
    assert (dataset.condition_ids or ())[:2] == (15, 45)


def test_labels_and_captions_of_an_entry_reach_the_sample(folder: Path) -> None:
    entry = Entry(5, "0.png", None, (2, 7), ("one", "two"))
    sample = ImageFiles([entry], folder, CLASSES)[0]
    assert (sample.label, sample.labels, sample.captions) == (None, (2, 7), ("one", "two"))


def test_an_unreadable_file_says_so_only_when_its_image_is_asked_for(folder: Path) -> None:
    (folder / "2.png").write_bytes(b"nothing")
    sample = ImageFiles(entries(), folder, CLASSES)[2]
    assert sample.label == 2
    with pytest.raises(UnreadableImage, match=r"^2\.png: is no image"):
        sample.image  # noqa: B018


def test_missing_files_are_counted_and_the_first_is_named(folder: Path) -> None:
    for number in (1, 3):
        (folder / f"{number}.png").unlink()
    with pytest.raises(UserError, match=r"2 of the 4 images in use are missing, such as 1\.png"):
        ImageFiles(entries(), folder, CLASSES)
    assert len(ImageFiles(entries(1), folder, CLASSES)) == 1, "only those in use are needed"


def test_a_folder_in_the_place_of_a_file_is_a_missing_image(folder: Path) -> None:
    (folder / "1.png").unlink()
    (folder / "1.png").mkdir()
    with pytest.raises(UserError, match=r"1 of the 4 images in use are missing, such as 1\.png"):
        ImageFiles(entries(), folder, CLASSES)


@pytest.mark.parametrize(
    "other",
    [
        [Entry(99, "0.png", 0)],
        [Entry(10, "0.png", 1)],
        [Entry(10, "1.png", 0)],
        [Entry(10, "0.png", None, (0, 1))],
        [],
        entries(2),
        entries(2)[::-1],
    ],
)
def test_the_content_hash_knows_ids_labels_names_and_order(
    folder: Path, other: list[Entry]
) -> None:
    def digest(chosen: list[Entry]) -> str:
        return ImageFiles(chosen, folder, CLASSES).content_hash

    assert digest(entries(1)) == digest(entries(1))
    assert digest(other) != digest(entries(1))


def test_the_content_hash_knows_the_sizes_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    before = ImageFiles(entries(), folder, CLASSES).content_hash
    moved = tmp_path / "moved"
    moved.mkdir()
    for number in range(4):
        (folder / f"{number}.png").rename(moved / f"{number}.png")
    assert ImageFiles(entries(), moved, CLASSES).content_hash == before
    with (moved / "3.png").open("ab") as handle:
        handle.write(b"x")
    assert ImageFiles(entries(), moved, CLASSES).content_hash != before


# Limits.


def test_a_limit_takes_the_first_entries(tmp_path: Path) -> None:
    assert take(entries(), 3, published=100, folder=tmp_path) == entries(3)
    assert take(entries(), 4, published=100, folder=tmp_path) == entries()
    assert take(entries(), None, published=4, folder=tmp_path) == entries()


def test_a_limit_beyond_what_is_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.limit=5: allowed: 1 to 4, the images that"):
        take(entries(), 5, published=100, folder=tmp_path)


def test_all_images_never_means_a_part_of_the_published_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.limit=null: means all 100 .* lists 4; allowed"):
        take(entries(), None, published=100, folder=tmp_path)
