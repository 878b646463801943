import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest


def write_idx(path: Path, array: npt.NDArray[np.uint8]) -> None:
    """The IDX format from its definition: magic, sizes as big-endian 32-bit, bytes."""
    header = bytes([0, 0, 8, array.ndim])
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    content = header + sizes + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_split(root: Path, prefix: str, count: int, suffix: str = ".gz") -> None:
    generator = np.random.default_rng(count)
    images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    root.mkdir(parents=True, exist_ok=True)
    write_idx(root / f"{prefix}-images-idx3-ubyte{suffix}", images)
    write_idx(root / f"{prefix}-labels-idx1-ubyte{suffix}", labels)


@pytest.fixture
def full_root(tmp_path: Path) -> Path:
    """A small data set in the four files of the real one."""
    root = tmp_path / "fashion"
    write_split(root, "train", 60)
    write_split(root, "t10k", 50)
    return root
