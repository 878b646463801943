"""The per-image records that a table is computed from, and their small committed copy.

A finished run has them in `<results>/runs/<run_id>/samples.csv`, which git ignores.  Whatever a
table used is therefore also kept as `<results>/<profile>/samples/<run_id>.csv.gz`, cut down to the
columns that tables need; so a fresh clone renders the same bytes from committed files alone.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bigain.atomic import replace_file
from bigain.errors import UserError
from bigain.runs.store import RunStore

__all__ = ["COLUMNS", "has_samples", "load_samples", "publish_samples", "published_path"]

COLUMNS = (
    *("position", "image_id", "label", "prediction", "correct"),
    *("true_errors", "margin_mean", "margin_variance"),
)
"""What is kept of an image: enough for accuracy, paired errors and margins."""


def published_path(results: Path, profile: str, run_id: str) -> Path:
    """Where the committed copy of a run's per-image records lies."""
    return results / profile / "samples" / f"{run_id}.csv.gz"


def has_samples(results: Path, profile: str, run_id: str) -> bool:
    """Whether the run is finished, or was where its records were published."""
    finished = RunStore(results, run_id).is_finished()
    return finished or published_path(results, profile, run_id).is_file()


def load_samples(results: Path, profile: str, run_id: str) -> pd.DataFrame | None:
    """`COLUMNS` of every image of a finished run, by position; None if there is no such run.

    `true_errors` are lists of floats.  The run's own folder goes before the published copy.

    Raises:
        UserError: The file is damaged or lacks a column.

    """
    text = _own_text(results, run_id) or _published_text(published_path(results, profile, run_id))
    if text is None:
        return None
    source = f"per-image records of run {run_id}"
    try:
        frame = pd.read_csv(io.StringIO(text), float_precision="round_trip")
        frame["correct"] = frame["correct"].astype(bool)
        frame["true_errors"] = frame["true_errors"].map(json.loads)
    except (ValueError, TypeError) as error:
        raise UserError(f"{source}: damaged: {error}; redo it with force=true") from error
    return frame.sort_values("position", ignore_index=True)


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
        return "".join(_kept_lines(csv.DictReader(handle), run_id))


def _published_text(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged: {error}; remove it") from error


def _kept_lines(reader: "csv.DictReader[str]", run_id: str) -> Iterator[str]:
    lacking = set(COLUMNS) - set(reader.fieldnames or ())
    if lacking:
        raise UserError(f"samples.csv of run {run_id}: lacks the columns {sorted(lacking)}")
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(reader)
    yield buffer.getvalue()
