from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bigain.errors import UserError
from bigain.features.base import extract
from bigain.features.folder import FolderImages


def test_images_come_by_name_in_bytes(write_images: Callable[..., Path]) -> None:
    folder = write_images("a", 3)
    (folder / "000.png").rename(folder / "zzz.png")
    found = FolderImages(folder)
    assert [path.name for path in found.paths] == ["001.png", "002.png", "zzz.png"]
    assert found[0].shape == (32, 40, 3)
    assert found[0].dtype == np.uint8
    with Image.open(folder / "002.png") as image:
        assert np.array_equal(found[1], np.asarray(image))
    assert found.label(2).endswith("zzz.png")


def test_grey_levels_survive_colour_files(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "a.PNG")
    assert np.array_equal(FolderImages(tmp_path, mode="L")[0], grey)


def test_hidden_files_do_not_count(write_images: Callable[..., Path]) -> None:
    folder = write_images("a", 2)
    (folder / ".DS_Store").touch()
    assert len(FolderImages(folder)) == 2


def test_the_first_so_many_are_taken(write_images: Callable[..., Path]) -> None:
    folder = write_images("a", 4)
    assert [p.name for p in FolderImages(folder, limit=2).paths] == ["000.png", "001.png"]


@pytest.mark.parametrize("limit", [5, 0])
def test_fewer_images_than_asked_for_are_an_error(
    write_images: Callable[..., Path], limit: int
) -> None:
    folder = write_images("a", 4)
    with pytest.raises(UserError, match=f"a: {limit} images asked for; allowed: 1 to 4"):
        FolderImages(folder, limit=limit)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no image; allowed: at least one"):
        FolderImages(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "metrics.csv", "class_1", "png", "folder.png"])
def test_anything_but_images_is_an_error(write_images: Callable[..., Path], name: str) -> None:
    folder = write_images("a", 2)
    (folder / name).touch() if "." in name and "folder" not in name else (folder / name).mkdir()
    with pytest.raises(UserError, match=f"{name}: is no image") as told:
        FolderImages(folder)
    assert "\n" not in str(told.value)


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: does not exist; allowed: a folder"):
        FolderImages(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: is not a folder"):
        FolderImages(tmp_path / "file")


@pytest.mark.parametrize("keep", [0, 40, -30])
def test_a_broken_file_is_named(write_images: Callable[..., Path], corners: Any, keep: int) -> None:
    folder = write_images("a", 3)
    path = folder / "001.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"001\.png: cannot be read as an image") as told:
        extract(corners, FolderImages(folder, mode="L"), workers=2)
    assert "\n" not in str(told.value)


def test_mixed_sizes_name_both_files(write_images: Callable[..., Path], corners: Any) -> None:
    folder = write_images("a", 3)
    Image.new("RGB", (9, 8)).save(folder / "001.png")
    with pytest.raises(UserError, match=r"001\.png: is of size 8x9, but .*000\.png of 32x40"):
        extract(corners, FolderImages(folder, mode="L"))


def test_the_hash_follows_names_bytes_and_number(write_images: Callable[..., Path]) -> None:
    folder = write_images("a", 3)
    before = FolderImages(folder).content_hash
    assert FolderImages(folder).content_hash == before
    assert FolderImages(folder, limit=2).content_hash != before
    (folder / "002.png").rename(folder / "003.png")
    renamed = FolderImages(folder).content_hash
    assert renamed != before
    Image.new("RGB", (40, 32)).save(folder / "003.png")
    assert FolderImages(folder).content_hash != renamed
