import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain.data.base import Sample
from bigain.data.orders import balanced_order, hashed_order

labels_lists = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@given(labels_lists, st.integers(0, 1000))
def test_every_image_comes_exactly_once(labels: list[int], seed: int) -> None:
    order = balanced_order(np.array(labels), seed)
    assert sorted(order.tolist()) == list(range(len(labels)))


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 1000))
def test_every_prefix_is_balanced_to_one_image(classes: int, each: int, seed: int) -> None:
    labels = np.tile(np.arange(classes), each)
    ordered = labels[balanced_order(labels, seed)]
    for n in range(1, len(labels) + 1):
        counts = np.bincount(ordered[:n], minlength=classes)
        assert counts.max() - counts.min() <= 1


def test_seed_decides_the_order() -> None:
    labels = np.tile(np.arange(5), 20)
    assert balanced_order(labels, 1).tolist() == balanced_order(labels, 1).tolist()
    assert balanced_order(labels, 1).tolist() != balanced_order(labels, 2).tolist()


def test_unequal_classes_use_up_the_rest_at_the_end() -> None:
    labels = np.array([0] * 5 + [1])
    order = balanced_order(labels, 0)
    assert set(labels[order[:2]].tolist()) == {0, 1}
    assert labels[order[2:]].tolist() == [0, 0, 0, 0]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 1000))
def test_the_hashed_order_has_every_image_once_and_balanced_prefixes(
    labels: list[int], seed: int
) -> None:
    order = hashed_order(range(len(labels)), labels, seed)
    assert sorted(order) == list(range(len(labels)))
    available = np.bincount(labels, minlength=5)
    for n in range(1, len(labels) + 1):
        counts = np.bincount([labels[i] for i in order[:n]], minlength=5)
        lagging = counts[counts < available]
        assert not len(lagging) or counts.max() - lagging.min() <= 1


def test_the_hashed_order_is_that_of_sha256() -> None:
    """Written out: three images of class 0 and two of class 1."""
    keys, labels = [11, 12, 13, 21, 22], [0, 0, 0, 1, 1]
    draw = {key: hashlib.sha256(f"7/{key}".encode()).hexdigest() for key in keys}
    first, second = (sorted(part, key=draw.__getitem__) for part in (keys[:3], keys[3:]))
    rounds = [sorted([first[0], second[0]], key=draw.__getitem__)]
    rounds += [sorted([first[1], second[1]], key=draw.__getitem__), [first[2]]]
    expected = [key for part in rounds for key in part]
    assert [keys[i] for i in hashed_order(keys, labels, 7)] == expected


def test_the_hashed_order_follows_the_keys_not_their_places() -> None:
    keys, labels = list(range(100, 160)), [i % 7 for i in range(60)]
    order = [keys[i] for i in hashed_order(keys, labels, 3)]
    assert [keys[::-1][i] for i in hashed_order(keys[::-1], labels[::-1], 3)] == order
    assert [keys[i] for i in hashed_order(keys, labels, 4)] != order


def test_without_labels_the_hashed_order_of_a_part_is_a_part_of_the_order() -> None:
    whole = hashed_order(range(50), None, 1)
    assert [i for i in whole if i < 20] == hashed_order(range(20), None, 1)
    assert whole != sorted(whole)


# Samples.


def test_a_sample_of_one_class_has_one_label() -> None:
    sample = Sample(image_id=7, label=3, image=np.zeros((2, 2), np.uint8))
    assert (sample.image_id, sample.label, sample.labels, sample.captions) == (7, 3, (3,), ())


@pytest.mark.parametrize("labels", [(), (1,), (0, 4)])
def test_a_sample_of_any_number_of_classes_has_no_single_label(labels: tuple[int, ...]) -> None:
    sample = Sample(7, None, np.zeros((2, 2), np.uint8), labels, ("a cat", "a cat on a mat"))
    assert (sample.label, sample.labels) == (None, labels)
    assert sample.captions[0] == "a cat"


def test_an_image_is_read_when_it_is_asked_for() -> None:
    reads = []

    def read() -> npt.NDArray[np.uint8]:
        reads.append(1)
        return np.ones((1, 1, 3), np.uint8)

    sample = Sample(1, 0, read)
    assert not reads
    assert sample.image.shape == (1, 1, 3)
    assert reads == [1]
