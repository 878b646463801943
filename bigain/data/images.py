"""Image files as bytes, and the square that a 512-pixel model sees of them.

Reading follows torchvision's loader, so that numbers compare with those of others: grey, palette
and CMYK files are converted to RGB by PIL, alpha is dropped (not composited), and the EXIF
orientation is ignored: pixels stay as they are stored, which is also how COCO is annotated.

Grey images of 12 or 16 bits are the exception: PIL and torchvision cut every value above 255 off,
and leave a TIFF whose zero is white as a negative.  Here the highest 8 of the bits that the file
states are taken, which is what PIL does with 16-bit RGB.  So a picture has the same pixels in 8, 12
and 16 bits.  Pixels whose range is not known (32-bit integers, floats) are refused.

A model sees the shorter side resized to `side` (bicubic, antialiased) and of that the centre
square, as `torchvision.transforms` Resize and CenterCrop do with PIL images.
"""

import io
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from bigain.errors import UserError

__all__ = ["DEPTHS", "EXTENSIONS", "UnreadableImage", "centre_crop_resize", "header_fault"]
__all__ += ["is_image_name", "pixels_of", "read_image"]

EXTENSIONS = ("bmp", "jpg", "jpeg", "pgm", "png", "ppm", "tif", "tiff", "webp")
"""File names of images, in any case."""
DEPTHS = "8 or 16 bits a channel"
"""What pixels may have."""
_SIXTEEN_BITS = ("PNG", "PPM")
"""Formats whose images of PIL's mode `I` have values from 0 to 65,535."""
_DEEP_MODES = ("I", "F")
"""Modes of more than 16 bits; `I` also stands for 16 bits in the formats above."""
_TIFF_BITS, _TIFF_MEANING, _TIFF_WHITE_IS_ZERO = 258, 262, 0
"""Tags BitsPerSample and PhotometricInterpretation, and a value of the latter (TIFF 6.0)."""


def is_image_name(name: str) -> bool:
    """Whether a file of this name, or path, should be an image."""
    return PurePath(name).suffix.lower().removeprefix(".") in EXTENSIONS


class UnreadableImage(Exception):  # noqa: N818 -- a state of the data, which a run survives
    """The bytes of an image file are no whole image.  Its message is one line."""


def read_image(path: Path, name: str | None = None) -> npt.NDArray[np.uint8]:
    """The image in a file, whatever its format and colour model.

    Args:
        path: The file; its content decides the format, not its name.
        name: What messages call the image, the file's name by default.

    Returns:
        RGB bytes of shape (height, width, 3), at the stored size.

    Raises:
        UnreadableImage: The file is empty, cut short, or no image, or the range of its pixels is
            not known.
        UserError: The file cannot be read at all: it is gone, or the disk fails.

    """
    name = name or path.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        with Image.open(io.BytesIO(content)) as opened:
            return pixels_of(opened, "RGB")
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{name}: is no image ({len(content)} bytes)") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{name}: {' '.join(str(error).split())}") from error


def header_fault(path: Path, *, range_only: bool = False) -> str | None:
    """Why the image in a file cannot be read, judged by its header; None if it may be whole.

    Args:
        path: The file.
        range_only: Tell only pixels of an unknown range, and not damage, which may be repaired.

    """
    try:
        with Image.open(path) as opened:
            return _unknown_range(opened)
    except UnidentifiedImageError:
        fault = "is no image"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        fault = " ".join(str(error).split())
    return None if range_only else fault


def pixels_of(image: Image.Image, mode: str) -> npt.NDArray[np.uint8]:
    """Bytes (H, W, 3) for mode `RGB`, or (H, W) for mode `L`, of an opened image.

    Raises:
        ValueError: The range of its pixels is not known, or PIL cannot convert its colours.

    """
    fault = _unknown_range(image)
    if fault is not None:
        raise ValueError(f"{fault}; allowed: {DEPTHS}")
    if image.mode.startswith("I"):
        image = Image.fromarray(_high_bits(image))
    return np.array(image.convert(mode), dtype=np.uint8)


def _unknown_range(image: Image.Image) -> str | None:
    """Why the pixels of an opened image can never be scaled to 8 bits; None if they can."""
    if image.mode not in _DEEP_MODES or (image.mode == "I" and image.format in _SIXTEEN_BITS):
        return None
    kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
    return f"its pixels are {kind}"


def _high_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The highest 8 of the bits of a grey image; white is 255, also if the file stores it as 0."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    (bits, *_) = np.atleast_1d(tags.get(_TIFF_BITS, 16))
    high = (np.asarray(image).astype(np.int64) >> int(bits) - 8).astype(np.uint8)
    return 255 - high if tags.get(_TIFF_MEANING) == _TIFF_WHITE_IS_ZERO else high


def centre_crop_resize(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Shorter side resized to `side`, then the centre square.

    Args:
        image: Bytes of shape (height, width, 3), or (height, width) for grey, of any size >= 1.
        side: Pixels per side of the result, >= 1.

    Returns:
        RGB bytes of shape (side, side, 3).

    Raises:
        ValueError: Another shape or type than named, or `side` < 1.

    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"image of shape {image.shape} and type {image.dtype}: not RGB or grey")
    if side < 1 or 0 in image.shape:
        raise ValueError(f"image of shape {image.shape} to side={side}: nothing to resize")
    height, width = image.shape[:2]
    shorter = min(height, width)
    size = (side * width // shorter, side * height // shorter)
    resized = Image.fromarray(image).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (round((length - side) / 2) for length in size)
    return np.array(resized.crop((left, top, left + side, top + side)), dtype=np.uint8)
