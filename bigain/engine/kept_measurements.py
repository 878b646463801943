"""What a calibration has measured so far: one file for each piece, so that a killed one goes on.

A piece is an image, or a stage of timesteps.  Its file is written as a whole as soon as it is
measured, and everything that follows is computed from the files: an interrupted calibration has the
same result, bit for bit, as one that was not.
"""

import errno
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bigain.errors import UserError
from bigain.files import parse_json, replace_file, replace_text
from bigain.runs.progress import Meter

__all__ = ["KeptMeasurements", "as_json", "as_tensors"]

Value = TypeVar("Value")
Piece = TypeVar("Piece", bound=int | str)


@dataclass(frozen=True)
class KeptMeasurements(Generic[Value]):
    """Measurements of one kind, as files in one folder.

    Attributes:
        folder: What is measured, and with which weights, is in its name.
        suffix: Of the files.
        write: Fills a file with a value.
        read: The value of a file.

    """

    folder: Path
    suffix: str
    write: Callable[[Path, Value], object]
    read: Callable[[Path], Value]

    def __getitem__(self, piece: int | str) -> Value:
        """The measurement of a piece, read from its file.

        Raises:
            UserError: The file is damaged.

        """
        file = self._file(piece)
        try:
            return self.read(file)
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UserError(
                f"paths.cache: {file} is damaged ({error}); delete it, and it is measured again"
            ) from error

    def complete(
        self,
        pieces: Sequence[Piece],
        measure: Callable[[Sequence[Piece]], Iterable[tuple[Piece, Value]]],
        title: str,
        unit: str = "image",
    ) -> int:
        """Measure the pieces that have no file; returns how many these were.

        Args:
            pieces: All that are needed.
            measure: The measurements of some pieces, one after the other.
            title: For the bar that shows how far it is.
            unit: What a piece is, for the same.

        """
        left = [piece for piece in pieces if not self._file(piece).is_file()]
        with Meter(len(left), title, unit, is_shown=True) as meter:
            for piece, value in measure(left):
                self.write(self._file(piece), value)
                meter.advance()
        return len(left)

    def _file(self, piece: int | str) -> Path:
        return self.folder / f"{piece}{self.suffix}"


def as_json(
    folder: Path, plain: Callable[[Value], Any], value: Callable[[Any], Value]
) -> KeptMeasurements[Value]:
    """JSON files; fp64 numbers come back as they were.

    Args:
        folder: Of the files.
        plain: The JSON data of a value.
        value: The value of JSON data.

    """
    return KeptMeasurements(
        folder,
        ".json",
        lambda path, found: replace_text(path, json.dumps(plain(found))),
        lambda path: value(parse_json(path.read_text(encoding="utf-8"))),
    )


def as_tensors(folder: Path) -> KeptMeasurements[Mapping[str, Tensor]]:
    """Safetensors files of tensors by name; they are read to the CPU."""
    return KeptMeasurements(folder, ".safetensors", _write_tensors, load_file)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    own = {name: tensor.contiguous() for name, tensor in tensors.items()}

    def save(temporary: Path) -> None:
        try:
            save_file(own, temporary)
        except SafetensorError as error:  # it has no number
            raise OSError(errno.EIO, str(error), str(temporary)) from error

    replace_file(path, save)
