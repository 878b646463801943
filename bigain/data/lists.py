"""The CSV files of `dataset=folder`: which class each image has, and what stands for each class."""

import csv
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bigain.data.images import EXTENSIONS, is_image_name
from bigain.errors import UserError

__all__ = ["Prompts", "read_labels", "read_prompts"]

_IMAGENET_CLASSES = 1000

_HEADER_WORDS = {
    *(
        "class",
        "classes",
        "class_name",
        "classname",
        "name",
        "label",
        "labels",
        "category",
        "index",
    ),
    *("prompt", "prompts", "text", "caption", "description", "sentence"),
}
"""Headings of lists of prompts that people write, in lower case."""

Prompts = dict[str, tuple[str, int | None]]
"""Class -> its prompt, and its index among ImageNet's classes if that is given."""


def read_labels(root: Path, labels: Path) -> dict[str, tuple[str, ...]]:
    """Image file below `root` -> its classes, of the list `labels`: file, class[, classes].

    Raises:
        UserError: The list cannot be read; or names a file twice, one that is no image or not
            below `root`, or a class twice for one image.

    """
    found: dict[str, tuple[str, ...]] = {}
    for number, (written, *cells) in _rows(labels, "labels", "file"):
        file, names = PurePosixPath(written).as_posix(), tuple(cell for cell in cells if cell)
        reason = None
        if file in found:
            reason = "is listed twice; allowed: one line an image, with all its classes"
        elif len(set(names)) < len(names):
            reason = "has a class twice; allowed: each class once"
        elif PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            reason = "is not below dataset.root; allowed: a path relative to it"
        elif not is_image_name(file) and number == 1:
            reason = f"is neither an image ({', '.join(EXTENSIONS)}) nor the header; allowed: a "
            reason += "header file,class or none"
        elif not is_image_name(file):
            reason = f"is no image; allowed: {', '.join(EXTENSIONS)}"
        elif not (root / file).is_file():
            reason = f"is missing; allowed: the files in dataset.root={root}"
        if reason is not None:
            raise UserError(f"dataset.labels={labels}: line {number}: {written} {reason}")
        found[file] = names
    if not any(found.values()):
        raise UserError(f"dataset.labels={labels}: no image has a class; allowed: file, class, ...")
    return found


def read_prompts(prompts: Path) -> Prompts:
    """The classes of the list `prompts`, in its order: class, prompt[, class index].

    Raises:
        UserError: The list cannot be read, names a class twice, lacks a prompt, or has something
            else where the class index is.

    """
    found: Prompts = {}
    for number, (name, *cells) in _rows(prompts, "prompts", "class"):
        text, index, *more = [*cells, "", ""][: max(2, len(cells))]
        reason = None
        if number == 1 and {name.casefold(), text.casefold()} <= _HEADER_WORDS:
            reason = f"with prompt {text} looks like a header; allowed: class,prompt or none"
        elif name in found:
            reason = "is listed twice; allowed: one line a class"
        elif not text:
            reason = "has no prompt; allowed: class, prompt[, class index]"
        elif more or not (index == "" or (index.isdecimal() and int(index) < _IMAGENET_CLASSES)):
            reason = f"has {','.join([index, *more])} after its prompt; allowed: a class index of "
            reason += f"ImageNet, 0 to {_IMAGENET_CLASSES - 1}, or nothing (quote a comma)"
        if reason is not None:
            raise UserError(f"dataset.prompts={prompts}: line {number}: class {name} {reason}")
        found[name] = (text, int(index) if index else None)
    return found


def _rows(path: Path, key: str, first: str) -> Iterator[tuple[int, list[str]]]:
    """Number and stripped cells of the lines of a CSV file; no blank lines, no header.

    A first line whose first cell is `first` is the header.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8"
        raise UserError(
            f"dataset.{key}={path}: cannot be read ({reason}); allowed: a CSV file in UTF-8"
        ) from error
    where = f"dataset.{key}={path}"
    lines = [(n, [_plain(cell) for cell in row]) for n, row in _numbered(where, text) if any(row)]
    lines = lines[1:] if lines and lines[0][1][0] == first else lines
    if not lines:
        raise UserError(f"{where}: is empty; allowed: lines of {first}, ...")
    for number, row in lines:
        if not row[0]:
            raise UserError(f"{where}: line {number}: names no {first}")
        yield number, row


def _plain(cell: str) -> str:
    """Without space around it, and with accents as characters of one code each."""
    return unicodedata.normalize("NFC", cell.strip())


def _numbered(where: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line; raises UserError, which begins with `where`."""
    reader, number = csv.reader(text.splitlines(), strict=True), 1
    try:
        for row in reader:
            if reader.line_num > number:
                raise csv.Error("a quote ends on another line")
            if len(row) == 1 and not is_image_name(row[0]):
                _require_commas(f"{where}: line {number}", row[0])
            yield number, row
            number += 1
    except csv.Error as error:
        raise UserError(
            f"{where}: line {number}: a quote is not closed, or text follows it; allowed: quotes "
            "around a whole cell"
        ) from error


def _require_commas(where: str, cell: str) -> None:
    """Raise UserError if a line of one cell looks like several, with something else between."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if mark in cell:
            raise UserError(f"{where}: has {name} between its cells; allowed: commas")
