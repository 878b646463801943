"""The baseline of a run: the same configuration without an operator."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.runs.calibrations import baseline_calibration
from bigain.runs.identity import Config, baseline_id, describing_columns
from bigain.runs.provenance import changed

__all__ = ["baseline_samples", "check_baseline"]


def baseline_samples(config: Config, results: Path) -> pd.DataFrame | None:
    """The records of the baseline of a run; None if it is the baseline, or has no finished one."""
    columns = describing_columns(config)
    baseline = baseline_id(config, baseline_calibration(config))
    is_baseline = columns["run_id"] == baseline
    return None if is_baseline else Archive(results, columns["profile"]).samples(baseline)


def check_baseline(config: Config, results: Path, hashes: Mapping[str, str]) -> None:
    """Raise UserError if the finished baseline of a run was made from other weights or images.

    Args:
        config: The run.
        results: The folder in which both lie.
        hashes: What this run is made from.

    """
    columns = describing_columns(config)
    baseline = baseline_id(config, baseline_calibration(config))
    if columns["run_id"] == baseline:
        return
    differ = changed(Archive(results, columns["profile"]).hashes(baseline), hashes)
    if differ:
        raise UserError(
            f"operator={columns['operator']}: its baseline, run {baseline}, was made with another "
            f"{differ[0]}; allowed: restore what it was made with, or make the baseline again "
            "first, with operator=none force=true"
        )
