"""Fixed, seeded orders of images in which every prefix is balanced over the classes."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["balanced_order", "hashed_order"]


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
    """The same as `balanced_order`, by sha256 instead of a random generator.

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
