"""Which images are done, by id and by place, against plain Python sets."""

import random
import tracemalloc

import pytest

from bigain.runs.images_done import ImagesDone

IDS = [14, -11, 19, 12, 17, 10, 16]


def test_ids_are_kept_in_dataset_order() -> None:
    images = ImagesDone(IDS)
    assert (len(images), list(images), 14 in images) == (0, [], False)
    images.add([10, 14, 10, 999, -999])
    images.add_one(12)
    assert (len(images), list(images)) == (3, [14, 12, 10])
    assert [image_id in images for image_id in (14, 19, 999)] == [True, False, False]
    assert [images.place(image_id) for image_id in (14, 16, 18, 999)] == [0, 6, None, None]
    other = images.copy()
    assert (other.discard(14), other.discard(14), other.discard(999)) == (True, False, False)
    assert (len(other), len(images)) == (2, 3)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
def test_shards_have_what_slices_have(count: int) -> None:
    images = ImagesDone(IDS)
    done = random.Random(count).sample(IDS, 3)
    images.add(done)
    left = [[i for i in IDS[index::count] if i not in done] for index in range(count)]
    assert [images.missing(index, count) for index in range(count)] == left
    assert images.shards_left(count) == [index for index in range(count) if left[index]]
    sizes = [len(IDS[index::count]) for index in range(count)]
    assert [images.size_of_shard(index, count) for index in range(count)] == sizes


@pytest.mark.parametrize("image_ids", [[], [1, 2, 1]])
def test_ids_are_unique_and_some(image_ids: list[int]) -> None:
    with pytest.raises(ValueError, match="unique"):
        ImagesDone(image_ids)


def test_memory_does_not_grow_with_the_images_done() -> None:
    images = ImagesDone(range(100_000))
    tracemalloc.start()
    images.add(range(0, 100_000, 2))
    for image_id in range(1, 20_000, 2):
        images.add_one(image_id)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(images) == 60_000
    assert grown < 10_000
