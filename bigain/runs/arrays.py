"""Files of several arrays, `.npz`, in which equal numbers are equal bytes.

Arrays are written one part after the other, packed, without a time and without pickles; any numpy
reads them with `numpy.load`.
"""

import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bigain.errors import UserError
from bigain.files import replace_file

__all__ = ["Array", "InParts", "publish_arrays", "read_arrays", "write_arrays"]

Array: TypeAlias = npt.NDArray[Any]
"""An array of any type."""

_REPEAT = "restore the file, or start the run again with force=true"
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


@dataclass(frozen=True)
class InParts:
    """An array that is written without being in memory as a whole.

    Attributes:
        shape: Of all of it.
        parts: At least one, along its first axis.

    """

    shape: tuple[int, ...]
    parts: Iterable[Array]


def write_arrays(path: Path, arrays: Mapping[str, Array | InParts]) -> None:
    """Replace the file `path` by one with these arrays, in this order."""

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, array in arrays.items():
                _add(archive, name, _in_parts(array))

    replace_file(path, write)


def read_arrays(path: Path, names: Sequence[str]) -> list[Array]:
    """The arrays with these names in a file that `write_arrays` wrote.

    Raises:
        UserError: It is damaged or lacks one of them.

    """
    try:
        with np.load(path, allow_pickle=False) as members:
            return [members[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged: {error}; {_REPEAT}") from error


def publish_arrays(own: Path, published: Path) -> None:
    """Copy the file `own` unless the one that is `published` has the same numbers."""
    if not published.is_file() or _contents(own) != _contents(published):
        data = own.read_bytes()
        replace_file(published, lambda temporary: temporary.write_bytes(data))


def _contents(path: Path) -> list[tuple[str, int, int]]:
    """Name, checksum and size of each array; the bytes also depend on the version of zlib."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [(each.filename, each.CRC, each.file_size) for each in archive.infolist()]
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: damaged: {error}; {_REPEAT}") from error


def _in_parts(array: Array | InParts) -> InParts:
    return array if isinstance(array, InParts) else InParts(array.shape, [array])


def _add(archive: zipfile.ZipFile, name: str, array: InParts) -> None:
    """Add an array in the format of `numpy.load`."""
    entry = zipfile.ZipInfo(f"{name}.npy", _TIME)
    entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, _UNIX
    parts = iter(array.parts)
    first = next(parts)
    header = {"descr": first.dtype.str, "fortran_order": False, "shape": array.shape}
    with archive.open(entry, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        member.write(first.tobytes())
        for part in parts:
            member.write(part.tobytes())
