import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.datasets import CocoCaptions, CocoDetection

from bigain.data.coco import Coco
from bigain.errors import UserError
from bigain.testing.datasets import TRUNCATED, write_tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tiny("coco2017", tmp_path)
    return tmp_path


def annotations(root: Path, kind: str = "instances") -> Path:
    return root / "coco" / "annotations" / f"{kind}_val2017.json"


def change(root: Path, edit: Callable[[dict[str, Any]], object], kind: str = "instances") -> None:
    content = json.loads(annotations(root, kind).read_text())
    edit(content)
    annotations(root, kind).write_text(json.dumps(content))


def test_images_labels_and_captions_are_torchvisions(root: Path) -> None:
    images = root / "coco" / "val2017"
    instances = CocoDetection(images, str(annotations(root)))
    captions = CocoCaptions(images, str(annotations(root, "captions")))
    assert instances.ids == captions.ids
    ours = Coco(12, root)
    categories = sorted(instances.coco.cats)
    samples = {sample.image_id: sample for sample in (ours[i] for i in range(12))}
    assert sorted(samples) == instances.ids
    for index, image_id in enumerate(instances.ids):
        sample = samples[image_id]
        target = instances._load_target(image_id)
        labels = {categories.index(each["category_id"]) for each in target}
        assert sample.labels == tuple(sorted(labels))
        assert list(sample.captions) == captions._load_target(image_id)
        if image_id != ours.image_ids[TRUNCATED]:
            assert np.array_equal(sample.image, np.asarray(instances[index][0]))


def test_images_have_none_one_or_several_labels_and_stay_in_the_split(root: Path) -> None:
    dataset = Coco(12, root)
    counts = [len(dataset[i].labels) for i in range(12)]
    assert set(counts) == {0, 1, 2, 3}
    assert all(dataset[i].label is None for i in range(12))
    names = [dataset.class_names[label] for i in range(12) for label in dataset[i].labels[:1]]
    captions = [dataset[i].captions[0] for i in range(12) if dataset[i].labels]
    assert any(name in caption for name, caption in zip(names, captions, strict=True))


def test_the_order_is_shuffled_and_a_limit_takes_its_beginning(root: Path) -> None:
    whole = Coco(12, root).image_ids
    assert whole != sorted(whole)
    assert Coco(5, root).image_ids == whole[:5]


def test_nothing_is_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Coco(3, root)
    assert capsys.readouterr() == ("", "")


def test_the_whole_split_is_the_published_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"dataset\.limit=null: means all 5000 images"):
        Coco(None, root)
    monkeypatch.setattr(Coco, "split_size", 12)
    assert len(Coco(None, root)) == 12


WRONG: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda c: c["annotations"][0].update(image_id=5), r"annotation 1 is of image 5, which"),
    (
        lambda c: c["annotations"][0].update(category_id=12),
        r"annotation 1 is of category 12, which",
    ),
    (lambda c: c["annotations"][0].pop("category_id"), "is no COCO annotation file .*category_id"),
    (lambda c: c["annotations"][0].pop("image_id"), "is no COCO annotation file .*image_id"),
    (lambda c: c["images"][0].pop("file_name"), r"image \d+: file_name is missing"),
    (lambda c: c["images"][0].update(file_name=None), r"image \d+: file_name is None, not a text"),
    (lambda c: c["images"][0].update(file_name=""), r"image \d+: file_name '' is no name"),
    (lambda c: c["images"][0].update(file_name="a/b.jpg"), r"image \d+: file_name 'a/b.jpg' is"),
    (
        lambda c: c["images"][0].update(file_name=c["images"][1]["file_name"]),
        r"image \d+: file_name '\d+\.jpg' is that of another image",
    ),
    (lambda c: c["images"].append(c["images"][0]), r"lists image \d+ twice"),
    (lambda c: c.pop("images"), "has no images"),
    (lambda c: c.pop("annotations"), "has no annotations"),
    (lambda c: c.update(annotations=[]), "has no annotations"),
    (lambda c: c.update(annotations={}), "annotations is no list"),
    (lambda c: c.pop("categories"), "has no categories"),
    (
        lambda c: c["annotations"][0].update(category_id="1"),
        r"annotations\[0\]: category_id is '1', not an integer",
    ),
    (
        lambda c: c["annotations"][0].update(image_id=None),
        r"annotations\[0\]: image_id is None, not an integer",
    ),
    (lambda c: c["categories"][3].update(name="unicorn"), r"category 4 \(unicorn\) has no prompt"),
    (lambda c: c["categories"].append({"id": 91, "name": "yeti"}), r"category 91 \(yeti\) has no"),
    (
        lambda c: c["categories"].pop(0),
        "annotation 1 is of category 1, which",
    ),
]


@pytest.mark.parametrize(("edit", "told"), WRONG)
def test_wrong_annotations_are_named(
    root: Path, edit: Callable[[dict[str, Any]], object], told: str
) -> None:
    change(root, edit)
    with pytest.raises(UserError, match=rf"instances_val2017\.json: {told}") as error:
        Coco(12, root)
    assert "\n" not in str(error.value)


def test_instances_of_other_images_only_are_refused(root: Path) -> None:
    """Without a class for any image in use every prediction would be wrong."""
    dataset = Coco(12, root)
    bare = next(e.image_id for e in dataset.entries if not e.labels)
    used = set(dataset.image_ids[:5])
    assert bare in used

    def only_others(content: dict[str, Any]) -> None:
        own = [each for each in content["annotations"] if each["image_id"] not in used]
        content["annotations"] = own

    change(root, only_others)
    with pytest.raises(
        UserError, match=r"^dataset\.root=.*no class for any of the 5 images in use"
    ):
        Coco(5, root)
    assert len(Coco(12, root)) == 12


@pytest.mark.parametrize("kind", ["instances", "captions"])
def test_brackets_nested_too_deeply_are_one_line(root: Path, kind: str) -> None:
    path = root / "coco" / "annotations" / f"{kind}_val2017.json"
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=rf"{kind}_val2017\.json: is no COCO annotation file"):
        Coco(5, root)


def first_image(content: dict[str, Any]) -> list[dict[str, Any]]:
    own = content["annotations"][0]["image_id"]
    return [each for each in content["annotations"] if each["image_id"] == own]


WRONG_CAPTIONS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (
        lambda c: c["annotations"][0].update(caption=None),
        r"annotations\[0\]: caption is None, not a text",
    ),
    (lambda c: c["annotations"][0].update(caption=7), r"annotations\[0\]: caption is 7, not a"),
    (lambda c: c["annotations"][0].pop("caption"), r"annotations\[0\]: caption is missing"),
    (lambda c: c["annotations"][0].update(caption=" "), r"the first caption of image \d+ is empty"),
    (lambda c: c["annotations"][0].update(image_id=5), r"annotation 1 is of image 5, which"),
    (lambda c: c.pop("annotations"), "has no annotations"),
    (
        lambda c: [c["annotations"].remove(each) for each in first_image(c)],
        r"has no caption of 1 of 12 images, such as \d+",
    ),
]


@pytest.mark.parametrize(("edit", "told"), WRONG_CAPTIONS)
def test_wrong_captions_are_named(
    root: Path, edit: Callable[[dict[str, Any]], object], told: str
) -> None:
    change(root, edit, "captions")
    with pytest.raises(UserError, match=rf"captions_val2017\.json: {told}") as error:
        Coco(12, root)
    assert "\n" not in str(error.value)


def test_annotations_of_one_id_all_count(root: Path) -> None:
    def repeat(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["id"] = 1

    before = [Coco(12, root)[i].labels for i in range(12)]
    change(root, repeat)
    assert [Coco(12, root)[i].labels for i in range(12)] == before


@pytest.mark.parametrize("kind", ["instances", "captions"])
@pytest.mark.parametrize("text", ["", "[]", '{"images": ', "null", '{"annotations": [1]}'])
def test_files_that_are_no_annotations_are_named(root: Path, kind: str, text: str) -> None:
    annotations(root, kind).write_text(text)
    with pytest.raises(UserError, match=rf"{kind}_val2017\.json: is no COCO annotation file"):
        Coco(12, root)


@pytest.mark.parametrize("kind", ["instances", "captions"])
def test_a_missing_file_is_named(root: Path, kind: str) -> None:
    annotations(root, kind).unlink()
    with pytest.raises(UserError, match=rf"{kind}_val2017\.json is missing; expected val2017/"):
        Coco(12, root)


def test_a_missing_image_is_named(root: Path) -> None:
    first = Coco(12, root).image_ids[0]
    (root / "coco" / "val2017" / f"{first:012d}.jpg").unlink()
    with pytest.raises(UserError, match=rf"1 of the 12 .* such as val2017/{first:012d}\.jpg"):
        Coco(12, root)


def test_without_pycocotools_the_extra_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pycocotools", "pycocotools.coco"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"needs pycocotools; .*'bigain\[coco\]'"):
        Coco(12, root)
