"""From the records of a finished run to the rows of its metrics.csv, by task."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.metrics import Metric, classification_metrics, efficiency_metrics
from bigain.runs.files import METRIC_COLUMNS
from bigain.runs.frames import finished_samples, samples_frame
from bigain.runs.identity import Config, baseline_id, describing_columns
from bigain.runs.session import Summarise

__all__ = ["MEASURES", "metric_rows", "summary_of"]

Measure = Callable[[pd.DataFrame, pd.DataFrame | None], list[Metric]]

MEASURES: Mapping[str, Measure] = {
    "classification": classification_metrics,
    "efficiency": efficiency_metrics,
}
"""Task -> metrics of (its samples, those of the run without acceleration or None)."""


def summary_of(config: Config, results: Path) -> Summarise:
    """What `RunSession.finish` needs for the run of `config` under `results`.

    eps_error_rise is among the rows if the run without acceleration is finished by then.
    """
    columns, baseline = describing_columns(config), baseline_id(config)

    def summarise(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return metric_rows(columns, baseline, samples_frame(records), results)

    return summarise


def metric_rows(
    columns: Mapping[str, Any], baseline: str, samples: pd.DataFrame, results: Path
) -> list[dict[str, Any]]:
    """Rows of metrics.csv.

    Args:
        columns: The run's `describing_columns`.
        baseline: Its `baseline_id`; a run without acceleration is its own and has no rise.
        samples: Its samples.
        results: The root under which the baseline may be finished.

    """
    is_baseline = columns["run_id"] == baseline
    reference = None if is_baseline else finished_samples(results, baseline)
    return [_row(columns, metric) for metric in MEASURES[columns["task"]](samples, reference)]


def _row(columns: Mapping[str, Any], metric: Metric) -> dict[str, Any]:
    row = {**columns, **asdict(metric)}
    return {name: row[name] for name in METRIC_COLUMNS}
