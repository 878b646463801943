"""Fashion-MNIST from wherever it already lies: Debian's package, torchvision's folder, or a given root.

Images are 28 x 28 grey levels, padded by two black pixels on each side to 32 x 32 and
standardised with the mean and standard deviation of the padded training split.  Labels 0..9.

Source: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; MIT licence.
"""

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigain.errors import UserError

__all__ = [
    "CLASS_NAMES",
    "MEAN",
    "STD",
    "find_root",
    "pad_to_32",
    "read_idx",
    "read_split",
    "standardise",
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
MEAN = 0.2190
STD = 0.3318

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_DEBIAN_ROOT = Path("/usr/share/datasets/fashion-mnist")
_IDX_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, gzipped or not, as an array of its stored shape.

    Raises:
        UserError: the file is not IDX, is not of unsigned bytes, or is cut short.
    """
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(raw) < 4 or raw[:3] != bytes([0, 0, _IDX_UNSIGNED_BYTE]):
        raise UserError(f"{path} is not an IDX file of unsigned bytes")
    header = 4 + 4 * raw[3]
    shape = tuple(int(n) for n in np.frombuffer(raw[4:header], dtype=">u4"))
    if len(raw) != header + int(np.prod(shape)):
        raise UserError(f"{path} is cut short: {len(raw)} bytes do not hold shape {shape}")
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)


def find_root(configured: Path | None = None) -> Path | None:
    """The first folder that holds both splits, or None.

    Order: `configured` (searched alone when given), `$BIGAIN_FASHION_MNIST`, Debian's package
    folder, torchvision's `data/FashionMNIST/raw`.
    """
    if configured is not None:
        candidates: Sequence[Path] = (configured, configured / "FashionMNIST" / "raw")
    else:
        named = os.environ.get("BIGAIN_FASHION_MNIST")
        candidates = (
            *([Path(named)] if named else []),
            _DEBIAN_ROOT,
            Path("data/FashionMNIST/raw"),
        )
    names = [name for pair in _FILES.values() for name in pair]
    for root in candidates:
        if all(_existing(root, name) is not None for name in names):
            return root
    return None


def read_split(root: Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images (n, 28, 28) and labels (n,) of `split` ("train" or "test") under `root`.

    Raises:
        UserError: a file is missing, broken, or images and labels differ in number.
    """
    paths = []
    for name in _FILES[split]:
        path = _existing(root, name)
        if path is None:
            raise UserError(f"Fashion-MNIST: no {name}(.gz) in {root}")
        paths.append(path)
    images, labels = (read_idx(path) for path in paths)
    if len(images) != len(labels):
        raise UserError(f"Fashion-MNIST in {root}: {len(images)} images but {len(labels)} labels")
    return images, labels


def pad_to_32(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(n, 28, 28) -> (n, 32, 32) with two black pixels on each side."""
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))


def standardise(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(n, 32, 32) bytes -> (n, 1, 32, 32) floats of about zero mean and unit variance."""
    scaled = images[:, None].astype(np.float32) / 255.0
    return ((scaled - MEAN) / STD).astype(np.float32)


def _existing(root: Path, name: str) -> Path | None:
    return next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
