import errno
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigain.data.base import Sample
from bigain.data.fashion_mnist import FashionMNIST
from bigain.errors import UserError
from bigain.tasks.generation import Captions, Write, conditions_of, generate_images
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


def generated(
    backbone: Any, write: Write, indices: Sequence[int], ahead: int = 0
) -> Generator[dict[str, Any], None, None]:
    conditions = conditions_of(FashionMNIST(20))
    sampler = sampler_of(backbone)
    yield from generate_images(sampler, backbone.decode, conditions, write, indices, ahead=ahead)


def test_a_record_promises_an_image(backbone: Any) -> None:
    dataset, shelf = FashionMNIST(20), Shelf()
    records = generated(backbone, shelf.write, [5, 2, 19])
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


@pytest.mark.parametrize("ahead", [0, 1])
def test_so_many_forwards_are_made_ahead(
    backbone: Any, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, sample = [0], Sampler.sample

    def counted(own: Sampler, indices: Any, conditions: Any) -> Any:
        drawn[0] += len(indices)
        return sample(own, indices, conditions)

    monkeypatch.setattr(Sampler, "sample", counted)
    shelf = Shelf()
    records = generated(backbone, shelf.write, range(18), ahead)
    for number in range(5):
        next(records)
        assert drawn[0] == 4 * (number // 4 + 1 + ahead)
    assert [record["image_id"] for record in records] == list(range(5, 18))
    assert list(shelf.images) == list(range(18))


def test_images_and_records_are_the_same_however_many_are_ahead(backbone: Any) -> None:
    shelves = [Shelf(), Shelf()]
    alone, overlapped = (
        [{**record, "seconds": 0} for record in generated(backbone, shelf.write, range(10), ahead)]
        for ahead, shelf in enumerate(shelves)
    )
    assert alone == overlapped
    for index, image in shelves[0].images.items():
        assert np.array_equal(shelves[1].images[index], image)


@pytest.mark.parametrize(("ahead", "thread"), [(0, "MainThread"), (1, "writer_0")])
def test_images_are_decoded_beside_the_next_forward(
    backbone: Any, ahead: int, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, decode = set[str](), backbone.decode

    def noted(latents: Any) -> Any:
        threads.add(threading.current_thread().name)
        return decode(latents)

    monkeypatch.setattr(backbone, "decode", noted)
    assert len(list(generated(backbone, Shelf().write, range(6), ahead))) == 6
    assert threads == {thread}


@pytest.mark.parametrize("ahead", [0, 1])
def test_an_image_that_cannot_be_decoded_ends_the_run_after_those_before_it(
    backbone: Any, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, decode = Shelf(), backbone.decode

    def broken(latents: Any) -> Any:
        if len(shelf.images) >= 4:
            raise UserError("not finite")
        return decode(latents)

    monkeypatch.setattr(backbone, "decode", broken)
    records = generated(backbone, shelf.write, range(12), ahead)
    assert [next(records)["image_id"] for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(UserError, match="not finite"):
        next(records)
    assert len(shelf.images) < 8


def test_memory_that_runs_out_is_noted_from_the_forward_on_where_it_did(
    backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, original, calls = sampler_of(backbone), backbone.predict_noise, [0]

    def small(latents: Any, *others: Any) -> Any:
        calls[0] += 1
        if len(latents) == 8 and calls[0] > 3:
            raise torch.OutOfMemoryError
        return original(latents, *others)

    monkeypatch.setattr(backbone, "predict_noise", small)
    conditions = conditions_of(FashionMNIST(20))
    write = Shelf().write
    records = generate_images(sampler, backbone.decode, conditions, write, range(10), ahead=1)
    assert [record["images_per_forward"] for record in records] == [4] * 4 + [2] * 6


class Disk(Shelf):
    """Has room for some images, and takes its time."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.threads: set[int] = set()

    def write(self, index: int, image: npt.NDArray[np.uint8]) -> str:
        self.threads.add(threading.get_ident())
        if len(self.images) == self.room:
            raise OSError(errno.ENOSPC, "No space left on device", f"{index}.png")
        time.sleep(0.02)
        return super().write(index, image)


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_full_disk_is_found_where_the_record_is_due(backbone: Any, ahead: int) -> None:
    disk = Disk(room=6)
    records = generated(backbone, disk.write, range(16), ahead)
    assert [next(records)["image_id"] for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="No space left") as caught:
        next(records)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "6.png")
    assert sorted(disk.images) == list(range(6))


def test_nothing_is_written_after_the_end(backbone: Any) -> None:
    """A run that is stopped lets go of its folder: another process may have it then."""
    disk = Disk(room=99)
    records = generated(backbone, disk.write, range(16), ahead=1)
    next(records)
    records.close()
    left = dict(disk.images)
    assert 4 <= len(left) < 8, "the image in flight is written, those that wait are not"
    time.sleep(0.1)
    assert disk.images == left
    assert threading.get_ident() not in disk.threads
    assert len(disk.threads) == 1


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
