"""Fashion-MNIST's files, wherever they already lie: Debian's package, torchvision's folder, a root.

Images are 28 x 28 grey levels, labels 0..9.
Source: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; MIT licence.
"""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigain.errors import UserError

__all__ = ["find_root", "read_idx", "read_split"]

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
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(f"{path} is not a whole gzip file") from None
    if len(raw) < 4 or raw[:3] != bytes([0, 0, _IDX_UNSIGNED_BYTE]):
        raise UserError(f"{path} is not an IDX file of unsigned bytes")
    header = 4 + 4 * raw[3]
    shape = tuple(int(n) for n in np.frombuffer(raw[4:header], dtype=">u4"))
    if len(raw) != header + int(np.prod(shape)):
        raise UserError(f"{path} is cut short: {len(raw)} bytes do not hold shape {shape}")
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)


def find_root(configured: Path | None = None) -> Path | None:
    """The first folder that holds both splits, or None.

    Order: `configured` (searched alone when given), Debian's package folder, torchvision's
    `data/FashionMNIST/raw`.
    """
    if configured is not None:
        candidates: Sequence[Path] = (configured, configured / "FashionMNIST" / "raw")
    else:
        candidates = (_DEBIAN_ROOT, Path("data/FashionMNIST/raw"))
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


def _existing(root: Path, name: str) -> Path | None:
    return next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
