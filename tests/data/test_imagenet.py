import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from bigain.data.files import Entry, ImageFiles
from bigain.data.imagenet import (
    LISTS,
    TRAINING_IDS,
    VAL_LABELS,
    ImageNet1K,
    ImageNet100,
    val_order,
)
from bigain.errors import UserError
from bigain.testing.datasets import TRUNCATED, write_tiny

NAMES = ["imagenet1k", "imagenet100"]
CLASS = {"imagenet1k": ImageNet1K, "imagenet100": ImageNet100}


def val_entries(name: str) -> list[Entry]:
    return CLASS[name].list_entries(Path("nowhere"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


# The lists.


@pytest.mark.parametrize(("size", "each"), [(2000, 2), (10_000, 10)])
def test_the_published_lists_are_the_beginning_of_the_order_and_balanced(
    size: int, each: int
) -> None:
    entries = val_entries("imagenet1k")[:size]
    published = [(int(r["image_number"]), int(r["class_index"])) for r in rows(LISTS[size])]
    assert published == [(entry.image_id, entry.label) for entry in entries]
    assert set(Counter(label for _, label in published).values()) == {each}
    assert len(Counter(label for _, label in published)) == 1000


def test_the_longer_list_extends_the_shorter_one() -> None:
    short, long = LISTS[2000].read_text(), LISTS[10_000].read_text()
    assert long.startswith(short)


def test_every_validation_image_has_a_label_and_every_class_fifty_images() -> None:
    labels = [int(row["class_index"]) for row in rows(VAL_LABELS)]
    assert len(labels) == 50_000
    assert Counter(labels) == dict.fromkeys(range(1000), 50)
    assert labels[:3] == [65, 970, 230]  # sea snake, alp, Shetland sheepdog: as is well known


@pytest.mark.parametrize(("name", "size"), [("imagenet1k", 50_000), ("imagenet100", 5000)])
def test_the_split_is_whole_and_balanced_at_every_length(name: str, size: int) -> None:
    entries = val_entries(name)
    classes = size // 50
    assert len({entry.image_id for entry in entries}) == size
    assert {entry.label for entry in entries} == set(range(classes))
    for n in (1, classes, 3 * classes, 3 * classes + 7):
        counts = Counter(entry.label for entry in entries[:n])
        assert max(counts.values()) - (min(counts.values()) if n >= classes else 0) <= 1


def test_imagenet100_numbers_its_own_classes() -> None:
    labels = [int(row["class_index"]) for row in rows(VAL_LABELS)]
    conditions = [int(row["class_index"]) for row in rows(VAL_LABELS.with_name("imagenet100.csv"))]
    for entry in val_entries("imagenet100")[::97]:
        assert conditions[entry.label or 0] == labels[entry.image_id - 1]


def test_the_order_can_be_that_of_some_classes() -> None:
    labels = [0, 1, 2] * 5
    whole, part = val_order(labels), val_order(labels, [0, 2])
    assert sorted(whole) == list(range(1, 16))
    assert part == [number for number in whole if labels[number - 1] != 1]


# The files.


@pytest.mark.parametrize("name", NAMES)
def test_images_and_labels_are_those_of_torchvisions_image_folder(
    tmp_path: Path, name: str
) -> None:
    count = write_tiny(name, tmp_path)
    ours = CLASS[name](count, tmp_path)
    folder = "imagenet" if name == "imagenet1k" else name
    theirs = ImageFolder(tmp_path / folder / "val")
    found = {int(Path(path).stem[-8:]): index for index, (path, _) in enumerate(theirs.samples)}
    assert sorted(found) == sorted(ours.image_ids)
    wnids = {r["class_index"]: r["wnid"] for r in rows(VAL_LABELS.with_name("imagenet.csv"))}
    for position in [p for p in range(count) if p != TRUNCATED]:
        sample = ours[position]
        image, label = theirs[found[sample.image_id]]
        condition = (ours.condition_ids or ())[sample.label or 0]
        assert theirs.classes[label] == wnids[str(condition)]
        assert np.array_equal(sample.image, np.asarray(image))


def test_all_files_in_one_folder_are_the_same_images(tmp_path: Path) -> None:
    count = write_tiny("imagenet1k", tmp_path / "by_class")
    flat = tmp_path / "flat" / "val"
    flat.mkdir(parents=True)
    for path in (tmp_path / "by_class").rglob("*.JPEG"):
        (flat / path.name).write_bytes(path.read_bytes())
    ours = ImageNet1K(count, tmp_path / "flat")
    other = ImageNet1K(count, tmp_path / "by_class")
    assert ours.image_ids == other.image_ids
    assert np.array_equal(ours[0].image, other[0].image)


def test_imagenet100_can_be_read_from_the_folder_of_imagenet(tmp_path: Path) -> None:
    write_tiny("imagenet100", tmp_path)
    (tmp_path / "imagenet100").rename(tmp_path / "imagenet")
    assert len(ImageNet100(20, tmp_path)) == 20


@pytest.mark.parametrize("name", NAMES)
def test_the_order_does_not_depend_on_what_is_there(tmp_path: Path, name: str) -> None:
    write_tiny(name, tmp_path)
    dataset = CLASS[name](7, tmp_path)
    assert dataset.image_ids == [entry.image_id for entry in val_entries(name)[:7]]
    with pytest.raises(UserError, match=r"1 of the 21 images in use are missing, such as val/n"):
        CLASS[name](21, tmp_path)
    with pytest.raises(UserError, match="of the 50000 images" if name[8:] == "1k" else "of the 50"):
        CLASS[name](None, tmp_path)


def test_a_file_in_the_folder_of_another_class_is_missing(tmp_path: Path) -> None:
    write_tiny("imagenet1k", tmp_path)
    file = tmp_path / "imagenet" / val_entries("imagenet1k")[0].file
    other = tmp_path / "imagenet" / "val" / "n99999999"
    other.mkdir()
    file.rename(other / file.name)
    with pytest.raises(UserError, match=f"missing, such as val/n.*/{file.name}"):
        ImageNet1K(20, tmp_path)


def test_no_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no ImageNet-100 there, .*val is missing; expected val/<"):
        ImageNet100(5, tmp_path)


def test_a_file_beside_the_folders_of_the_classes_changes_nothing(tmp_path: Path) -> None:
    write_tiny("imagenet1k", tmp_path)
    before = ImageNet1K(20, tmp_path)
    val = before.folder / "val"
    for name in ("ILSVRC2012_val_00000001.JPEG", "._ILSVRC2012_val_00000002.JPEG", "Thumbs.db"):
        (val / name).write_bytes(b"")
    assert ImageNet1K(20, tmp_path).content_hash == before.content_hash


@pytest.mark.parametrize("name", NAMES)
def test_training_images_are_one_of_each_class_and_then_the_next(tmp_path: Path, name: str) -> None:
    write_tiny(name, tmp_path)
    folder = tmp_path / ("imagenet" if name == "imagenet1k" else name) / "train"
    ours = CLASS[name].open_training(tmp_path, 20)
    assert isinstance(ours, ImageFiles)
    assert len({entry.label for entry in ours.entries}) == len(ours) == 20
    theirs = {Path(path).name: Path(path).parent.name for path, _ in ImageFolder(folder).samples}
    wnids = [row["wnid"] for row in rows(VAL_LABELS.with_name("imagenet.csv"))]
    for entry in ours.entries:
        place = Path(entry.file)
        index = (ours.condition_ids or ())[entry.label or 0]
        assert theirs[place.name] == place.parent.name == wnids[index]
        number = int(place.stem.rpartition("_")[2])
        assert entry.image_id == index * TRAINING_IDS + number
    # A second image of the first class comes after one of each of the others that are asked for.
    first = ours.entries[0]
    more = folder / Path(first.file).parent.name
    for number in (7, 10026):
        (more / f"{more.name}_{number}.JPEG").write_bytes((folder.parent / first.file).read_bytes())
    (more / "._cover.JPEG").write_bytes(b"")
    shorter = CLASS[name].open_training(tmp_path, 3)
    assert isinstance(shorter, ImageFiles)
    assert [e.label for e in shorter.entries] == [e.label for e in ours.entries[:3]]
    assert shorter.entries[1:] == ours.entries[1:3]


def test_a_class_without_training_images_is_named(tmp_path: Path) -> None:
    write_tiny("imagenet1k", tmp_path)
    with pytest.raises(UserError, match=r"train/n\d{8}: has no training image; allowed: n\d{8}_<"):
        ImageNet1K.open_training(tmp_path, 21)
