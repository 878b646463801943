import gzip
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from bigain.data import fashion_mnist
from bigain.data.fashion_mnist import FashionMNIST, find_root, read_idx, read_split
from bigain.errors import UserError


@pytest.fixture
def published_root(full_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small data set in the place of the published one."""
    images, labels = fashion_mnist.read_split(full_root, "test")
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    monkeypatch.setattr(fashion_mnist, "TEST_SHAPE", images.shape)
    monkeypatch.setattr(fashion_mnist, "TEST_SHA256", digest)
    return full_root


@pytest.fixture
def only_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "_DEBIAN_ROOT", Path("nowhere"))


def test_shipped_slice_has_a_hundred_images_of_each_class(only_slice: None) -> None:
    dataset = FashionMNIST(limit=1000)
    labels = [dataset[i].labels[0] for i in range(len(dataset))]
    assert np.bincount(labels).tolist() == [100] * 10
    assert len(set(dataset.image_ids)) == 1000
    assert dataset[0].image.shape == (28, 28)
    assert dataset[0].image.dtype == np.uint8


def test_shipped_images_look_like_their_class(only_slice: None) -> None:
    dataset = FashionMNIST(limit=1000)
    samples = [dataset[i] for i in range(1000)]
    mean = {c: np.mean([s.image for s in samples if s.label == c], axis=0) for c in range(10)}
    nearest = [min(mean, key=lambda c: float(np.square(s.image - mean[c]).sum())) for s in samples]
    agreement = np.mean([a == s.label for a, s in zip(nearest, samples, strict=True)])
    assert agreement > 0.6


def test_limit_takes_the_first_images_of_the_same_order(only_slice: None) -> None:
    long, short = FashionMNIST(limit=50), FashionMNIST(limit=20)
    assert short.image_ids == long.image_ids[:20]
    assert len(short) == 20
    with pytest.raises(IndexError):
        short[20]
    with pytest.raises(IndexError):
        short[-1]


def test_limit_beyond_the_slice_says_where_to_get_the_rest(only_slice: None) -> None:
    with pytest.raises(UserError, match=r"dataset\.limit=1001: only 1000 images"):
        FashionMNIST(limit=1001)


def test_all_images_never_means_the_slice(only_slice: None) -> None:
    with pytest.raises(UserError, match=r"dataset\.limit=null: .*dataset\.limit=1000"):
        FashionMNIST()


def test_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root="):
        FashionMNIST(root=tmp_path)


def test_full_data_starts_with_the_slice(
    published_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, labels, images = fashion_mnist.ordered_test_split(published_root)
    arrays: dict[str, npt.NDArray[Any]] = {"image_ids": ids, "labels": labels, "images": images}
    shipped = tmp_path / "slice.safetensors"
    save_file({name: np.ascontiguousarray(a[:30]) for name, a in arrays.items()}, shipped)
    full = FashionMNIST(limit=30, root=published_root)
    monkeypatch.setattr(fashion_mnist, "SLICE_FILE", shipped)
    monkeypatch.setattr(fashion_mnist, "_DEBIAN_ROOT", Path("nowhere"))
    from_slice = FashionMNIST(limit=30)
    assert from_slice.image_ids == full.image_ids
    assert from_slice.content_hash == full.content_hash
    assert len(FashionMNIST(root=published_root)) == 50


def test_content_hash_follows_the_images_in_use(published_root: Path) -> None:
    a, b = FashionMNIST(limit=10, root=published_root), FashionMNIST(limit=11, root=published_root)
    assert a.content_hash != b.content_hash
    assert a.content_hash == FashionMNIST(limit=10, root=published_root).content_hash


def test_ids_point_into_the_original_split(published_root: Path) -> None:
    images, labels = fashion_mnist.read_split(published_root, "test")
    dataset = FashionMNIST(root=published_root)
    for position in range(len(dataset)):
        sample = dataset[position]
        assert np.array_equal(sample.image, images[sample.image_id])
        assert sample.label == labels[sample.image_id]


def test_other_data_in_files_of_the_same_name_is_refused(full_root: Path) -> None:
    """MNIST is such data; and a run id must not stand for it."""
    with pytest.raises(
        UserError, match=r"dataset\.root=.*: is not Fashion-MNIST's test split"
    ) as told:
        FashionMNIST(limit=10, root=full_root)
    assert "(50, 28, 28)" in str(told.value)
    assert "(10000, 28, 28)" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("changed", ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_one_other_byte_is_refused(published_root: Path, changed: str) -> None:
    assert len(FashionMNIST(root=published_root)) == 50
    content = bytearray(gzip.decompress((published_root / changed).read_bytes()))
    content[-1] ^= 1
    (published_root / changed).write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(UserError, match="is not Fashion-MNIST's test split"):
        FashionMNIST(root=published_root)


def test_the_published_split_is_the_one_that_the_slice_was_cut_from(only_slice: None) -> None:
    assert fashion_mnist.TEST_SHAPE == (10_000, 28, 28)
    assert re.fullmatch("[0-9a-f]{64}", fashion_mnist.TEST_SHA256)
    assert max(FashionMNIST(limit=1000).image_ids) < fashion_mnist.TEST_SHAPE[0]


# The files.


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


@pytest.mark.parametrize("size", [3, 5, 7, 15])
def test_a_header_cut_short_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    write_images(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="x is not an IDX file"):
        read_idx(path)


@pytest.mark.parametrize(
    ("name", "array", "told"),
    [
        ("images", np.zeros((5, 28, 27), np.uint8), r"shape \(5, 28, 27\); allowed: \(n, 28, 28"),
        ("images", np.zeros((50, 784), np.uint8), r"shape \(50, 784\); allowed: \(n, 28, 28"),
        ("labels", np.zeros((50, 1), np.uint8), r"shape \(50, 1\); allowed: \(n,\)"),
        ("labels", np.array(3, np.uint8), r"shape \(\); allowed: \(n,\)"),
        ("labels", np.full(50, 10, np.uint8), "has label 10; allowed: 0 to 9"),
    ],
)
def test_arrays_that_are_no_images_or_labels_are_named(
    full_root: Path, name: str, array: npt.NDArray[np.uint8], told: str
) -> None:
    (path,) = full_root.glob(f"t10k-{name}-*")
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()))
    with pytest.raises(UserError, match=rf"t10k-{name}-.*{told}"):
        read_split(full_root, "test")


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_idx(tmp_path)


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
    monkeypatch.setattr(fashion_mnist, "_DEBIAN_ROOT", full_root)
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
