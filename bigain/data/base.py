"""What every dataset offers: a fixed order of images with ids and labels."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Dataset", "Sample", "balanced_order"]


@dataclass(frozen=True)
class Sample:
    """One image.

    Attributes:
        image_id: Stable number of the image in its split, whatever the order or limit.
        label: Class index.
        image: Bytes of shape (height, width), or (height, width, 3) in colour.

    """

    image_id: int
    label: int
    image: npt.NDArray[np.uint8]


class Dataset(Protocol):
    """A finite sequence of samples; position i is the same image on every machine."""

    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of images, after any limit."""
        ...

    def __getitem__(self, position: int) -> Sample:
        """The sample at `position` of the fixed order."""
        ...

    @property
    def image_ids(self) -> list[int]:
        """Image ids in the fixed order."""
        ...

    @property
    def content_hash(self) -> str:
        """sha256 over ids, labels and bytes of the images in use."""
        ...


def balanced_order(labels: npt.NDArray[np.integer], seed: int) -> npt.NDArray[np.int64]:
    """A seeded order of all images in which every class comes once per round.

    Classes and the images inside a class are shuffled, so that the first N images are balanced up
    to one image per class for every N (as long as no class is used up), and a longer run starts
    with the images of a shorter one.

    Args:
        labels: Class index of each image, shape (n,).
        seed: Any non-negative integer.

    Returns:
        Positions into `labels`, shape (n,), each once.

    """
    generator = np.random.Generator(np.random.Philox(key=seed))
    classes = np.unique(labels)
    queues = {int(c): list(generator.permutation(np.flatnonzero(labels == c))) for c in classes}
    order: list[int] = []
    while len(order) < len(labels):
        turns = (queues[int(label)] for label in generator.permutation(classes))
        order.extend(int(queue.pop()) for queue in turns if queue)
    return np.asarray(order, dtype=np.int64)
