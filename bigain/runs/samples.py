"""The CSV format of records: one row per image, in dataset order.

`samples.csv` of a run has all parts of a record that do not depend on when and where it was made.
What is published of it is enough for accuracies, precisions, paired errors and margins.
"""

import csv
import io
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.errors import UserError
from bigain.files import parse_json
from bigain.runs.files import SAMPLES, Records, kept_of, read_csv

__all__ = ["parse_samples", "read_samples", "samples_frame", "samples_to_publish"]

_REPEAT = "restore the file, or start the run again with force=true"


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _integer(text: str) -> int | None:
    return int(text) if text else None


def _list(text: str) -> list[float] | None:
    return parse_json(text) if text else None


def _plain(text: str) -> object:
    """JSON where the text is JSON, as `bigain.runs.files` writes it; None if empty."""
    if not text:
        return None
    try:
        return parse_json(text)
    except ValueError:
        return text


_NUMBERS = ("margin_mean", "margin_variance", "average_precision", "spent")
_Parsers = Mapping[str, Callable[[str], object]]
"""Published columns -> how to read them.  Of classified images they are enough for accuracy,
paired errors and margins; the records of other tasks are small and published whole."""

_TRUTH: Mapping[str, bool] = {"true": True, "false": False}

_CLASSIFICATION: _Parsers = {
    "position": int,
    "image_id": int,
    "label": _integer,
    "prediction": _integer,
    "correct": _TRUTH.__getitem__,
    "true_errors": _list,
    "margin_mean": _number,
    "margin_variance": _number,
}
_OF_SEVERAL_LABELS: _Parsers = {
    "labels": parse_json,
    "average_precision": _number,
    "scores": _list,
}
"""Of images with several labels; their class-wise precision needs the scores of all classes."""

_OPTIONAL: _Parsers = {
    **dict.fromkeys(("evaluations", "rounds", "full_prediction"), _integer),
    "spent": _number,
    "failure": lambda text: text or None,
}
_GENERATION: _Parsers = {"position": int, "image_id": int, "frechet_value": _number}
_EFFICIENCY: _Parsers = {"position": int, "image_id": int, "measure": str}
_KINDS = {"true_errors": _CLASSIFICATION, "frechet_value": _GENERATION, "measure": _EFFICIENCY}
"""A column that only one task's records have -> the columns that these must have."""


def samples_frame(records: Records, left_out: Collection[str] = ()) -> pd.DataFrame:
    """The records of a run, in dataset order, as `read_samples` will read them from its folder.

    Args:
        records: At least one.
        left_out: Columns that the frame need not have.

    """
    return _samples(kept_of(records, left_out))


def read_samples(folder: Path) -> pd.DataFrame:
    """samples.csv of the run in `folder`: one row per image, lists as lists, floats exact."""
    return _samples(read_csv(folder / SAMPLES))


def parse_samples(text: str, source: Path) -> pd.DataFrame:
    """The records in `text`, sorted by position; `true_errors` are lists of floats.

    Raises:
        UserError: A column is missing or a cell is damaged; the message names `source`.

    """
    reader = csv.DictReader(io.StringIO(text))
    parsers = _parsers(list(reader.fieldnames or ()), source)
    try:
        lines = list(reader)
        columns = {key: [parse(line[key]) for line in lines] for key, parse in parsers.items()}
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{source}: damaged: {error}; {_REPEAT}") from error
    return pd.DataFrame(columns).sort_values("position", ignore_index=True)


def samples_to_publish(text: str, source: Path) -> str:
    """samples.csv of a run without the columns that are not published; cells stay as they are.

    Raises:
        UserError: A column is missing; the message names `source`.

    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = list(_parsers(list(reader.fieldnames or ()), source))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(reader)
    return buffer.getvalue()


def _parsers(there: list[str], source: Path) -> _Parsers:
    """Column -> how to read it, for the columns that are published."""
    needed = next((own for mark, own in _KINDS.items() if mark in there), _CLASSIFICATION)
    missing = sorted(set(needed) - set(there))
    if missing:
        raise UserError(f"{source}: lacks the columns {', '.join(missing)}; {_REPEAT}")
    if needed is _CLASSIFICATION:
        several = _OF_SEVERAL_LABELS if "labels" in there else {}
        optional = {**several, **_OPTIONAL}
        return {**needed, **{key: parse for key, parse in optional.items() if key in there}}
    return {key: needed.get(key, _plain) for key in there}


def _samples(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Numbers that may be missing for all images are numbers nevertheless."""
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    frame = pd.DataFrame(columns)
    return frame.astype({name: "float64" for name in _NUMBERS if name in frame})
