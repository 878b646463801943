"""Fashion-MNIST's test split, and its files wherever they already lie.

The order is class-balanced and seeded once and for all; the 1,000 images that ship with the package
are its first 1,000.  So `dataset.limit=N` gives the same images with and without the full data.
Images are 28 x 28 grey levels, labels 0..9.
Source: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; MIT licence.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from bigain.config import DatasetConfig
from bigain.data.base import ClassList, Dataset, PublishedDataset, Sample
from bigain.data.orders import balanced_order
from bigain.errors import UserError
from bigain.locations import ASSETS

__all__ = [
    "CLASSES",
    "SLICE_FILE",
    "SLICE_SIZE",
    "FashionMNIST",
    "find_root",
    "ordered_test_split",
    "read_idx",
    "read_split",
    "shipped_slice",
]

CLASSES = ClassList.of(
    (
        *("T-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
)
ORDER_SEED = 20261122
SLICE_SIZE = 1000
TEST_SHAPE = (10_000, 28, 28)
TEST_SHA256 = "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4"
"""sha256 over the bytes of the published test split, images before labels."""
SLICE_FILE = ASSETS / "fashion_mnist_test_1000.safetensors"
"""The 1,000 images that ship."""
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_NAMES = [name for pair in _FILES.values() for name in pair]
_DEBIAN_ROOT = Path("/usr/share/datasets/fashion-mnist")
_IDX_UNSIGNED_BYTE = 0x08


class FashionMNIST(PublishedDataset):
    """The test images in the fixed order.

    A limit of None stands for all 10,000, never for the slice that ships.

    Raises:
        UserError: `limit` asks for more images than are found, or what is found under `root` is not
            Fashion-MNIST.

    """

    num_classes = 10
    split = "test"
    split_size = 10_000
    label_space = "fashion"
    ships = True
    rest = "install Debian's dataset-fashion-mnist or set dataset.root"
    class_names = CLASSES.names
    prompts = CLASSES.prompts
    condition_ids = None

    def __init__(self, limit: int | None = None, root: Path | None = None) -> None:
        found = find_root(root)
        if root is not None and found is None:
            raise UserError(
                f"dataset.root={root}: {_lacking(root)}; expected the four IDX files "
                "(train and t10k, images and labels, gzipped or not), or leave it null"
            )
        arrays = ordered_test_split(found) if found is not None else shipped_slice()
        self._ids, self._labels, self._images = arrays
        available = len(self._ids)
        if (limit is None and found is None) or (limit or 0) > available:
            raise UserError(
                f"dataset.limit={'null' if limit is None else limit}: only {available} images are "
                f"here; set dataset.limit={available}, or for all 10000 {self.rest}"
            )
        self._length = available if limit is None else limit
        self._found = found

    @classmethod
    def has_files_in(cls, root: Path) -> bool:
        """Whether at least one of the four files is where `find_root` looks below `root`."""
        return any(_existing(place, name) for place in _below(root) for name in _NAMES)

    @classmethod
    def open_all(cls, root: Path | None) -> Self:
        """The full split where it is found, otherwise the images that ship."""
        return cls(SLICE_SIZE if find_root(root) is None else None, root)

    @classmethod
    def reference(cls, which: str, config: DatasetConfig) -> Dataset:
        """The 1,000 images that ship, so that the reference is the same on every machine."""
        if config.index is not None:
            return super().reference(which, config)
        return cls(SLICE_SIZE, config.root)

    @classmethod
    def stamp_files(cls, root: Path | None) -> Sequence[Path]:
        """The two files of the test split, or the file that ships."""
        found = find_root(root)
        if found is None:
            return (SLICE_FILE,)
        paths = (_existing(found, name) for name in _FILES["test"])
        return [path for path in paths if path is not None]

    @property
    def place(self) -> str:
        """The folder, or the slice that ships."""
        return "of the 1,000 that ship" if self._found is None else f"in {self._found}"

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
    images, labels = read_split(root, "test")
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
    arrays = load_file(SLICE_FILE)
    return arrays["image_ids"], arrays["labels"], arrays["images"]


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, gzipped or not, as an array of its stored shape.

    Raises:
        UserError: the file cannot be read, is not IDX, is not of unsigned bytes, or is cut short.

    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(f"{path} is not a whole gzip file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    header = 4 + 4 * raw[3] if len(raw) >= 4 else 4
    if raw[:3] != bytes([0, 0, _IDX_UNSIGNED_BYTE]) or len(raw) < header:
        raise UserError(f"{path} is not an IDX file of unsigned bytes")
    shape = tuple(int(n) for n in np.frombuffer(raw[4:header], dtype=">u4"))
    if len(raw) != header + math.prod(shape):
        raise UserError(f"{path} is cut short: {len(raw)} bytes do not hold shape {shape}")
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)


def find_root(configured: Path | None = None) -> Path | None:
    """The first folder that holds both splits, or None.

    Order: `configured` (searched alone when given), Debian's package folder, torchvision's
    `data/FashionMNIST/raw`.
    """
    candidates = (_DEBIAN_ROOT, Path("data/FashionMNIST/raw"))
    for root in candidates if configured is None else _below(configured):
        if all(_existing(root, name) for name in _NAMES):
            return root
    return None


def read_split(root: Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images (n, 28, 28) and labels (n,) of `split` ("train" or "test") under `root`.

    Raises:
        UserError: a file is missing or broken, images and labels differ in number, or they are no
            images of 28 x 28 with labels 0..9.

    """
    paths = []
    for name in _FILES[split]:
        path = _existing(root, name)
        if path is None:
            raise UserError(f"Fashion-MNIST: no {name}(.gz) in {root}")
        paths.append(path)
    images, labels = (read_idx(path) for path in paths)
    for path, array, shape in zip(paths, (images, labels), ((28, 28), ()), strict=True):
        if array.ndim != 1 + len(shape) or array.shape[1:] != shape:
            allowed = f"allowed: {'(n, 28, 28)' if shape else '(n,)'}"
            raise UserError(f"{path}: has an array of shape {array.shape}; {allowed}")
    if labels.max(initial=0) >= len(CLASSES.names):
        raise UserError(f"{paths[1]}: has label {labels.max()}; allowed: 0 to 9")
    if len(images) != len(labels):
        raise UserError(f"Fashion-MNIST in {root}: {len(images)} images but {len(labels)} labels")
    return images, labels


def _below(root: Path) -> tuple[Path, Path]:
    """Where the files may lie if `root` is given."""
    return root, root / "FashionMNIST" / "raw"


def _lacking(root: Path) -> str:
    """What is wrong with a folder that does not hold all four files."""
    for place in _below(root):
        missing = [name for name in _NAMES if not _existing(place, name)]
        if len(missing) < len(_NAMES):
            return f"{', '.join(missing)} is missing in {place}"
    return "no Fashion-MNIST there"


def _existing(root: Path, name: str) -> Path | None:
    return next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
