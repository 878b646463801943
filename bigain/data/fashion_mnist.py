"""The test split of Fashion-MNIST as a dataset.

The order is class-balanced and seeded once and for all; the 1,000 images that ship with the package
are its first 1,000.  So `dataset.limit=N` gives the same images with and without the full data.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from bigain.data import fashion_mnist_files
from bigain.data.base import Sample, balanced_order
from bigain.errors import UserError

__all__ = [
    "CLASS_NAMES",
    "ORDER_SEED",
    "SLICE_SIZE",
    "TEST_SHA256",
    "TEST_SHAPE",
    "FashionMNIST",
    "ordered_test_split",
    "shipped_slice",
]

CLASS_NAMES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
ORDER_SEED = 20261122
SLICE_SIZE = 1000
TEST_SHAPE = (10_000, 28, 28)
TEST_SHA256 = "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4"
"""sha256 over the bytes of the published test split, images before labels."""
_SLICE = Path(__file__).parent.parent / "assets" / "fashion_mnist_test_1000.safetensors"


class FashionMNIST:
    """The first `limit` test images of the fixed order, or with None all 10,000.

    None never stands for the slice that ships: one configuration has one set of images.

    Raises:
        UserError: `limit` asks for more images than are found, or what is found under `root` is not
            Fashion-MNIST.

    """

    class_names: tuple[str, ...] = CLASS_NAMES
    prompts: tuple[str, ...] = tuple(f"a photo of a {name}." for name in CLASS_NAMES)
    condition_ids: tuple[int, ...] | None = None

    def __init__(self, limit: int | None = None, root: Path | None = None) -> None:
        found = fashion_mnist_files.find_root(root)
        if root is not None and found is None:
            raise UserError(
                f"dataset.root={root}: no Fashion-MNIST there; expected the four IDX files "
                "(train and t10k, images and labels, gzipped or not), or leave it null"
            )
        arrays = ordered_test_split(found) if found is not None else shipped_slice()
        self._ids, self._labels, self._images = arrays
        available = len(self._ids)
        if (limit is None and found is None) or (limit or 0) > available:
            raise UserError(
                f"dataset.limit={'null' if limit is None else limit}: only {available} images are "
                f"here; set dataset.limit={available}, or for all 10000 install Debian's "
                "dataset-fashion-mnist or set dataset.root"
            )
        self._length = available if limit is None else limit

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Sample:
        if not 0 <= position < self._length:
            raise IndexError(position)
        return Sample(
            image_id=int(self._ids[position]),
            label=int(self._labels[position]),
            image=self._images[position],
        )

    @property
    def image_ids(self) -> list[int]:
        """Indices in the original test split, in the fixed order."""
        return [int(i) for i in self._ids[: self._length]]

    @property
    def content_hash(self) -> str:
        """sha256 over ids, labels and bytes of the images in use."""
        digest = hashlib.sha256()
        for array in (self._ids, self._labels, self._images):
            digest.update(np.ascontiguousarray(array[: self._length]).tobytes())
        return digest.hexdigest()


def ordered_test_split(
    root: Path,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Ids, labels and 28 x 28 images of the whole test split in the fixed order.

    Raises:
        UserError: the files are not the published ones (MNIST has the same file names), but
            one run id stands for one set of images.

    """
    images, labels = fashion_mnist_files.read_split(root, "test")
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if images.shape != TEST_SHAPE or digest != TEST_SHA256:
        raise UserError(
            f"dataset.root={root}: is not Fashion-MNIST's test split (images of shape "
            f"{images.shape}, sha256 {digest[:12]}); allowed: the published files (shape "
            f"{TEST_SHAPE}, sha256 {TEST_SHA256[:12]})"
        )
    order = balanced_order(labels, ORDER_SEED)
    return order, labels[order], images[order]


def shipped_slice() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Ids, labels and 28 x 28 images of the first 1,000 of that order, which ship."""
    arrays = load_file(_SLICE)
    return arrays["image_ids"], arrays["labels"], arrays["images"]
