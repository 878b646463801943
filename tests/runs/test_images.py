import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw
from PIL.JpegImagePlugin import get_sampling

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.files import Evaluation
from bigain.runs.identity import run_id
from bigain.runs.images import FORMATS, RunImages, is_complete
from bigain.runs.store import RunStore


def picture(index: int, shape: tuple[int, ...] = (28, 28)) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(28, 28), (16, 16, 3)])
def test_png_keeps_every_pixel_under_the_number_of_the_sample(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    images = RunImages(tmp_path, 8, "png")
    digest = images.write(7, picture(7, shape))
    path = tmp_path / "images" / "000007.png"
    assert images.path(7) == path
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.array_equal(images[7], picture(7, shape))
    assert [each.name for each in path.parent.iterdir()] == ["000007.png"]


def test_jpeg_is_of_the_highest_quality(tmp_path: Path) -> None:
    images = RunImages(tmp_path, 1, "jpeg")
    smooth = np.repeat(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], 32, 0)
    smooth = np.repeat(smooth, 3, axis=2)
    images.write(0, smooth)
    path = tmp_path / "images" / "000000.jpg"
    with Image.open(path) as opened:
        assert opened.format == "JPEG"
        tables = opened.quantization  # type: ignore[attr-defined]
    assert all(set(table) == {1} for table in tables.values()), "quality 100 divides by nothing"
    assert np.abs(images[0].astype(int) - smooth).max() <= 2


def test_jpeg_halves_the_resolution_of_the_colours_as_the_released_code(tmp_path: Path) -> None:
    """Its files are Pillow's with quality=100 and nothing else: 4:2:0."""
    pixels = picture(3, (32, 32, 3))
    images = RunImages(tmp_path, 1, "jpeg")
    images.write(0, pixels)
    Image.fromarray(pixels).save(tmp_path / "plain.jpg", quality=100)
    assert images.path(0).read_bytes() == (tmp_path / "plain.jpg").read_bytes()
    with Image.open(images.path(0)) as opened:
        assert get_sampling(opened) == 2, "4:2:0"


@pytest.mark.parametrize("image_format", sorted(FORMATS))
def test_the_same_image_is_the_same_file(tmp_path: Path, image_format: str) -> None:
    hashes = {RunImages(tmp_path / x, 1, image_format).write(0, picture(0)) for x in "ab"}
    assert len(hashes) == 1


def test_a_missing_or_changed_image_is_named(tmp_path: Path) -> None:
    images = RunImages(tmp_path, 2, "png")
    records = [{"image_id": i, "sha256": images.write(i, picture(i))} for i in range(2)]
    images.check(records)
    images.write(1, picture(5))
    with pytest.raises(UserError, match=r"000001\.png: was changed.*start the run again"):
        images.check(records)
    images.path(1).unlink()
    with pytest.raises(UserError, match=r"000001\.png: is missing.*start the run again"):
        images.check(records)
    images.path(0).write_bytes(b"half")
    with pytest.raises(UserError, match=r"000000\.png: cannot be read"):
        images[0]
    with pytest.raises(IndexError):
        images[2]
    assert images.label(1) == str(images.path(1))


def test_lost_images_are_those_gone_or_changed(tmp_path: Path) -> None:
    images = RunImages(tmp_path, 3, "png")
    records = [{"image_id": i, "sha256": images.write(i, picture(i))} for i in range(3)]
    assert images.missing(records) == []
    images.path(0).unlink()
    images.path(2).write_bytes(b"half")
    assert images.missing(records) == [records[0], records[2]]


def test_only_the_expected_bytes_are_written(tmp_path: Path) -> None:
    images = RunImages(tmp_path, 1, "png")
    expected = images.write(0, picture(0))
    images.path(0).write_bytes(b"half")
    with pytest.raises(UserError, match=r"000000\.png: .* gives other bytes .* force=true"):
        images.write(0, picture(1), expected)
    assert images.path(0).read_bytes() == b"half", "what lies there is not made worse"
    assert [path.name for path in images.path(0).parent.iterdir()] == ["000000.png"]
    assert images.write(0, picture(0), expected) == expected
    assert np.array_equal(images[0], picture(0))


def test_an_image_is_taken_over_if_it_is_whole(tmp_path: Path) -> None:
    theirs, ours = RunImages(tmp_path / "a", 2, "png"), RunImages(tmp_path / "b", 4, "png")
    record = {"image_id": 1, "sha256": theirs.write(1, picture(1))}
    assert ours.copy_files(tmp_path / "a", record)
    assert np.array_equal(ours[1], picture(1))
    ours.check([record])
    theirs.path(1).write_bytes(b"half")
    assert not ours.copy_files(tmp_path / "a", record)
    theirs.path(1).unlink()
    assert not ours.copy_files(tmp_path / "a", record)


@pytest.mark.parametrize(("n", "columns", "rows"), [(3, 3, 1), (70, 8, 8)])
def test_the_grid_shows_the_first_ones_with_labels(
    tmp_path: Path, n: int, columns: int, rows: int
) -> None:
    images = RunImages(tmp_path, n, "png")
    for index in range(n):
        images.write(index, np.full((28, 28), 3 * index, dtype=np.uint8))
    path = images.write_grid("mini", [f"class with a very long name \u65e5 {i}" for i in range(n)])
    with Image.open(path) as opened:
        sheet = np.asarray(opened)
    tile, line = 98, 112
    assert sheet.shape == (14 + rows * line, columns * tile, 3)
    assert sheet[:14].min() < 60, "a title is drawn"
    sheet = sheet[14:]
    assert (sheet[10:80, 10:80] == 0).all()
    assert (sheet[10:80, tile + 10 : tile + 80] == 3).all()
    below = sheet[tile + 1 : line, :tile]
    assert below.min() < 60, "a label is drawn"
    assert (sheet[tile + 1 : line, tile - 1 : tile + 1] == 255).all(), "and ends with its tile"


def test_the_grid_says_which_image_of_which_run_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    images = RunImages(tmp_path, 2, "png")
    for index in range(2):
        images.write(index, picture(index))
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _s, _xy, text, **_o: told.append(text))
    images.write_grid("mini_unet tome ratio=0.7, seed 0", ["dress", "ankle boot"])
    assert told == ["mini_unet tome ratio=0.7, seed 0", "0 dress", "1 ankle boot"]


def test_what_a_kill_in_a_write_left_is_gone_when_the_run_is_whole(tmp_path: Path) -> None:
    images = RunImages(tmp_path, 1, "png")
    record = {"image_id": 0, "sha256": images.write(0, picture(0))}
    torn = tmp_path / "images" / ".000000.png.0123abcd.tmp"
    torn.write_bytes(b"half")
    images.check([record])
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["000000.png"]


Make = Callable[..., RunConfig]


MakeRun = Callable[..., RunStore]


TASK = {
    "name": "generation",
    "sampler": "ddim",
    "steps": 5,
    "guidance_scale": 2.0,
    "images_per_forward": 8,
    "image_format": "png",
    "extractor": "mini",
    "extractor_weights": None,
    "reference": "split",
}


def generated(results: Path, config: RunConfig, hashes: dict[str, str]) -> RunStore:
    """A finished generation of four images."""
    store = RunStore(results, run_id(config))
    images = RunImages(store.folder, 4, "png")
    with store.open(config, range(4), {"hashes": hashes}) as session:
        for index in session.todo():
            sha256 = images.write(index, np.full((4, 4), index, dtype=np.uint8))
            session.append({"image_id": index, "sha256": sha256})
        session.finish(lambda records: Evaluation(records, []))
    return store


def test_a_run_without_files_of_its_own_is_complete(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    config = make_config()
    assert is_complete(config, make_run(tmp_path, config))


def test_a_generation_is_complete_while_all_its_images_are_there(
    tmp_path: Path, make_config: Make
) -> None:
    config: RunConfig = make_config(task=TASK, dataset__limit=4)
    store = generated(tmp_path, config, {})
    assert is_complete(config, store)
    RunImages(store.folder, 4, "png").path(3).unlink()
    assert not is_complete(config, store)
