from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bigain.data.base import Sample
from bigain.data.fashion_mnist import FashionMNIST
from bigain.errors import UserError
from bigain.tasks.generation import Captions, conditions_of


class Told:
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
    told = [("a cat", "one cat"), ("a dog",), ("a cat",), ("a bus", "a dog")]
    conditions = conditions_of(Told(told))
    assert conditions.classes == Captions(("a cat", "a dog", "a bus"))
    assert conditions.numbers == [0, 1, 0, 2]
    assert conditions.texts == ["a cat", "a dog", "a cat", "a bus"]
    assert conditions.labels == [None] * 4
    assert conditions.image_ids == [0, 10, 20, 30]


@pytest.mark.parametrize(
    ("captions", "message"),
    [([("a cat",), ()], "image_id=10: has no caption"), ([(), ()], "and no captions")],
)
def test_an_image_without_a_condition_is_named(
    captions: list[tuple[str, ...]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        conditions_of(Told(captions))


def test_the_order_is_that_of_the_dataset() -> None:
    assert np.array_equal(
        conditions_of(FashionMNIST(9)).numbers, conditions_of(FashionMNIST(20)).numbers[:9]
    )
