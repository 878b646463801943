from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import OxfordIIITPet

from bigain.config import DatasetConfig
from bigain.data.files import ImageFiles
from bigain.data.pets import Pets
from bigain.errors import UserError
from bigain.testing.datasets import TRUNCATED, write_tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tiny("pets", tmp_path)
    return tmp_path


def pets(root: Path) -> DatasetConfig:
    target = "bigain.data.pets.Pets"
    plain = {"name": "pets", "_target_": target, "limit": None, "root": root}
    return DatasetConfig.model_validate(plain)


def annotations(root: Path) -> Path:
    return root / "oxford-iiit-pet" / "annotations" / "test.txt"


def test_images_labels_and_names_are_torchvisions(root: Path) -> None:
    theirs = OxfordIIITPet(root, split="test")
    ours = Pets(37, root)
    assert list(ours.class_names) == theirs.classes
    by_id = {sample.image_id: sample for sample in (ours[i] for i in range(37))}
    bad = ours.image_ids[TRUNCATED]
    names = sorted(path.name for path in theirs._images)
    for index, path in enumerate(theirs._images):
        image_id = names.index(path.name)
        if image_id != bad:
            image, label = theirs[index]
            assert by_id[image_id].label == label
            assert np.array_equal(by_id[image_id].image, np.asarray(image))


def test_the_species_of_the_annotations_is_that_of_the_prompt(root: Path) -> None:
    theirs = OxfordIIITPet(root, split="test", target_types="binary-category")
    species = dict(zip(theirs._labels, theirs._bin_labels, strict=True))
    prompts = list(Pets(37, root).prompts)
    assert prompts.pop(1) == "a photo of a American Bulldog, a type of pet."
    del species[1]
    for label, prompt in zip(sorted(species), prompts, strict=True):
        assert prompt.endswith(f" {'cat' if species[label] == 0 else 'dog'}, a type of pet.")


def test_the_order_is_balanced_and_a_limit_takes_its_beginning(root: Path) -> None:
    whole = Pets(37, root)
    assert sorted(whole.image_ids) == list(range(37))
    assert whole.image_ids != sorted(whole.image_ids)
    assert Pets(10, root).image_ids == whole.image_ids[:10]
    assert sorted(whole[i].label or 0 for i in range(37)) == list(range(37))


def test_the_order_of_the_lines_does_not_matter(root: Path) -> None:
    before = Pets(37, root)
    lines = annotations(root).read_text().splitlines(keepends=True)
    annotations(root).write_text("".join(lines[::-1]))
    after = Pets(37, root)
    assert (after.image_ids, after.content_hash) == (before.image_ids, before.content_hash)


def test_the_whole_split_is_the_published_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"dataset\.limit=null: means all 3669 images"):
        Pets(None, root)
    monkeypatch.setattr(Pets, "split_size", 37)
    assert len(Pets(None, root)) == 37


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Abyssinian_9", r"line 3 \(Abyssinian_9\): is no annotation"),
        ("", r"line 3 \(\): is no annotation"),
        ("Abyssinian_9 1 1", "is no annotation"),
        ("poodle_9 38 2 26", "has no prompt; allowed: the 37 breeds"),
        ("Abyssinian_9 2 1 1", "has no prompt"),
        ("Abyssinian_9 1 2 1", "has no prompt"),
        ("Abyssinian_9 one 1 1", "has no prompt"),
        ("Abyssinian_7 1 1 1", "names an image again"),
    ],
)
def test_a_wrong_line_is_named(root: Path, line: str, why: str) -> None:
    lines = annotations(root).read_text().splitlines()
    annotations(root).write_text("\n".join([*lines[:2], line, *lines[3:]]) + "\n")
    with pytest.raises(UserError, match=rf"annotations/test\.txt: .*{why}") as told:
        Pets(5, root)
    assert "\n" not in str(told.value)


def test_a_list_that_cannot_be_read_is_named(root: Path) -> None:
    annotations(root).unlink()
    annotations(root).mkdir()
    with pytest.raises(UserError, match=r"test\.txt: cannot be read \(Is a directory\)"):
        Pets(5, root)


def test_an_empty_list_is_named(root: Path) -> None:
    annotations(root).write_text("")
    with pytest.raises(UserError, match=r"test\.txt: is empty"):
        Pets(5, root)


def test_a_missing_list_or_image_is_named(root: Path) -> None:
    name = Pets(37, root).entries[0].file
    (root / "oxford-iiit-pet" / name).unlink()
    with pytest.raises(UserError, match=rf"1 of the 37 images in use are missing, such as {name}"):
        Pets(37, root)
    annotations(root).unlink()
    with pytest.raises(UserError, match=r"annotations/test\.txt is missing; expected"):
        Pets(37, root)


def test_all_images_are_those_of_the_folder_by_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(path.name for path in (root / "oxford-iiit-pet" / "images").glob("*.jpg"))
    monkeypatch.setattr(Pets, "all_size", len(names))
    everything = Pets.reference("all", pets(root))
    assert everything.image_ids == list(range(len(names)))
    assert len(everything) >= len(Pets(37, root))


@pytest.mark.parametrize("other", ["._Abyssinian_7.jpg", ".cover.jpg", "cover.jpg", "Thumbs.db"])
def test_all_images_do_not_depend_on_what_else_lies_in_the_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    folder = root / "oxford-iiit-pet" / "images"
    monkeypatch.setattr(Pets, "all_size", len(list(folder.glob("*.jpg"))))
    before = Pets.reference("all", pets(root))
    (folder / other).write_bytes(b"\0\5\x16\7")
    after = Pets.reference("all", pets(root))
    assert (after.image_ids, after.content_hash) == (before.image_ids, before.content_hash)


@pytest.mark.parametrize("kept", [0, 2, 73])
def test_an_incomplete_copy_is_no_reference(root: Path, kept: int) -> None:
    for path in sorted((root / "oxford-iiit-pet" / "images").glob("*.jpg"))[kept:]:
        path.unlink()
    told = rf"task\.reference=all: means all 7390 images .* holds {kept}; allowed: "
    with pytest.raises(UserError, match=told):
        Pets.reference("all", pets(root))


@pytest.mark.parametrize("count", [1, 5, 37, 60])
def test_the_training_split_is_torchvisions_trainval_and_balanced(root: Path, count: int) -> None:
    """Fewer images where there are no more; none of them is in the test split."""
    theirs = OxfordIIITPet(root, split="trainval")
    ours = Pets.open_training(root, count)
    assert len(ours) == min(count, 37)
    names = sorted(path.name for path in theirs._images)
    labels = {path.name: label for path, label in zip(theirs._images, theirs._labels, strict=True)}
    assert isinstance(ours, ImageFiles)
    for entry in ours.entries:
        name = Path(entry.file).name
        assert names[entry.image_id] == name
        assert entry.label == labels[name]
    assert len({entry.label for entry in ours.entries}) == len(ours)
    assert not {e.file for e in ours.entries} & {e.file for e in Pets(37, root).entries}
    assert ours.image_ids == Pets.open_training(root, 37).image_ids[:count]
    assert ours.class_names == Pets(1, root).class_names
    assert ours[0].image.shape[2] == 3


def test_a_missing_list_of_the_training_split_is_named(root: Path) -> None:
    annotations(root).with_name("trainval.txt").unlink()
    with pytest.raises(UserError, match=r"annotations/trainval\.txt: cannot be read"):
        Pets.open_training(root, 1)
