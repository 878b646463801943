"""What a thread reads or computes before it is asked for, so that no GPU waits for a JPEG."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bigain.data.base import Image, Sample

__all__ = ["AHEAD", "compute_ahead", "read_ahead"]

AHEAD = 4
"""Samples that are begun before the last one was asked for."""

_T = TypeVar("_T")


def compute_ahead(
    samples: Iterable[Sample], compute: Callable[[Sample], _T]
) -> Iterator[tuple[Sample, Callable[[], _T]]]:
    """The same samples in the same order, each with a function that returns what it computes to.

    One thread computes, and it ends with the iteration, so ask for a result before the iteration
    ends.  What `compute` raises is raised by that function, as without a thread.
    """
    with ThreadPoolExecutor(1, "images") as reader:
        waiting: deque[tuple[Sample, Callable[[], _T]]] = deque()
        try:
            for sample in samples:
                waiting.append((sample, reader.submit(compute, sample).result))
                if len(waiting) > AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def read_ahead(samples: Iterable[Sample]) -> Iterator[Sample]:
    """The same samples in the same order, whose images are being read already."""
    for sample, image in compute_ahead(samples, _read):
        yield Sample(sample.image_id, sample.label, image, sample.labels, sample.captions)


def _read(sample: Sample) -> Image:
    return sample.image
