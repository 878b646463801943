"""Run folders as data frames."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.runs.files import METRIC_COLUMNS, METRICS, NOT_IN_SAMPLES, SAMPLES
from bigain.runs.store import RunStore

__all__ = ["LISTS", "finished_samples", "read_metrics", "read_samples", "samples_frame"]

LISTS = ("scores", "trials", "true_errors")
"""Columns of samples.csv that hold lists, as JSON."""


def samples_frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The records of a run, in dataset order, as `read_samples` will read them from its folder."""
    frame = pd.DataFrame([dict(record) for record in records])
    frame.insert(0, "position", range(len(frame)))
    numbers = [name for name in ("margin_mean", "margin_variance") if name in frame]
    frame[numbers] = frame[numbers].astype("float64")
    return frame.drop(columns=[name for name in NOT_IN_SAMPLES if name in frame])


def read_samples(folder: Path) -> pd.DataFrame:
    """samples.csv of the run in `folder`: one row per image, list columns parsed, floats exact."""
    frame = _read(folder / SAMPLES)
    for name in [name for name in LISTS if name in frame]:
        frame[name] = [json.loads(text) for text in frame[name]]
    return frame


def finished_samples(results: Path, run_id: str) -> pd.DataFrame | None:
    """The samples of the run `run_id`, None unless it is finished."""
    store = RunStore(results, run_id)
    return read_samples(store.folder) if store.is_finished() else None


def read_metrics(folder: Path) -> pd.DataFrame:
    """metrics.csv of the run in `folder`; run id and alpha (maybe a schedule) are text."""
    return _read(folder / METRICS, run_id=str, alpha=str)[list(METRIC_COLUMNS)]


def _read(path: Path, **types: type) -> pd.DataFrame:
    """Only an empty cell is missing: operator `none` is a name."""
    return pd.read_csv(
        path, dtype=types, keep_default_na=False, na_values=[""], float_precision="round_trip"
    )
