import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bigain.data.base import balanced_order

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
