"""Mosaics of Fashion-MNIST, 2 x 2 garments of one to four classes: several labels, as COCO has.

Mosaic i is a function of i, of one fixed seed, and of the 1,000 test images that ship:

    count     k, uniform in 1..4
    classes   k of the ten, every set as likely
    tiles     each class once, the other 4 - k tiles any of them, in random order
    garments  for each tile one of the 100 images of its class

All draws are by sha256, so a mosaic is the same on every machine and in every version of numpy.

Four garments make 56 x 56 pixels.  The mini backbones look at 28 x 28, as of Fashion-MNIST itself,
so a mosaic is halved: every pixel is the mean of 2 x 2, rounded half up.  A garment has 14 x 14
pixels then, half the size at which the backbones have learned it.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigain.data.base import PublishedDataset, Sample
from bigain.data.fashion_mnist import CLASSES, SLICE_FILE, shipped_slice

__all__ = ["SEED", "FashionMosaic", "draw_tiles", "halve", "stitch"]

SEED = 20261129
_TILES = 4

Image = npt.NDArray[np.uint8]


class FashionMosaic(PublishedDataset):
    """The first `limit` mosaics, or all 5,000 (the size of COCO's split).  Image i has id i."""

    num_classes = 10
    split = "mosaics"
    split_size = 5000
    label_space = "fashion"
    generates = False
    reads_files = False
    class_names = CLASSES.names
    prompts = CLASSES.prompts
    condition_ids = None
    place = "made of the 1,000 that ship"

    def __init__(self, limit: int | None = None, root: Path | None = None) -> None:
        del root  # mosaics are made of the images that ship
        _, labels, images = shipped_slice()
        self._garments = [images[labels == label] for label in range(len(self.class_names))]
        self._length = self.split_size if limit is None else limit

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Sample:
        if not 0 <= position < self._length:
            raise IndexError(position)
        tiles = draw_tiles(position, len(self.class_names))
        image = partial(self._image, position, tiles)
        return Sample(position, None, image, tuple(sorted(set(tiles))))

    def _image(self, position: int, tiles: Sequence[int]) -> Image:
        garments = []
        for place, label in enumerate(tiles):
            choice = self._garments[label]
            garments.append(choice[_draw(len(choice), position, "garment", place)])
        return halve(stitch(garments))

    @classmethod
    def stamp_files(cls, root: Path | None) -> Sequence[Path]:
        """The file of the garments."""
        del root
        return (SLICE_FILE,)

    @property
    def image_ids(self) -> list[int]:
        """0, 1, 2, ...: the order of the mosaics is that of their drawing."""
        return list(range(self._length))

    @property
    def content_hash(self) -> str:
        """sha256 over ids, labels and bytes of the mosaics in use."""
        digest = hashlib.sha256()
        for position in range(self._length):
            sample = self[position]
            digest.update(f"{sample.image_id} {sample.labels}\n".encode())
            digest.update(sample.image.tobytes())
        return digest.hexdigest()


def draw_tiles(position: int, num_classes: int) -> tuple[int, ...]:
    """The class of each tile of mosaic `position`: top left, top right, bottom left, bottom right.

    Args:
        position: Which mosaic.
        num_classes: Classes are 0 to `num_classes` - 1, at least four of them.

    """
    count = 1 + _draw(_TILES, position, "count")
    chosen = _shuffled(range(num_classes), position, "classes")[:count]
    others = [chosen[_draw(count, position, "other", n)] for n in range(_TILES - count)]
    return tuple(_shuffled([*chosen, *others], position, "tiles"))


def stitch(tiles: Sequence[Image]) -> Image:
    """Four images of one size as one, in the order in which text is read."""
    top_left, top_right, bottom_left, bottom_right = tiles
    return np.block([[top_left, top_right], [bottom_left, bottom_right]])


def halve(image: Image) -> Image:
    """An image of even sides at half the size: means over 2 x 2 pixels, rounded half up."""
    height, width = image.shape
    blocks = image.reshape(height // 2, 2, width // 2, 2)
    sums: npt.NDArray[np.uint16] = blocks.sum(axis=(1, 3), dtype=np.uint16)
    return ((sums + 2) // 4).astype(np.uint8)


def _draw(below: int, *what: object) -> int:
    """An integer from 0 to `below` - 1 that is always the same for the same `what`."""
    return int.from_bytes(_digest(*what)) % below


def _shuffled(values: Sequence[int], *what: object) -> list[int]:
    places = sorted(range(len(values)), key=lambda place: _digest(*what, place))
    return [values[place] for place in places]


def _digest(*what: object) -> bytes:
    return hashlib.sha256("/".join(map(str, (SEED, *what))).encode()).digest()
