"""Images of datasets and folders, and their features: order, full blocks, the same bits."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bigain.data.fashion_mnist import FashionMNIST
from bigain.errors import UserError
from bigain.features.base import (
    DatasetImages,
    Extractor,
    FolderImages,
    decode_workers,
    extract,
    feature_blocks,
)
from bigain.features.mini import MiniExtractor
from bigain.metrics import StreamedMoments, moments_of

Images = list[npt.NDArray[np.uint8]]


def images(count: int, side: int = 6) -> Images:
    generator = np.random.default_rng(count)
    return [generator.integers(0, 256, (side, side), dtype=np.uint8) for _ in range(count)]


class Slow(Sequence[npt.NDArray[np.uint8]]):
    """Images whose decoding takes the longer the earlier they come; counts what is decoded."""

    def __init__(self, count: int) -> None:
        self.images = images(count)
        self.decoded: list[int] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Any) -> Any:
        time.sleep(0.002 * (len(self) - position) / len(self))
        self.decoded.append(position)
        self.threads.add(threading.current_thread().name)
        return self.images[position]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_features_are_those_of_the_images_in_their_order(corners: Any, count: int) -> None:
    some = images(count)
    expected = [[i[0, 0], i[0, -1], i[-1, 0], i[-1, -1]] for i in some]
    assert extract(corners, some).tolist() == expected


def test_the_network_always_sees_full_blocks(corners: Any) -> None:
    extract(corners, images(7))
    assert corners.blocks == [3, 3, 3]
    assert [len(piece) for piece in feature_blocks(corners, images(7))] == [3, 3, 1]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_keep_the_order_and_run_not_far_ahead(corners: Any, workers: int) -> None:
    lazy = Slow(60)
    found = feature_blocks(corners, lazy, workers)
    first = next(found)
    assert len(lazy.decoded) <= 3 + 6 * workers + 1
    rows = np.concatenate([first, *found])
    assert rows.tolist() == extract(corners, lazy.images).tolist()
    assert any("ThreadPool" in name for name in lazy.threads)


def test_a_real_network_gives_the_same_bits_for_any_workers_and_pieces() -> None:
    """Ragged pieces of one stream, folded into one covariance, and everything at once."""
    extractor: Extractor = MiniExtractor()
    dataset = DatasetImages(FashionMNIST(limit=250))
    alone = extract(extractor, dataset)
    for workers in (1, 3):
        stream = StreamedMoments(extractor.dimension)
        for piece in feature_blocks(extractor, dataset, workers):
            for row in piece:
                stream.update(row[None])
        assert np.array_equal(stream.result().covariance, moments_of(alone).covariance)
        assert np.array_equal(extract(extractor, dataset, workers), alone)


def test_what_follows_an_image_does_not_change_it() -> None:
    """The last block is filled up; the filling must not reach the features before it."""
    extractor = MiniExtractor()
    some = [*DatasetImages(FashionMNIST(limit=130))]
    assert np.array_equal(extract(extractor, some[:101]), extract(extractor, some)[:101])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([*images(4), *images(1, side=9)], "image 4: .* 9x9, .* image 0 .* 6x6; .*--mixed-sizes"),
        ([np.zeros((6, 6, 3), np.uint8)], r"image 0: .* \(6, 6, 3\)"),
        ([], "images: there are none"),
    ],
)
def test_images_that_do_not_fit_are_refused(corners: Any, wrong: Images, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}") as caught:
        extract(corners, wrong, workers=2)
    assert "\n" not in str(caught.value)


def test_mixed_sizes_can_be_allowed(corners: Any) -> None:
    mixed = [*images(4), *images(1, side=9)]
    assert extract(corners, mixed, mixed_sizes=True).shape == (5, 4)


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (4, 4), (64, 8)])
def test_there_is_a_worker_for_each_core_up_to_eight(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    affinity = "sched_getaffinity"
    monkeypatch.setattr(os, affinity, lambda _process: set(range(cores)), raising=False)
    assert decode_workers() == workers
    monkeypatch.delattr(os, affinity)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert decode_workers() == workers
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert decode_workers() == 1


# Folders.

WriteImages = Callable[..., Path]


def test_images_of_a_folder_come_by_name(write_images: WriteImages) -> None:
    folder = write_images("a", 3)
    (folder / "000.png").rename(folder / "zzz.png")
    (folder / ".DS_Store").touch()
    found = FolderImages(folder)
    assert [path.name for path in found.paths] == ["001.png", "002.png", "zzz.png"]
    assert found[0].shape == (32, 40, 3)
    with Image.open(folder / "002.png") as image:
        assert np.array_equal(found[1], np.asarray(image))
    assert [p.name for p in FolderImages(folder, limit=2).paths] == ["001.png", "002.png"]


def test_grey_levels_survive_colour_files(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "a.PNG")
    assert np.array_equal(FolderImages(tmp_path, mode="L")[0], grey)


@pytest.mark.parametrize("limit", [3, 0])
def test_another_number_than_the_folder_has_is_refused(
    write_images: WriteImages, limit: int
) -> None:
    with pytest.raises(UserError, match=f"a: limit={limit}: allowed: 1 to 2"):
        FolderImages(write_images("a", 2), limit=limit)


@pytest.mark.parametrize("name", ["notes.txt", "class_1", "png", "folder.png"])
def test_anything_but_images_is_refused(write_images: WriteImages, name: str) -> None:
    folder = write_images("a", 2)
    (folder / name).touch() if name == "notes.txt" else (folder / name).mkdir()
    with pytest.raises(UserError, match=f"{name}: is not an image; allowed: only .*png"):
        FolderImages(folder)


def test_no_folder_and_no_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains no image; allowed: at least one"):
        FolderImages(tmp_path)
    with pytest.raises(UserError, match="nowhere: does not exist; allowed: a folder"):
        FolderImages(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: is not a folder"):
        FolderImages(tmp_path / "file")


@pytest.mark.parametrize("other", ["._000.png", ".DS_Store", "Thumbs.db", "desktop.ini"])
def test_what_the_operating_system_leaves_is_no_image(
    write_images: WriteImages, other: str
) -> None:
    folder = write_images("a", 3)
    (folder / other).write_bytes(b"\0")
    assert [path.name for path in FolderImages(folder).paths] == ["000.png", "001.png", "002.png"]


@pytest.mark.parametrize("keep", [0, 40, -30])
def test_a_damaged_file_is_named(write_images: WriteImages, corners: Any, keep: int) -> None:
    path = write_images("a", 3) / "001.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"001\.png: cannot be read as an image") as caught:
        extract(corners, FolderImages(path.parent, mode="L"), workers=2)
    assert "\n" not in str(caught.value)


def test_mixed_sizes_name_both_files(write_images: WriteImages, corners: Any) -> None:
    folder = write_images("a", 3)
    Image.new("RGB", (9, 8)).save(folder / "001.png")
    with pytest.raises(UserError, match=r"001\.png: .* 8x9, .*000\.png .* 32x40"):
        extract(corners, FolderImages(folder, mode="L"))
