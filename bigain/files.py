"""Atomic writes, appended CSV rows, sha256 of files."""

import csv
import errno
import hashlib
import io
import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bigain.errors import UserError

__all__ = ["append_csv_row", "create_text", "csv_text", "file_sha256", "parse_json"]
__all__ += ["replace_file", "replace_text", "sync_folder"]

_NO_FOLDER_SYNC = (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it to `path`.

    Whatever happens, `path` is either the old file or the complete new one.  Any number of
    processes and threads may replace the same file; the last one to finish wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Atomically set the content of `path` to `text` (UTF-8, line ends unchanged)."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""))


def create_text(path: Path, text: str) -> None:
    """Create the file `path`, which has all of `text` (UTF-8) as soon as it exists.

    Where there are no hard links it is created first and filled then; also there, only one of many
    processes creates it.

    Raises:
        FileExistsError: It exists.

    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        _write_new(temporary, text)
        try:
            os.link(temporary, path)
        except OSError:  # NFS may say so although it made the link, as the answer was lost
            if temporary.stat().st_nlink == 1:
                _write_new(path, text)
    finally:
        temporary.unlink(missing_ok=True)


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8", newline="") as handle:
        try:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        except BaseException:  # such as a full disk
            path.unlink(missing_ok=True)
            raise


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A CSV with a header; a row that has no such column, or None there, has an empty cell.

    Raises:
        ValueError: A row has another column.

    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def append_csv_row(path: Path, row: Mapping[str, object]) -> None:
    """Append one row to a CSV file and flush it to disk; a new file gets the keys as its header.

    A last line without a newline, left by a killed process, is removed first.  Only one process may
    write at a time, and no value may contain a line break.

    Raises:
        UserError: The columns of the file are not those of the row.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header, line = _csv_line(list(row)), _csv_line([*row.values()])
    with path.open("a+b") as handle:
        handle.seek(0)
        complete, _, _ = handle.read().rpartition(b"\n")
        found = complete.partition(b"\n")[0].rstrip(b"\r") + b"\n"
        handle.truncate(len(complete) + 1 if complete else 0)
        if complete and found != header:
            raise UserError(
                f"{path}: has columns {found.decode().strip()}; allowed: {header.decode().strip()}"
            )
        handle.write(line if complete else header + line)
        handle.flush()
        os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Flush the file names in `folder` to disk: new and renamed files survive a power cut.

    Nothing where the system opens no folders or the file system flushes none.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """sha256 of a file as hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is not JSON, or is nested too deeply.

    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _csv_line(values: list[object]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue().encode("utf-8")
