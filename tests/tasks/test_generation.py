from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigain.data.base import Sample
from bigain.data.fashion_mnist import FashionMNIST
from bigain.errors import UserError
from bigain.tasks.generation import Captions, conditions_of, generate_images
from bigain.tasks.sampling import Sampler


def sampler_of(backbone: Any) -> Sampler:
    return Sampler(
        backbone,
        scheduler="euler",
        steps=3,
        guidance_scale=2.0,
        seed=0,
        images_per_forward=4,
        device=torch.device("cpu"),
    )


class Shelf:
    """Keeps images by index."""

    def __init__(self) -> None:
        self.images: dict[int, npt.NDArray[np.uint8]] = {}

    def write(self, index: int, image: npt.NDArray[np.uint8]) -> str:
        self.images[index] = image
        return f"hash of {index}"


def test_a_record_promises_an_image(backbone: Any) -> None:
    dataset, shelf = FashionMNIST(20), Shelf()
    records = generate_images(
        sampler_of(backbone), backbone, conditions_of(dataset), shelf.write, [5, 2, 19]
    )
    first = next(records)
    assert list(shelf.images) == [5, 2, 19], "those of one forward are on disk before its records"
    made = [first, *records]
    assert [record["image_id"] for record in made] == [5, 2, 19]
    for record in made:
        sample = dataset[record["image_id"]]
        assert record["sha256"] == f"hash of {record['image_id']}"
        assert record["source_image_id"] == sample.image_id
        assert record["label"] == sample.label
        assert record["condition"] == FashionMNIST.class_names[record["label"]]
        assert record["seconds"] >= 0
        assert record["images_per_forward"] == 4


def test_nothing_is_computed_ahead(backbone: Any) -> None:
    shelf = Shelf()
    conditions = conditions_of(FashionMNIST(20))
    records = generate_images(sampler_of(backbone), backbone, conditions, shelf.write, range(9))
    for _ in range(4):
        next(records)
    assert sorted(shelf.images) == [0, 1, 2, 3]
    next(records)
    assert sorted(shelf.images) == list(range(8))


# Conditions.


class Captioned:
    """A dataset of nothing but captions and labels; no image of it can be read."""

    class_names = ("a", "b")
    prompts = ("a photo of a", "a photo of b")
    condition_ids = None
    content_hash = "0"

    def __init__(self, captions: Sequence[tuple[str, ...]]) -> None:
        self._captions = captions
        self.image_ids = [10 * i for i in range(len(captions))]

    def __len__(self) -> int:
        return len(self._captions)

    def __getitem__(self, position: int) -> Sample:
        def unread() -> Any:
            raise AssertionError("no image is read")

        return Sample(10 * position, None, unread, (0, 1), self._captions[position])


def test_a_class_is_its_own_condition() -> None:
    dataset = FashionMNIST(25)
    conditions = conditions_of(dataset)
    labels = [dataset[i].label for i in range(25)]
    assert conditions.classes is dataset
    assert conditions.numbers == conditions.labels == labels
    assert conditions.texts == [
        FashionMNIST.class_names[label] for label in labels if label is not None
    ]
    assert conditions.image_ids == dataset.image_ids


def test_the_first_caption_is_taken_and_none_is_encoded_twice() -> None:
    captions = [("a cat", "one cat"), ("a dog",), ("a cat",), ("a bus", "a dog")]
    conditions = conditions_of(Captioned(captions))
    assert conditions.classes == Captions(("a cat", "a dog", "a bus"))
    assert conditions.numbers == [0, 1, 0, 2]
    assert conditions.texts == ["a cat", "a dog", "a cat", "a bus"]
    assert conditions.labels == [None] * 4
    assert conditions.image_ids == [0, 10, 20, 30]


@pytest.mark.parametrize(
    ("captions", "message"),
    [([("a cat",), ()], "image_id=10: has no caption"), ([(), ()], "no captions; allowed")],
)
def test_an_image_without_a_condition_is_named(
    captions: list[tuple[str, ...]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        conditions_of(Captioned(captions))
