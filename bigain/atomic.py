"""Writing files so that nobody ever sees half of one."""

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["append_csv_row", "replace_file", "replace_text"]


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it to `path`.

    `path` is either its old self or the whole new file, whatever happens in between.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Atomically set the content of `path` to `text` (UTF-8)."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def append_csv_row(path: Path, row: Mapping[str, object]) -> None:
    """Append one row to a CSV that starts with a header of the row's keys; on disk when it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(row))
        if handle.tell() == 0:
            writer.writeheader()
        writer.writerow(row)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
