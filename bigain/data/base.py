"""What every dataset offers: a fixed order of images with ids, labels and prompts."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Dataset", "Sample", "balanced_order", "hashed_order"]

Image = npt.NDArray[np.uint8]


class Sample:
    """One image and what is known of it.

    Attributes:
        image_id: Stable number of the image in its split, whatever the order or limit.
        label: Class index; None in a dataset whose images may have any number of classes.
        labels: All classes of the image, ascending: `(label,)`, or none, one or several.
        captions: Sentences about the image, if the dataset has any.

    """

    def __init__(
        self,
        image_id: int,
        label: int | None,
        image: Image | Callable[[], Image],
        labels: tuple[int, ...] = (),
        captions: tuple[str, ...] = (),
    ) -> None:
        self.image_id = image_id
        self.label = label
        self.labels = labels if label is None else (label,)
        self.captions = captions
        self._image = image

    @property
    def image(self) -> Image:
        """Bytes of shape (height, width), or (height, width, 3) in colour; read when asked for.

        Raises:
            UnreadableImage: The file is no whole image (see `bigain.data.images`).

        """
        return self._image() if callable(self._image) else self._image


class Dataset(Protocol):
    """A finite sequence of samples; position i is the same image on every machine."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; label i is the i-th."""
        ...

    @property
    def prompts(self) -> tuple[str, ...]:
        """What a text-conditioned backbone is told of each class."""
        ...

    @property
    def condition_ids(self) -> tuple[int, ...] | None:
        """Index among ImageNet's 1,000 classes of each class; None if they are not ImageNet's."""
        ...

    def __len__(self) -> int:
        """Number of images, after any limit."""
        ...

    def __getitem__(self, position: int) -> Sample:
        """The sample at `position` of the fixed order; IndexError beyond the ends."""
        ...

    @property
    def image_ids(self) -> list[int]:
        """Image ids in the fixed order."""
        ...

    @property
    def content_hash(self) -> str:
        """sha256 that tells these images from others; the dataset says what goes into it."""
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


def hashed_order(keys: Sequence[int], labels: Sequence[int] | None, seed: int) -> list[int]:
    """As `balanced_order`, by sha256 instead of a random generator.

    The k-th images of all classes come before the (k+1)-th ones; inside a class, and inside such a
    round, images stand by sha256("seed/key").  So the order is the same in every version of numpy,
    and anybody can recompute it.  Without labels it is a plain shuffle.

    Args:
        keys: A number of each image that nothing else changes, such as its id; distinct.
        labels: Class index of each image, or None.
        seed: Any integer.

    Returns:
        Positions into `keys`, each once.

    """
    draws = [hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in keys]
    shuffled = sorted(range(len(keys)), key=lambda position: draws[position])
    if labels is None:
        return shuffled
    seen: Counter[int] = Counter()
    rounds = {}
    for position in shuffled:
        rounds[position] = seen[labels[position]]
        seen[labels[position]] += 1
    return sorted(shuffled, key=lambda position: rounds[position])
