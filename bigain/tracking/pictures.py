"""Pictures and tables of a finished run for a dashboard, made from its records alone."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["HARDEST_COLUMNS", "confusion_counts", "confusion_picture", "hardest_images"]

HARDEST_COLUMNS = ("image_id", "label", "prediction", "margin", "scores")
_HARDEST = 20
_INCHES = 5


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
    """A picture of the counts, each row divided by its sum."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - dear to import

    figure = Figure(figsize=(_INCHES, _INCHES), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="prediction", ylabel="label")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return Image.open(drawn)


def hardest_images(records: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows of `HARDEST_COLUMNS`: the images whose label loses most against the best other class.

    The margin is the lowest score of a wrong class minus the score of the label.  Records without
    scores or with several labels are left out.
    """
    rows = []
    for record in records:
        scores, label = record.get("scores"), record.get("label")
        if isinstance(scores, list) and isinstance(label, int):
            wrong = min(
                score for at, score in enumerate(scores) if at != label and score is not None
            )
            margin = wrong - scores[label]
            rows.append(
                (record["image_id"], label, record["prediction"], margin, json.dumps(scores))
            )
    return sorted(rows, key=lambda row: float(row[3]))[:_HARDEST]
