"""The generated images of a run: `images/000000.png`, ... by sample index, and a labelled grid.

An image is complete on disk before its record is written, so every record has an image, and a
killed run continues with the first sample without a record.  A file that is lost later is generated
again, and must have the sha256 of its record.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

from bigain.config import GenerationConfig, RunConfig
from bigain.errors import UserError
from bigain.files import file_sha256, replace_file
from bigain.runs.files import Record
from bigain.runs.store import RunStore

__all__ = ["FORMATS", "GRID", "IMAGES", "MERGE_MAP", "RunImages", "is_complete"]

IMAGES = "images"
GRID = "grid.png"
MERGE_MAP = "merge_map.png"
"""What the operator of a run does to its first image, if a tracker shows the run."""
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 6},
    "jpeg": {"format": "JPEG", "quality": 100, "subsampling": "4:2:0"},
}
"""Format -> Pillow's options: lossless, or JPEG as in the paper's released code (it changes FID).

4:2:0, Pillow's default, halves the resolution of the colours even at quality 100.
"""

_SUFFIXES = {"png": "png", "jpeg": "jpg"}
_GRID_IMAGES = 64
_GRID_COLUMNS = 8
_SMALLEST_TILE, _LARGEST_TILE = 96, 256
_LABEL_HEIGHT = 14

Bytes = npt.NDArray[np.uint8]


class RunImages(Sequence[Bytes]):
    """The images 0 .. n-1 of a run.

    Args:
        folder: The run folder.
        n: Number of images of the finished run.
        image_format: `png` or `jpeg`.

    """

    def __init__(self, folder: Path, n: int, image_format: str) -> None:
        self._folder = folder
        self._n = n
        self._format = image_format

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> Bytes:  # type: ignore[override]  # no slices
        """The pixels of image `index`; raises UserError if its file is missing or damaged."""
        if not 0 <= index < self._n:
            raise IndexError(index)
        try:
            with Image.open(self.path(index)) as image:
                return np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise self._broken(index, "cannot be read") from error

    def label(self, index: int) -> str:
        """The name of image `index` in messages."""
        return str(self.path(index))

    def path(self, index: int) -> Path:
        """The file of image `index`."""
        return self._folder / IMAGES / f"{index:06d}.{_SUFFIXES[self._format]}"

    def write(self, index: int, image: Bytes, expected: str | None = None) -> str:
        """Write image `index` atomically and return the sha256 of its file.

        Raises:
            UserError: the sha256 would not be the `expected` one; nothing is written.

        """
        path = self.path(index)

        def save(temporary: Path) -> None:
            Image.fromarray(image).save(temporary, **FORMATS[self._format])
            if expected not in (None, file_sha256(temporary)):
                raise UserError(
                    f"{path}: was lost or changed, and generating it again gives other bytes than "
                    "its record says (another machine, number of threads, or memory ran out); "
                    "allowed: restore the file, or start the run again with force=true"
                )

        replace_file(path, save)
        return file_sha256(path)

    def copy_files(self, folder: Path, record: Mapping[str, Any]) -> bool:
        """Copy the image of `record` from another run's `folder`, if it is intact there."""
        index, own = record["image_id"], self.path(record["image_id"])
        source = RunImages(folder, self._n, self._format).path(index)
        if not source.is_file() or file_sha256(source) != record["sha256"]:
            return False
        replace_file(own, lambda temporary: shutil.copyfile(source, temporary))
        return True

    def missing(self, records: Iterable[Record]) -> list[Record]:
        """The records whose file is missing or was changed."""
        return [record for record in records if self._damage(record) is not None]

    def check(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Raise UserError unless every record has its file, unchanged.

        Removes temporary files that a kill in the middle of a write left behind.
        """
        for path in (self._folder / IMAGES).glob(".*.tmp"):
            path.unlink(missing_ok=True)
        for record in records:
            damage = self._damage(record)
            if damage is not None:
                raise self._broken(record["image_id"], damage)

    def write_grid(self, title: str, labels: Sequence[str]) -> Path:
        """Write `grid.png`: the first 64 images under a title, index and label below each."""
        shown = [self[index] for index in range(min(self._n, _GRID_IMAGES))]
        path = self._folder / GRID
        named = [f"{index} {label}" for index, label in enumerate(labels[: len(shown)])]
        sheet = _grid(shown, title, named)
        replace_file(path, lambda temporary: sheet.save(temporary, format="PNG"))
        return path

    def _damage(self, record: Mapping[str, Any]) -> str | None:
        """What is wrong with the file of `record`; None if it is intact."""
        path = self.path(record["image_id"])
        if not path.is_file():
            return "is missing"
        return None if file_sha256(path) == record["sha256"] else "was changed"

    def _broken(self, index: int, what: str) -> UserError:
        return UserError(
            f"{self.path(index)}: {what}, but the run has a record of it; restore it, or start "
            "the run again, which generates it again"
        )


def is_complete(config: RunConfig, store: RunStore) -> bool:
    """Whether the finished run of `config` still has the files of all its images.

    Only looks whether the files exist: reading thousands of images would make skipping slow.
    """
    task = config.task
    if not isinstance(task, GenerationConfig):
        return True
    images = RunImages(store.folder, store.manifest()["n_images"], task.image_format)
    return all(images.path(index).is_file() for index in range(len(images)))


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
