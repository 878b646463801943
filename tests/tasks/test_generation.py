from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bigain.data.fashion_mnist import FashionMNIST
from bigain.tasks.generation import conditions_of, generate_images
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


def test_an_image_does_not_depend_on_what_else_is_asked_for(backbone: Any) -> None:
    conditions, whole, part = conditions_of(FashionMNIST(20)), Shelf(), Shelf()
    for shelf, indices in ((whole, list(range(12))), (part, [11, 3, 7])):
        list(generate_images(sampler_of(backbone), backbone, conditions, shelf.write, indices))
    for index, image in part.images.items():
        assert np.array_equal(image, whole.images[index])
