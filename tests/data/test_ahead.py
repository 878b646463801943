import threading
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from bigain.data.ahead import AHEAD, compute_ahead, read_ahead
from bigain.data.base import Sample
from bigain.data.images import UnreadableImage


class Shelf:
    """Images that note which thread read them; every third one is damaged."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.threads: set[str] = set()

    def samples(self, count: int) -> Iterator[Sample]:
        for number in range(count):
            yield Sample(number, None, partial(self._image, number), (1, 2), ("a",))

    def _image(self, number: int) -> "np.typing.NDArray[np.uint8]":
        self.read.append(number)
        self.threads.add(threading.current_thread().name)
        if number % 3 == 2:
            raise UnreadableImage(f"{number}: cut short")
        return np.full((2, 2), number, np.uint8)


def test_samples_keep_their_order_and_what_is_known_of_them() -> None:
    shelf = Shelf()
    for number, sample in enumerate(read_ahead(shelf.samples(9))):
        assert (sample.image_id, sample.label, sample.labels) == (number, None, (1, 2))
        assert sample.captions == ("a",)
        if number % 3 == 2:
            with pytest.raises(UnreadableImage, match=f"{number}: cut short"):
                sample.image  # noqa: B018
        else:
            assert (sample.image == number).all()
    assert shelf.read == list(range(9)), "each once"
    assert shelf.threads == {"images_0"}


def test_what_a_thread_computes_is_returned_or_raised_where_it_is_asked_for() -> None:
    shelf = Shelf()

    def brightness(sample: Sample) -> float:
        return float(sample.image.mean())

    for number, (sample, value) in enumerate(compute_ahead(shelf.samples(9), brightness)):
        assert sample.image_id == number
        if number % 3 == 2:
            with pytest.raises(UnreadableImage, match=f"{number}: cut short"):
                value()
        else:
            assert value() == number
    assert shelf.threads == {"images_0"}


def test_a_few_images_are_read_ahead_and_no_more() -> None:
    shelf = Shelf()
    reading = read_ahead(shelf.samples(50))
    assert next(reading).image_id == 0
    reading.close()  # type: ignore[attr-defined]
    assert len(shelf.read) <= AHEAD + 1


def test_the_thread_ends_with_the_iteration() -> None:
    reading = read_ahead(Shelf().samples(50))
    next(reading)
    assert _threads() == 1
    reading.close()  # type: ignore[attr-defined]
    assert _threads() == 0
    assert len(list(read_ahead(Shelf().samples(7)))) == 7
    assert _threads() == 0


def _threads() -> int:
    return sum(thread.name.startswith("images") for thread in threading.enumerate())
