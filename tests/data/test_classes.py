import hashlib

import pytest
from torchvision.models import ResNet50_Weights
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from bigain.data import fashion_mnist
from bigain.data.base import CLASSES, ClassList, class_table
from bigain.data.coco import Coco
from bigain.data.imagenet import ImageNet1K, ImageNet100
from bigain.data.pets import Pets

ALL = {
    "fashion_mnist": fashion_mnist.CLASSES,
    "pets": Pets.classes(),
    "imagenet100": ImageNet100.classes(),
    "imagenet1k": ImageNet1K.classes(),
    "coco2017": Coco.classes(),
}


def classes_of(dataset: str) -> ClassList:
    return ALL[dataset]


@pytest.mark.parametrize("dataset", ALL)
def test_every_class_has_a_name_and_a_prompt_with_it(dataset: str) -> None:
    classes = classes_of(dataset)
    assert len(classes.names) == len(classes.prompts) >= 10
    for name, prompt in zip(classes.names, classes.prompts, strict=True):
        assert name == name.strip() != ""
        assert prompt.startswith(f"a photo of a {name}")
        assert prompt.endswith(".")


@pytest.mark.parametrize(
    ("dataset", "label", "prompt"),
    [
        ("pets", 0, "a photo of a Abyssinian cat, a type of pet."),
        ("pets", 1, "a photo of a American Bulldog, a type of pet."),
        ("pets", 33, "a photo of a Sphynx cat, a type of pet."),
        ("imagenet1k", 0, "a photo of a tench."),
        ("imagenet1k", 21, "a photo of a kite (bird of prey)."),
        ("imagenet1k", 999, "a photo of a toilet paper."),
        ("imagenet100", 0, "a photo of a American robin."),
        ("coco2017", 0, "a photo of a person."),
        ("coco2017", 79, "a photo of a toothbrush."),
        ("fashion_mnist", 9, "a photo of a ankle boot."),
        ("fashion_mnist", 0, "a photo of a T-shirt."),
    ],
)
def test_prompts_are_those_of_the_protocol(dataset: str, label: int, prompt: str) -> None:
    assert classes_of(dataset).prompts[label] == prompt


def test_pets_has_twelve_cats() -> None:
    cats = [row["file_name"] for row in class_table("pets") if row["species"] == "cat"]
    assert len(cats) == 12
    assert {"Siamese", "Sphynx", "Bombay", "Maine_Coon"} <= set(cats)
    named = [prompt.count(" cat,") + prompt.count(" dog,") for prompt in prompts("pets")]
    assert named == [0 if label == 1 else 1 for label in range(37)]


def prompts(dataset: str) -> tuple[str, ...]:
    return classes_of(dataset).prompts


def test_conditions_are_imagenets_class_indices_where_the_classes_are_imagenets() -> None:
    assert classes_of("imagenet1k").condition_ids == tuple(range(1000))
    hundred = classes_of("imagenet100")
    assert hundred.condition_ids is not None
    assert len(set(hundred.condition_ids)) == 100
    assert hundred.condition_ids == tuple(sorted(hundred.condition_ids))
    names = classes_of("imagenet1k").names
    assert [names[i] for i in hundred.condition_ids] == list(hundred.names)
    for other in ("pets", "coco2017", "fashion_mnist"):
        assert classes_of(other).condition_ids is None


def test_imagenets_ids_are_in_the_order_of_its_classes() -> None:
    ids = [row["wnid"] for row in class_table("imagenet")]
    assert ids == sorted(set(ids))
    assert [int(row["class_index"]) for row in class_table("imagenet")] == list(range(1000))
    assert (ids[0], ids[-1]) == ("n01440764", "n15075141")


def test_imagenets_names_agree_with_another_list_of_them() -> None:
    """torchvision's older names differ in wording; a shifted list would agree nowhere."""
    others = ResNet50_Weights.IMAGENET1K_V2.meta["categories"]
    names = classes_of("imagenet1k").names
    same = [a.lower() == b.lower() for a, b in zip(names, others, strict=True)]
    assert sum(same) > 600
    assert all(any(same[start : start + 50]) for start in range(0, 1000, 50))


def test_two_pairs_of_imagenets_classes_share_a_name_as_published() -> None:
    names = classes_of("imagenet1k").names
    twice = {name: [i for i, n in enumerate(names) if n == name] for name in names}
    assert {name: ids for name, ids in twice.items() if len(ids) > 1} == {
        "missile": [657, 744],
        "sunglasses": [836, 837],
    }


def test_cocos_categories_are_torchvisions() -> None:
    categories = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    for row in class_table("coco2017"):
        assert categories[int(row["category_id"])] == row["name"]


def test_every_list_has_its_checksum() -> None:
    lines = (CLASSES / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(sums) == {path.name for path in CLASSES.glob("*.csv")}
    for name, digest in sums.items():
        assert hashlib.sha256((CLASSES / name).read_bytes()).hexdigest() == digest
