"""The records of a run that are committed, and reading them wherever they are.

A finished run has them in `<results>/runs/<run_id>/samples.csv`, which git ignores.  Whatever a
table used is therefore also kept as `<results>/<profile>/samples/<run_id>.csv.gz`, of classified
images only what tables need, and its metrics as rows of `<results>/<profile>/runs.csv`; so a fresh
clone renders the same bytes from committed files alone.
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

from bigain.errors import UserError
from bigain.files import replace_file
from bigain.metrics import Metric
from bigain.runs.files import METRICS, SAMPLES, unreadable
from bigain.runs.listing import metrics_of, read_listing, read_own_rows
from bigain.runs.store import RunStore

__all__ = [
    "COLUMNS",
    "FROM_RECORDS",
    "is_available",
    "load_metrics",
    "load_published_samples",
    "load_samples",
    "metrics_path",
    "publish_samples",
    "published_path",
    "records_path",
]


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _integer(text: str) -> int | None:
    return int(text) if text else None


def _list(text: str) -> list[float] | None:
    numbers: list[float] | None = json.loads(text) if text else None
    return numbers


def _text(text: str) -> str | None:
    return text or None


_TRUTH: Mapping[str, bool] = {"true": True, "false": False}

_CLASSIFICATION: Mapping[str, Callable[[str], object]] = {
    "position": int,
    "image_id": int,
    "label": _integer,
    "prediction": _integer,
    "correct": _TRUTH.__getitem__,
    "true_errors": _list,
    "margin_mean": _number,
    "margin_variance": _number,
}

COLUMNS = tuple(_CLASSIFICATION)
"""What is kept of a classified image: enough for accuracy, paired errors and margins."""

_OPTIONAL: Mapping[str, Callable[[str], object]] = {
    "labels": json.loads,
    "average_precision": _number,
    "failure": _text,
}
"""Kept too where a run has them: with several labels per image, or images that failed."""

_GENERATION: Mapping[str, Callable[[str], object]] = {
    "position": int,
    "image_id": int,
    "frechet_value": _number,
}
_EFFICIENCY: Mapping[str, Callable[[str], object]] = {
    "position": int,
    "image_id": int,
    "measure": str,
}
_KINDS = {"true_errors": _CLASSIFICATION, "frechet_value": _GENERATION, "measure": _EFFICIENCY}
"""A column that only one task's records have -> the columns that these must have.

What generation and efficiency record is little, and kept whole.
"""

_AGAIN = "put the file back, or do the run again with force=true"

FROM_RECORDS = ("classification",)
"""Tasks whose metrics tables compute from the records; those of the others are read as stated."""


def published_path(results: Path, profile: str, run_id: str) -> Path:
    """Where the committed copy of a run's per-image records lies."""
    return results / profile / "samples" / f"{run_id}.csv.gz"


def is_available(results: Path, profile: str, run_id: str, task: str) -> bool:
    """Whether all that tables need of a run is here: its folder, or what was published of it.

    Raises:
        UserError: The folder is of another run, or runs.csv is damaged.

    """
    if RunStore(results, run_id).is_finished():
        return True
    if not published_path(results, profile, run_id).is_file():
        return False
    return task in FROM_RECORDS or run_id in read_listing(results / profile / "runs.csv")


def records_path(results: Path, profile: str, run_id: str) -> Path:
    """The file that `load_samples` reads: in the run's own folder, or else the published copy."""
    store = RunStore(results, run_id)
    is_own = store.is_finished()
    return store.folder / SAMPLES if is_own else published_path(results, profile, run_id)


def metrics_path(results: Path, profile: str, run_id: str) -> Path:
    """The file that `load_metrics` reads: in the run's own folder, or else runs.csv."""
    store = RunStore(results, run_id)
    return store.folder / METRICS if store.is_finished() else results / profile / "runs.csv"


def load_samples(results: Path, profile: str, run_id: str) -> pd.DataFrame | None:
    """What is kept of every image of a finished run, by position; None if there is no such run.

    `true_errors` are lists of floats.  The run's own folder goes before the published copy.

    Raises:
        UserError: The file is damaged or lacks a column.

    """
    path = records_path(results, profile, run_id)
    own = _own_text(results, run_id)
    return _parsed(path, _published_text(path) if own is None else own)


def load_published_samples(results: Path, profile: str, run_id: str) -> pd.DataFrame | None:
    """The same of the published copy, whether or not the run's own folder is here.

    Raises:
        UserError: The file is damaged or lacks a column.

    """
    path = published_path(results, profile, run_id)
    return _parsed(path, _published_text(path))


def _parsed(path: Path, text: str | None) -> pd.DataFrame | None:
    if text is None:
        return None
    source = str(path)
    reader = csv.DictReader(io.StringIO(text))
    lines, there = list(reader), list(reader.fieldnames or ())
    parsers = _parsers(there, source)
    try:
        columns = {key: [parse(line[key]) for line in lines] for key, parse in parsers.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{source}: damaged: {error}; {_AGAIN}") from error
    return pd.DataFrame(columns).sort_values("position", ignore_index=True)


def load_metrics(results: Path, profile: str, run_id: str) -> dict[str, Metric]:
    """Metric id -> value as the run itself stated it, from its folder or else from runs.csv.

    Raises:
        UserError: The file is damaged, or says a metric of the run twice; a finished run has none.

    """
    store = RunStore(results, run_id)
    if store.is_finished():
        return metrics_of(read_own_rows(store.folder))
    return metrics_of(read_listing(results / profile / "runs.csv").get(run_id, ()))


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
    path = store.folder / SAMPLES
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            return _kept(csv.DictReader(handle), path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(path, error) from error


def _published_text(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged: {error}; {_AGAIN}") from error


def _kept(reader: "csv.DictReader[str]", path: Path) -> str:
    """What is kept of samples.csv, in the same words."""
    there = list(reader.fieldnames or ())
    kept = list(_parsers(there, str(path)))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, kept, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(reader)
    return buffer.getvalue()


def _parsers(there: list[str], source: str) -> dict[str, Callable[[str], object]]:
    """Column -> how it is read, for the columns that are kept; UserError if some are lacking."""
    needed = next((own for mark, own in _KINDS.items() if mark in there), _CLASSIFICATION)
    lacking = sorted(set(needed) - set(there))
    if lacking:
        raise UserError(f"{source}: lacks the columns {', '.join(lacking)}; {_AGAIN}")
    if needed is _CLASSIFICATION:
        return {**needed, **{key: parse for key, parse in _OPTIONAL.items() if key in there}}
    return {key: needed.get(key, _plain) for key in there}


def _plain(text: str) -> object:
    """JSON if it is some, as `bigain.runs.files` writes it; else the text; None if empty."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
