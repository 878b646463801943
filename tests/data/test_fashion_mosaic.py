from collections import Counter
from itertools import product

import numpy as np
import pytest

from bigain.data import fashion_mnist
from bigain.data.fashion_mnist import shipped_slice
from bigain.data.fashion_mosaic import FashionMosaic, draw_tiles, halve, stitch

FIRST = [(5, 5, 5, 6), (1, 5, 0, 5), (6, 7, 7, 6), (6, 6, 6, 6), (5, 7, 2, 4), (9, 5, 9, 3)]
FIRST_TWENTY = "89c031ca2827"
"""Of what ships; other mosaics under the same run ids would mix with published records."""

TILES = [draw_tiles(position, 10) for position in range(5000)]


@pytest.fixture
def no_full_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "find_root", lambda _=None: None)


def test_the_first_mosaics_are_what_they_always_were() -> None:
    assert TILES[: len(FIRST)] == FIRST
    assert FashionMosaic(20).content_hash.startswith(FIRST_TWENTY)


def test_one_to_four_classes_are_as_frequent_as_each_other() -> None:
    counts = Counter(len(set(tiles)) for tiles in TILES)
    assert sorted(counts) == [1, 2, 3, 4]
    assert all(1100 < count < 1400 for count in counts.values()), "1,250 expected"


def test_every_class_is_as_frequent_as_each_other_in_every_tile() -> None:
    for place in range(4):
        counts = Counter(tiles[place] for tiles in TILES)
        assert sorted(counts) == list(range(10))
        assert all(370 < count < 630 for count in counts.values()), "500 expected"


def test_every_pair_of_classes_meets_as_often_as_any_other() -> None:
    pairs = Counter(tuple(sorted(set(t))) for t in TILES if len(set(t)) == 2)
    assert len(pairs) == 45
    assert max(pairs.values()) < 60, "28 expected"


def test_a_repeated_class_is_any_of_those_that_are_there() -> None:
    """Of two classes either fills both of the other tiles (3:1) or each one (2:2), as often."""
    shares = Counter(max(Counter(t).values()) for t in TILES if len(set(t)) == 2)
    assert set(shares) == {2, 3}
    assert 0.4 < shares[2] / shares.total() < 0.6


def test_stitching_puts_the_tiles_in_reading_order() -> None:
    tiles = [np.full((28, 28), value, np.uint8) for value in (1, 2, 3, 4)]
    whole = stitch(tiles)
    assert whole.shape == (56, 56)
    assert whole.dtype == np.uint8
    corners = [whole[row, column] for row, column in product((0, 55), (0, 55))]
    assert corners == [1, 2, 3, 4]
    assert [int(n) for n in np.bincount(whole.ravel())[1:]] == [28 * 28] * 4


def test_halving_takes_means_rounded_half_up() -> None:
    image = np.array([[0, 1, 255, 255], [0, 1, 255, 255], [0, 0, 1, 1], [0, 1, 1, 0]], np.uint8)
    assert halve(image).tolist() == [[1, 255], [0, 1]]
    noise = np.random.default_rng(0).integers(0, 256, (56, 56), dtype=np.uint8)
    means = noise.reshape(28, 2, 28, 2).astype(float).mean(axis=(1, 3))
    assert np.array_equal(halve(noise), np.floor(means + 0.5))


def test_every_tile_is_a_shipped_image_of_its_class_at_half_the_size() -> None:
    _, labels, images = shipped_slice()
    small: dict[bytes, set[int]] = {}
    for label, image in zip(labels, images, strict=True):
        small.setdefault(halve(image).tobytes(), set()).add(int(label))
    dataset = FashionMosaic(200)
    for position in range(200):
        image = dataset[position].image
        assert image.shape == (28, 28)
        assert image.dtype == np.uint8
        quarters = [image[r : r + 14, c : c + 14] for r, c in product((0, 14), (0, 14))]
        for label, quarter in zip(TILES[position], quarters, strict=True):
            assert label in small[np.ascontiguousarray(quarter).tobytes()]


def test_most_of_the_shipped_images_are_used() -> None:
    images = [FashionMosaic(1000)[position].image for position in range(1000)]
    assert len({image[:14, :14].tobytes() for image in images}) > 550, "632 expected"
    assert len({image.tobytes() for image in images}) == 1000


def test_labels_are_the_classes_of_the_tiles_and_there_is_no_single_one() -> None:
    dataset = FashionMosaic(50)
    for position in range(50):
        sample = dataset[position]
        assert (sample.image_id, sample.label, sample.captions) == (position, None, ())
        assert sample.labels == tuple(sorted(set(TILES[position])))


def test_a_longer_run_contains_a_shorter_one() -> None:
    short, long = FashionMosaic(7), FashionMosaic(9)
    assert short.image_ids == long.image_ids[:7] == list(range(7))
    assert all(np.array_equal(short[i].image, long[i].image) for i in range(7))
    assert short.content_hash != long.content_hash
    with pytest.raises(IndexError):
        short[7]
    with pytest.raises(IndexError):
        short[-1]


def test_all_of_them_need_nothing_but_what_ships(no_full_data: None) -> None:
    dataset = FashionMosaic()
    assert len(dataset) == len(dataset.image_ids) == 5000
    assert dataset[4999].image.any()


def test_the_content_hash_follows_labels_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = FashionMosaic(3)
    before = dataset.content_hash
    assert FashionMosaic(3).content_hash == before
    ids, labels, images = shipped_slice()
    monkeypatch.setattr(
        "bigain.data.fashion_mosaic.shipped_slice", lambda: (ids, labels, 255 - images)
    )
    assert FashionMosaic(3).content_hash != before
    monkeypatch.setattr(
        "bigain.data.fashion_mosaic.shipped_slice", lambda: (ids, 9 - labels, images)
    )
    assert FashionMosaic(3).content_hash != before
