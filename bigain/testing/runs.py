"""Finished runs with made-up records, and their metrics as a data frame."""

from pathlib import Path

import pandas as pd

from bigain.runs.archive import baseline_samples
from bigain.runs.archive_csv import samples_frame
from bigain.runs.collect import MEASURES
from bigain.runs.files import METRIC_COLUMNS, METRICS, Evaluate, Evaluation, read_csv
from bigain.runs.identity import Config, describing_columns

__all__ = ["evaluation_of", "read_metrics"]

_NOT_TEXT = ("ratio", "factor", "alpha", "sparsity", "seed", "value", "n", "ci_low", "ci_high")


def evaluation_of(config: Config, results: Path) -> Evaluate:
    """What evaluates records of a classification or measurement as its task does.

    Args:
        config: The run.
        results: The folder in which the run and its baseline lie.

    """
    measure = MEASURES[describing_columns(config)["task"]]
    return lambda records: Evaluation(
        records, measure(samples_frame(records), baseline_samples(config, results))
    )


def read_metrics(folder: Path) -> pd.DataFrame:
    """metrics.csv of the run in `folder`: ids and names are text, alpha a number or a schedule."""
    text = [name for name in METRIC_COLUMNS if name not in _NOT_TEXT]
    return pd.DataFrame(read_csv(folder / METRICS, text), columns=list(METRIC_COLUMNS))
