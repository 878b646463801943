"""The generated images of a run: `images/000000.png`, ... by sample index, and a labelled grid.

An image is on disk, whole, before its record is: so a record promises an image, and a killed run
goes on with the first sample that has no record.  A file that was lost since is made again; then it
must have the sha256 of its record.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

from bigain.errors import UserError
from bigain.files import replace_file

__all__ = ["FORMATS", "GRID", "IMAGES", "RunImages"]

IMAGES = "images"
GRID = "grid.png"
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 6},
    "jpeg": {"format": "JPEG", "quality": 100, "subsampling": 0},
}
"""Format -> how Pillow writes it: lossless, or the best that JPEG can (moves FID)."""

_SUFFIXES = {"png": "png", "jpeg": "jpg"}
_GRID_IMAGES = 64
_GRID_COLUMNS = 8
_SMALLEST_TILE, _LARGEST_TILE = 96, 256
_LABEL_HEIGHT = 14

Bytes = npt.NDArray[np.uint8]


class RunImages(Sequence[Bytes]):
    """The images 0 .. n-1 in the run folder `folder`.

    Args:
        folder: Of the run.
        n: How many there are when the run is finished.
        image_format: `png` or `jpeg`.

    """

    def __init__(self, folder: Path, n: int, image_format: str) -> None:
        self._folder = folder
        self._n = n
        self._format = image_format

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> Bytes:  # type: ignore[override]  # no slices
        """Bytes of image `index`; raises UserError if it is gone or damaged."""
        if not 0 <= index < self._n:
            raise IndexError(index)
        try:
            with Image.open(self.path(index)) as image:
                return np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise self._lost(index, "cannot be read") from error

    def label(self, index: int) -> str:
        """What messages call image `index`."""
        return str(self.path(index))

    def path(self, index: int) -> Path:
        """The file of image `index`."""
        return self._folder / IMAGES / f"{index:06d}.{_SUFFIXES[self._format]}"

    def write(self, index: int, image: Bytes, promised: str | None = None) -> str:
        """Put image `index` on disk, atomically; the sha256 of the file.

        Raises:
            UserError: the file would have another sha256 than is `promised`; nothing is written.

        """
        path = self.path(index)

        def save(temporary: Path) -> None:
            Image.fromarray(image).save(temporary, **FORMATS[self._format])
            if promised not in (None, _sha256(temporary)):
                raise UserError(
                    f"{path}: is gone or was changed, and drawn again it has other bytes than its "
                    "record says (another machine, number of threads, or memory that ran out); "
                    "allowed: the file put back, or the run done again with force=true"
                )

        replace_file(path, save)
        return _sha256(path)

    def take_over(self, folder: Path, record: Mapping[str, Any]) -> bool:
        """Copy the image of `record` from the run folder `folder`; whether it was there, whole."""
        index, own = record["image_id"], self.path(record["image_id"])
        source = RunImages(folder, self._n, self._format).path(index)
        if not source.is_file() or _sha256(source) != record["sha256"]:
            return False
        replace_file(own, lambda temporary: shutil.copyfile(source, temporary))
        return True

    def lost(self, records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those of the records whose file is gone, or is not the one that it was made of."""
        return [record for record in records if self._damage(record) is not None]

    def check(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Raise UserError unless the file of every record is the one that it was made of.

        What a kill in the middle of a write left behind is removed.
        """
        for path in (self._folder / IMAGES).glob(".*.tmp"):
            path.unlink(missing_ok=True)
        for record in records:
            damage = self._damage(record)
            if damage is not None:
                raise self._lost(record["image_id"], damage)

    def write_grid(self, title: str, labels: Sequence[str]) -> Path:
        """Write `grid.png`: the first 64 images under a title, index and label below each."""
        shown = [self[index] for index in range(min(self._n, _GRID_IMAGES))]
        path = self._folder / GRID
        named = [f"{index} {label}" for index, label in enumerate(labels[: len(shown)])]
        sheet = _grid(shown, title, named)
        replace_file(path, lambda temporary: sheet.save(temporary, format="PNG"))
        return path

    def _damage(self, record: Mapping[str, Any]) -> str | None:
        """What happened to the file of `record`; None if it is as it was."""
        path = self.path(record["image_id"])
        if not path.is_file():
            return "is gone"
        return None if _sha256(path) == record["sha256"] else "was changed"

    def _lost(self, index: int, what: str) -> UserError:
        return UserError(
            f"{self.path(index)}: {what}, but the run has a record of it; put it back, or start "
            "the run again, which makes it again"
        )


def _grid(images: Sequence[Bytes], title: str, labels: Sequence[str]) -> Image.Image:
    side = min(max(*images[0].shape[:2], _SMALLEST_TILE), _LARGEST_TILE)
    columns = min(_GRID_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    size = (columns * (side + 2), _LABEL_HEIGHT + rows * (side + 2 + _LABEL_HEIGHT))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((1, 1), _fitting(draw, title, size[0] - 2), fill="black")
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        left = column * (side + 2) + 1
        top = _LABEL_HEIGHT + row * (side + 2 + _LABEL_HEIGHT) + 1
        tile = ImageOps.contain(
            Image.fromarray(image).convert("RGB"), (side, side), Image.Resampling.NEAREST
        )
        sheet.paste(tile, (left, top))
        draw.text((left, top + side), _fitting(draw, labels[position], side), fill="black")
    return sheet


def _fitting(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """As much of `text` as is drawn in `width` pixels."""
    plain = text.encode("latin-1", "replace").decode("latin-1")
    if draw.textlength(plain) <= width:
        return plain
    while plain and draw.textlength(f"{plain}...") > width:
        plain = plain[:-1]
    return f"{plain}..."


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
