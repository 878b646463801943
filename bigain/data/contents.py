"""A hash of the bytes of a dataset's image files: another image of the same size has another hash.

Reading 50,000 files before every run costs too much.  So the hash is kept in the cache under the
paths, sizes and times of the files, and they are read again only when one of these has changed.
"""

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bigain.data.base import Dataset
from bigain.data.files import ImageFiles
from bigain.data.images import DEPTHS, header_fault
from bigain.errors import UserError
from bigain.files import file_sha256, replace_text

__all__ = ["files_hash", "image_files", "require_readable"]

_SHOWN = 3
_HASH = re.compile("[0-9a-f]{64}")


def image_files(images: Dataset) -> list[Path]:
    """The files of the images in use, in order; [] if each image has no file of its own."""
    if not isinstance(images, ImageFiles):
        return []
    return [images.folder / entry.file for entry in images.entries]


def files_hash(images: Dataset, cache: Path) -> str | None:
    """sha256 over the bytes of the image files in use, in order; None without such files.

    It depends neither on the place of the files nor on their times.

    Args:
        images: The images.
        cache: The folder of all caches, where hashes that are known are kept.

    Raises:
        UserError: A file cannot be read.

    """
    paths = image_files(images)
    if not paths:
        return None
    try:
        known = cache / "contents" / f"{_stamp(paths)}.txt"
        with suppress(OSError, UnicodeDecodeError):
            text = known.read_text("utf-8").strip()
            if _HASH.fullmatch(text):
                return text
        lines = "".join(f"{file_sha256(path)}\n" for path in paths)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    digest = hashlib.sha256(lines.encode()).hexdigest()
    with suppress(OSError):
        replace_text(known, f"{digest}\n")
    return digest


def require_readable(images: Dataset, most: int | None = None, *, range_only: bool = False) -> None:
    """Raise UserError if image files cannot be read, judged by their headers.

    Args:
        images: The images; without files of their own nothing is checked.
        most: How many of them to look at, from the start; None for all.
        range_only: As in `header_fault`.

    """
    paths = image_files(images)[:most]
    found = ((path, header_fault(path, range_only=range_only)) for path in paths)
    faults = {path: fault for path, fault in found if fault is not None}
    if faults:
        assert isinstance(images, ImageFiles)
        named = [f"{p.relative_to(images.folder)} ({fault})" for p, fault in faults.items()]
        more = "" if len(named) <= _SHOWN else f" and {len(named) - _SHOWN} more"
        raise UserError(
            f"dataset.root={images.folder}: {len(named)} of {len(paths)} images cannot be read: "
            f"{', '.join(named[:_SHOWN])}{more}; allowed: whole images of {DEPTHS}"
        )


def _stamp(paths: Sequence[Path]) -> str:
    """32 digits of a sha256 over paths, sizes and times."""
    digest = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        line = f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]
