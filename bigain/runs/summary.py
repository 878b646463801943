"""From the records of a finished run to the rows of its metrics.csv, by task."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.metrics import Metric, classification_metrics, efficiency_metrics
from bigain.runs.archive import Archive
from bigain.runs.files import METRIC_COLUMNS
from bigain.runs.frames import samples_frame
from bigain.runs.identity import Config, baseline_id, describing_columns
from bigain.runs.session import Evaluate, Evaluation

__all__ = ["MEASURES", "baseline_samples", "conclusion_of", "metric_rows"]

Measure = Callable[[pd.DataFrame, pd.DataFrame | None], list[Metric]]

MEASURES: Mapping[str, Measure] = {
    "classification": classification_metrics,
    "efficiency": efficiency_metrics,
}
"""Task -> metrics of (its samples, those of the baseline or None).

The metrics of a task that is not here (generation) do not follow from its samples alone.
"""


def conclusion_of(config: Config, results: Path, evaluate: Evaluate | None = None) -> Evaluate:
    """What evaluates the records of a run of `config` under `results`, for made-up records.

    Args:
        config: The run.
        results: The root under which it and its baseline lie.
        evaluate: Of a task whose metrics do not follow from its samples.

    """
    task = describing_columns(config)["task"]
    return evaluate or (
        lambda records: Evaluation(
            records, MEASURES[task](samples_frame(records), baseline_samples(config, results))
        )
    )


def baseline_samples(config: Config, results: Path) -> pd.DataFrame | None:
    """Samples of the run's baseline; None if it is the baseline, or there are none by now."""
    columns, baseline = describing_columns(config), baseline_id(config)
    is_baseline = columns["run_id"] == baseline
    return None if is_baseline else Archive(results, columns["profile"]).samples(baseline)


def metric_rows(
    columns: Mapping[str, Any], baseline: str, samples: pd.DataFrame, results: Path
) -> list[dict[str, Any]]:
    """Rows of metrics.csv.

    Args:
        columns: The run's `describing_columns`.
        baseline: Its `baseline_id`; a baseline is its own and has no rise.
        samples: Its samples.
        results: The root under which the baseline may be finished, or published.

    """
    is_baseline = columns["run_id"] == baseline
    archive = Archive(results, columns["profile"])
    reference = None if is_baseline else archive.samples(baseline)
    return [_row(columns, metric) for metric in MEASURES[columns["task"]](samples, reference)]


def _row(columns: Mapping[str, Any], metric: Metric) -> dict[str, Any]:
    row = {**columns, **asdict(metric)}
    return {name: row[name] for name in METRIC_COLUMNS}
