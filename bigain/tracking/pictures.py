"""Pictures and tables of a finished run for a dashboard, from its records and its folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from bigain.runs.images import GRID, MERGE_MAP

__all__ = [
    "HARDEST_COLUMNS",
    "Media",
    "Table",
    "confusion_counts",
    "confusion_picture",
    "hardest_images",
    "media_of",
]

HARDEST_COLUMNS = ("image_id", "label", "prediction", "margin", "scores")
_HARDEST = 20
_SIDE, _EDGE = 400, 28
"""Pixels of a confusion matrix, about, and of the edges with its numbers and words."""

_MOST_NUMBERS = 20
_BLUE = np.array([8, 48, 107])


@dataclass(frozen=True)
class Table:
    """A table of a dashboard: names of the columns, and rows of plain values."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Media:
    """What a dashboard shows of a run beside numbers.

    Attributes:
        pictures: Name -> picture, or the file of one.
        tables: Name -> table.

    """

    pictures: Mapping[str, Image.Image | Path]
    tables: Mapping[str, Table]


def media_of(task: str, records: Sequence[Mapping[str, Any]], folder: Path) -> Media:
    """The pictures and tables that the records and the folder of a finished run allow.

    Args:
        task: The task; only classified images have a confusion matrix and a table of the hardest.
        records: All of them.
        folder: Where pictures of its samples and of its operator may be; it may not exist.

    """
    pictures: dict[str, Image.Image | Path] = {}
    classified = records if task == "classification" else ()
    counts, hardest = confusion_counts(classified), hardest_images(classified)
    if counts is not None:
        pictures["confusion_matrix"] = confusion_picture(counts)
    files = {"samples": folder / GRID, "merge_map": folder / MERGE_MAP}
    pictures |= {name: path for name, path in files.items() if path.is_file()}
    return Media(pictures, {"hardest_images": Table(HARDEST_COLUMNS, hardest)} if hardest else {})


def confusion_counts(records: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.int64] | None:
    """(classes, classes) counts, rows: label, columns: prediction.

    None if the images have several labels, or the records have no scores to count classes by.
    """
    if not records or any(type(record.get("label")) is not int for record in records):
        return None
    classes = 1 + max(max(int(r["label"]), int(r["prediction"] or 0)) for r in records)
    counts = np.zeros((classes, classes), np.int64)
    for record in records:
        if record["prediction"] is not None:
            counts[record["label"], record["prediction"]] += 1
    return counts


def confusion_picture(counts: npt.NDArray[np.int64]) -> Image.Image:
    """A picture of the counts, each row divided by its sum: white is 0, dark blue is 1.

    Labels go down, predictions to the right; up to 20 classes have numbers.
    """
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[..., None]
    cells = Image.fromarray((255 + shares * (_BLUE - 255)).round().astype(np.uint8))
    classes = len(counts)
    cell = max(1, _SIDE // classes)
    side = cell * classes
    # Matplotlib would take longer to import than all that W&B does at the end of a run.
    picture = Image.new("RGB", (side + 2 * _EDGE, side + 2 * _EDGE), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((_EDGE + side / 2, side + 1.7 * _EDGE), "prediction", "black", anchor="mm")
    for at in range(classes if classes <= _MOST_NUMBERS else 0):
        middle = _EDGE + (at + 0.5) * cell
        draw.text((middle, side + 1.3 * _EDGE), str(at), "black", anchor="mm")
        draw.text((0.8 * _EDGE, middle), str(at), "black", anchor="rm")
    draw.text((_EDGE, 0.5 * _EDGE), "label", "black", anchor="mm")
    picture.paste(cells.resize((side, side), Image.Resampling.NEAREST), (_EDGE, _EDGE))
    draw.rectangle((_EDGE - 1, _EDGE - 1, _EDGE + side, _EDGE + side), outline="grey")
    return picture


def hardest_images(records: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows of `HARDEST_COLUMNS`: the images whose label loses most against the best other class.

    The margin is the lowest score of a wrong class minus the score of the label.  Published records
    have no scores: if no record has them, `margin_mean` stands for the margin, and the column of
    the scores is empty.  Records without a margin or with several labels are left out.
    """
    has_scores = any(record.get("scores") is not None for record in records)
    rows = []
    for record in records:
        label = record.get("label")
        scores = record.get("scores") if has_scores else None
        if type(label) is int:
            margin = _margin(scores or [], label) if has_scores else record.get("margin_mean")
            if margin is not None:
                shown = json.dumps(scores) if has_scores else ""
                rows.append((record["image_id"], label, record["prediction"], margin, shown))
    return sorted(rows, key=lambda row: float(row[3]))[:_HARDEST]


def _margin(scores: Sequence[float | None], label: int) -> float | None:
    """None if the label or all other classes have no score."""
    own = scores[label] if label < len(scores) else None
    wrong = [each for at, each in enumerate(scores) if at != label and each is not None]
    return None if own is None or not wrong else min(wrong) - own
