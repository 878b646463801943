"""Images that a thread reads before they are asked for, so that a GPU does not wait for a JPEG."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from bigain.data.base import Image, Sample

__all__ = ["AHEAD", "read_ahead"]

AHEAD = 4
"""Images that are read before the last one was asked for."""


def read_ahead(samples: Iterable[Sample]) -> Iterator[Sample]:
    """The same samples in the same order, whose images are being read already.

    One thread reads, and it ends with the iteration.  An image that cannot be read raises where it
    is asked for, as without a thread.
    """
    with ThreadPoolExecutor(1, "images") as reader:
        waiting: deque[Sample] = deque()
        try:
            for sample in samples:
                image = reader.submit(_read, sample).result
                own = sample.image_id, sample.label, image, sample.labels, sample.captions
                waiting.append(Sample(*own))
                if len(waiting) > AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _read(sample: Sample) -> Image:
    return sample.image
