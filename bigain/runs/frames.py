"""Run folders as data frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.runs.files import METRIC_COLUMNS, METRICS, SAMPLES, kept_of, read_csv

__all__ = ["read_metrics", "read_samples", "samples_frame"]

_NUMBERS = ("margin_mean", "margin_variance", "average_precision")
_NOT_TEXT = ("ratio", "factor", "alpha", "sparsity", "seed", "value", "n", "ci_low", "ci_high")


def samples_frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The records of a run, in dataset order, as `read_samples` will read them from its folder."""
    return _samples(kept_of(records))


def read_samples(folder: Path) -> pd.DataFrame:
    """samples.csv of the run in `folder`: one row per image, lists as lists, floats exact."""
    return _samples(read_csv(folder / SAMPLES))


def read_metrics(folder: Path) -> pd.DataFrame:
    """metrics.csv of the run in `folder`: ids and names are text, alpha a number or a schedule."""
    text = [name for name in METRIC_COLUMNS if name not in _NOT_TEXT]
    return pd.DataFrame(read_csv(folder / METRICS, text), columns=list(METRIC_COLUMNS))


def _samples(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Numbers that may be missing for all images are numbers nevertheless."""
    frame = pd.DataFrame([dict(row) for row in rows])
    return frame.astype({name: "float64" for name in _NUMBERS if name in frame})
