"""A folder of images as a sequence, decoded one at a time.

The order is that of the names, as pytorch-fid's.  Anything but images is refused: pytorch-fid skips
it silently, and with it whole subfolders, or all files of an ImageNet that end in .JPEG.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from bigain.errors import UserError
from bigain.features.base import Image

__all__ = ["EXTENSIONS", "FolderImages"]

EXTENSIONS = ("bmp", "jpg", "jpeg", "pgm", "png", "ppm", "tif", "tiff", "webp")


class FolderImages(Sequence[Image]):
    """The images of one folder, sorted by name; hidden files do not count.

    Args:
        folder: It holds images and nothing else.
        mode: `RGB` or `L`, what each is converted to.
        limit: Take the first so many; None takes all.

    Raises:
        UserError: No folder, no image in it, something that is no image, or fewer than `limit`.

    """

    def __init__(self, folder: Path, mode: str = "RGB", limit: int | None = None) -> None:
        found = _image_files(folder)
        if limit is not None and not 1 <= limit <= len(found):
            raise UserError(
                f"{folder}: {limit} images asked for; allowed: 1 to {len(found)}, which it holds"
            )
        self.paths = found[:limit]
        self._mode = mode

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Image:  # type: ignore[override]  # no slices
        """Image number `position`; UserError if its file cannot be decoded."""
        path = self.paths[position]
        try:
            with PillowImage.open(path) as image:
                return np.asarray(image.convert(self._mode))
        except (OSError, SyntaxError, ValueError, PillowImage.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: cannot be read as an image ({reason})") from None

    def label(self, position: int) -> str:
        """What messages call image number `position`."""
        return str(self.paths[position])

    @property
    def content_hash(self) -> str:
        """sha256 over the names and bytes of the files in use."""
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder}: {what}; allowed: a folder of images, or a .npz of statistics")
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    foreign = [path for path in entries if not _is_image(path)]
    allowed = ", ".join(EXTENSIONS)
    if foreign:
        raise UserError(
            f"{foreign[0]}: is no image, nor are {len(foreign) - 1} others in this folder of "
            f"{len(entries)} entries; allowed: images alone ({allowed})"
        )
    if not entries:
        raise UserError(f"{folder}: holds no image; allowed: at least one ({allowed})")
    return entries


def _is_image(path: Path) -> bool:
    return path.suffix.lower().removeprefix(".") in EXTENSIONS and path.is_file()
