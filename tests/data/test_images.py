import io
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets.folder import default_loader
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from bigain.data.images import UnreadableImage, centre_crop_resize, pixels_of, read_image
from bigain.errors import UserError

Bytes = npt.NDArray[np.uint8]


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Bytes:
    shape = (height, width) if channels == 1 else (height, width, channels)
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, mode: str, form: str, size: tuple[int, int] = (12, 9)) -> Path:
    colours = Image.fromarray(noise(size[1], size[0]))
    image = colours.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(noise(size[1], size[0], 1)))
    image.save(path, form)
    return path


# Reading.


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        *[("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("LA", "PNG")],
        *[("P", "PNG"), ("1", "PNG"), ("P", "GIF"), ("RGB", "BMP")],
    ],
)
def test_every_colour_model_becomes_rgb_as_torchvision_makes_it(
    tmp_path: Path, mode: str, form: str
) -> None:
    path = save(tmp_path / "image.jpg", mode, form)
    image = read_image(path)
    assert image.shape == (9, 12, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, np.asarray(default_loader(str(path))))


def test_grey_has_three_equal_channels(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "x.png", "L", "PNG"))
    assert np.array_equal(image[..., 0], image[..., 1])
    assert np.array_equal(image[..., 0], image[..., 2])
    assert image.std() > 0


def test_alpha_is_dropped_not_composited(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 0] = 200  # red, and wholly transparent
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[0, 0].tolist() == [200, 0, 0]


def grey(path: Path, kind: str, form: str) -> Path:
    """One picture of 9x12 pixels, each value in the whole range of its type."""
    picture = noise(9, 12, 1).astype(np.uint16)
    if kind == "PGM":
        path.write_bytes(b"P5 12 9 65535\n" + (picture * 257).astype(">u2").tobytes())
        return path
    scale = {"8": 1, "16": 257, "high byte": 256}[kind]
    scaled = (picture * scale).astype(np.uint8 if kind == "8" else np.uint16)
    Image.fromarray(scaled).save(path, form)
    return path


@pytest.mark.parametrize(
    ("kind", "form"),
    [("16", "PNG"), ("16", "TIFF"), ("high byte", "PNG"), ("PGM", "PPM")],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_grey_picture_of_16_bits_has_the_pixels_of_its_8_bits(
    tmp_path: Path, kind: str, form: str, mode: str
) -> None:
    with Image.open(grey(tmp_path / "x", kind, form)) as deep:
        found = pixels_of(deep, mode)
    with Image.open(grey(tmp_path / "y", "8", "PNG")) as plain:
        assert np.array_equal(found, pixels_of(plain, mode))
    assert np.array_equal(read_image(tmp_path / "x"), read_image(tmp_path / "y"))
    assert found.shape == ((9, 12, 3) if mode == "RGB" else (9, 12))


def write_tiff(path: Path, picture: Bytes, bits: int, *, white_is_zero: bool) -> None:
    """An uncompressed grey TIFF of 12 or 16 bits, from the definition of the format."""
    height, width = picture.shape
    whole = 255 - picture if white_is_zero else picture
    values = whole.astype(np.int64) * ((1 << bits) - 1) // 255
    strip = values.astype("<u2").tobytes()
    if bits == 12:  # two pixels in three bytes, the high bits first
        pairs = values.reshape(height, -1, 2).astype(int)
        first, second = pairs[..., 0], pairs[..., 1]
        parts = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
        strip = np.stack(parts, axis=-1).astype(np.uint8).tobytes()
    meaning = 0 if white_is_zero else 1
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: meaning, 273: 8, 277: 1}
    tags |= {278: height, 279: len(strip)}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(strip))
    path.write_bytes(head + strip + struct.pack("<H", len(tags)) + rows + bytes(4))


@pytest.mark.parametrize(("bits", "white_is_zero"), [(12, False), (16, False), (16, True)])
def test_a_grey_tiff_is_scaled_from_its_own_bits_and_never_a_negative(
    tmp_path: Path, bits: int, white_is_zero: bool
) -> None:
    picture = noise(9, 12, 1)
    write_tiff(tmp_path / "x.tif", picture, bits, white_is_zero=white_is_zero)
    found = read_image(tmp_path / "x.tif")[..., 0]
    assert np.abs(found.astype(int) - picture).max() <= 1
    assert abs(float(found.mean()) - float(picture.mean())) < 1


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_without_a_known_range_are_unreadable(tmp_path: Path, kind: type) -> None:
    Image.fromarray(noise(9, 12, 1).astype(kind)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImage, match=r"^x\.tif: .*allowed: 8 or 16 bits"):
        read_image(tmp_path / "x.tif")


def test_the_exif_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown rotated by a quarter turn
    Image.fromarray(noise(8, 20)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (8, 20, 3)


def test_a_single_pixel_is_an_image(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "x.jpg", "RGB", "JPEG", (1, 1))).shape == (1, 1, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF"])
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.8])
def test_a_file_cut_short_is_unreadable(tmp_path: Path, form: str, kept: float) -> None:
    path = save(tmp_path / "cut.jpg", "RGB", form, (120, 90))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UnreadableImage, match=r"^cut\.jpg: \S") as told:
        read_image(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", [b"", b"\xff", b"<html>no such file</html>" * 20])
def test_what_is_no_image_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(UnreadableImage, match=rf"x\.jpg: is no image \({len(content)} bytes\)"):
        read_image(tmp_path / "x.jpg")


def test_a_png_with_a_damaged_chunk_is_unreadable(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(40, 40)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[len(content) // 2] ^= 255
    (tmp_path / "x.png").write_bytes(bytes(content))
    with pytest.raises(UnreadableImage, match="val/x"):
        read_image(tmp_path / "x.png", "val/x")


def test_an_image_of_too_many_pixels_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "x.png", "RGB", "PNG", (30, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage, match="exceeds limit"):
        read_image(path)


def test_a_file_that_is_gone_stops_the_run_instead(tmp_path: Path) -> None:
    """A disk that fails says nothing about the image: it must not go on record as unreadable."""
    with pytest.raises(UserError, match=r"gone\.jpg: cannot be read \(No such file"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_image(tmp_path)


# Resizing.


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 48), st.integers(0, 9))
@settings(max_examples=60)
def test_it_is_torchvisions_resize_and_centre_crop(
    height: int, width: int, side: int, seed: int
) -> None:
    image = noise(height, width, seed=seed)
    reference = Compose([Resize(side, InterpolationMode.BICUBIC), CenterCrop(side)])
    expected = np.asarray(reference(Image.fromarray(image)))
    assert np.array_equal(centre_crop_resize(image, side), expected)


def test_grey_is_resized_as_its_three_channels() -> None:
    grey = noise(30, 20, 1)
    colour = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(centre_crop_resize(grey, 16), centre_crop_resize(colour, 16))


def test_an_image_of_the_right_size_stays_as_it_is() -> None:
    image = noise(32, 32)
    assert np.array_equal(centre_crop_resize(image, 32), image)


def test_of_a_wide_image_the_middle_is_kept() -> None:
    image = np.zeros((10, 50, 3), np.uint8)
    image[:, 20:30] = 255
    assert centre_crop_resize(image, 10).min() == 255
    assert centre_crop_resize(image.transpose(1, 0, 2).copy(), 10).min() == 255


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        *[np.zeros(shape, np.uint8) for shape in [(4,), (4, 4, 4), (4, 4, 1), (1, 4, 4, 3)]],
        *[np.zeros(shape, np.uint8) for shape in [(0, 4, 3), (4, 0)]],
    ],
)
def test_other_arrays_are_refused(image: Bytes) -> None:
    with pytest.raises(ValueError, match="image of shape"):
        centre_crop_resize(image, 8)


@pytest.mark.parametrize("side", [0, -1])
def test_the_side_is_at_least_one_pixel(side: int) -> None:
    with pytest.raises(ValueError, match="side="):
        centre_crop_resize(noise(4, 4), side)
