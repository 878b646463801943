import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from bigain.data import fashion_mnist_files
from bigain.data.fashion_mnist_files import find_root, read_idx, read_split
from bigain.errors import UserError


def write_images(path: Path, cut: int = 0) -> bytes:
    pixels = bytes(range(24))
    content = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (2, 3, 4)) + pixels
    path.write_bytes(content[: len(content) - cut])
    return pixels


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_with_and_without_gzip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "images"
    write_images(path)
    target = tmp_path / f"images{suffix}"
    if suffix:
        target.write_bytes(gzip.compress(path.read_bytes()))
    array = read_idx(target)
    assert array.shape == (2, 3, 4)
    assert array[1, 2, 3] == 23


@pytest.mark.parametrize("content", [b"", b"abc", bytes([0, 0, 13, 1, 0, 0, 0, 0])])
def test_other_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match="x is not an IDX file"):
        read_idx(tmp_path / "x")


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "x", cut=1)
    with pytest.raises(UserError, match="cut short"):
        read_idx(tmp_path / "x")


def test_a_broken_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a" * 100)[:-20])
    with pytest.raises(UserError, match=r"x\.gz"):
        read_idx(path)


def test_configured_root_is_the_only_one_searched(full_root: Path, tmp_path: Path) -> None:
    assert find_root(full_root) == full_root
    assert find_root(tmp_path / "nowhere") is None


def test_torchvision_layout_is_found(tmp_path: Path, full_root: Path) -> None:
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.parent.mkdir(parents=True)
    full_root.rename(raw)
    assert find_root(tmp_path / "data") == raw


def test_without_a_root_debian_comes_before_torchvision(
    full_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Path("data/FashionMNIST/raw")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fashion_mnist_files, "_DEBIAN_ROOT", full_root)
    shutil.copytree(full_root, raw)
    assert find_root() == full_root
    next(full_root.glob("train-labels*")).unlink()
    assert find_root() == raw
    shutil.rmtree(raw)
    assert find_root() is None


def test_half_a_dataset_is_none(full_root: Path) -> None:
    next(full_root.glob("train-labels*")).unlink()
    assert find_root(full_root) is None


def test_splits_are_read(full_root: Path) -> None:
    images, labels = read_split(full_root, "test")
    assert images.shape == (50, 28, 28)
    assert labels.tolist() == (np.arange(50) % 10).tolist()
    assert len(read_split(full_root, "train")[0]) == 60


def test_missing_file_and_unequal_numbers_are_named(full_root: Path) -> None:
    labels = full_root / "t10k-labels-idx1-ubyte.gz"
    labels.rename(full_root / "train-labels-idx1-ubyte.gz")
    with pytest.raises(UserError, match="t10k-labels"):
        read_split(full_root, "test")
    with pytest.raises(UserError, match="60 images but 50 labels"):
        read_split(full_root, "train")


def test_file_names_are_those_of_the_published_data() -> None:
    assert fashion_mnist_files._FILES["test"][0] == "t10k-images-idx3-ubyte"
