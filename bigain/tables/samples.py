"""The per-image records that a table is computed from, and their small committed copy.

A finished run has them in `<results>/runs/<run_id>/samples.csv`, which git ignores.  Whatever a
table used is therefore also kept as `<results>/<profile>/samples/<run_id>.csv.gz`, cut down to the
columns that tables need; so a fresh clone renders the same bytes from committed files alone.
"""

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from bigain.atomic import replace_file
from bigain.errors import UserError
from bigain.runs.store import RunStore

__all__ = ["COLUMNS", "has_samples", "load_samples", "publish_samples", "published_path"]


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _integer(text: str) -> int | None:
    return int(text) if text else None


def _list(text: str) -> list[float] | None:
    numbers: list[float] | None = json.loads(text) if text else None
    return numbers


def _text(text: str) -> str | None:
    return text or None


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "position": int,
    "image_id": int,
    "label": _integer,
    "prediction": _integer,
    "correct": {"true": True, "false": False}.__getitem__,
    "true_errors": _list,
    "margin_mean": _number,
    "margin_variance": _number,
}

COLUMNS = tuple(_PARSERS)
"""What is kept of an image: enough for accuracy, paired errors and margins."""

_OPTIONAL: Mapping[str, Callable[[str], object]] = {
    "labels": json.loads,
    "average_precision": _number,
    "failure": _text,
}
"""Kept too where a run has them: with several labels per image, or images that failed."""


def published_path(results: Path, profile: str, run_id: str) -> Path:
    """Where the committed copy of a run's per-image records lies."""
    return results / profile / "samples" / f"{run_id}.csv.gz"


def has_samples(results: Path, profile: str, run_id: str) -> bool:
    """Whether the run is finished, or was where its records were published."""
    finished = RunStore(results, run_id).is_finished()
    return finished or published_path(results, profile, run_id).is_file()


def load_samples(results: Path, profile: str, run_id: str) -> pd.DataFrame | None:
    """What is kept of every image of a finished run, by position; None if there is no such run.

    `true_errors` are lists of floats.  The run's own folder goes before the published copy.

    Raises:
        UserError: The file is damaged or lacks a column.

    """
    text = _own_text(results, run_id) or _published_text(published_path(results, profile, run_id))
    if text is None:
        return None
    source = f"per-image records of run {run_id}"
    reader = csv.DictReader(io.StringIO(text))
    lines, there = list(reader), reader.fieldnames or ()
    parsers = {**_PARSERS, **{key: parse for key, parse in _OPTIONAL.items() if key in there}}
    try:
        columns = {key: [parse(line[key]) for line in lines] for key, parse in parsers.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{source}: damaged: {error}; redo it with force=true") from error
    return pd.DataFrame(columns).sort_values("position", ignore_index=True)


def publish_samples(results: Path, profile: str, run_id: str) -> Path | None:
    """Copy the records of a finished run beside the tables; None if its folder is not here.

    A copy with the same content is left alone, so that nothing changes in git.
    """
    text = _own_text(results, run_id)
    if text is None:
        return None
    path = published_path(results, profile, run_id)
    if _published_text(path) != text:
        packed = gzip.compress(text.encode("utf-8"), mtime=0)
        replace_file(path, lambda temporary: temporary.write_bytes(packed))
    return path


def _own_text(results: Path, run_id: str) -> str | None:
    store = RunStore(results, run_id)
    if not store.is_finished():
        return None
    with (store.folder / "samples.csv").open(newline="", encoding="utf-8") as handle:
        return _kept(csv.DictReader(handle), run_id)


def _published_text(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged: {error}; remove it") from error


def _kept(reader: "csv.DictReader[str]", run_id: str) -> str:
    """What is kept of samples.csv, in the same words."""
    there = reader.fieldnames or ()
    lacking = set(COLUMNS) - set(there)
    if lacking:
        raise UserError(f"samples.csv of run {run_id}: lacks the columns {sorted(lacking)}")
    buffer = io.StringIO()
    columns = [*COLUMNS, *(name for name in _OPTIONAL if name in there)]
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(reader)
    return buffer.getvalue()
