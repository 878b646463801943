"""The baseline of a run: the same configuration without an operator."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.config.base import quoted
from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.runs.calibrations import baseline_calibration
from bigain.runs.identity import Config, baseline_id, canonical, describing_columns, resolved
from bigain.runs.provenance import changed

__all__ = ["baseline_samples", "check_baseline", "making_baseline"]


def baseline_samples(config: Config, results: Path) -> pd.DataFrame | None:
    """The records of the baseline of a run; None if it is the baseline, or has no finished one."""
    columns = describing_columns(config)
    baseline = baseline_id(config, baseline_calibration(config))
    is_baseline = columns["run_id"] == baseline
    return None if is_baseline else Archive(results, columns["profile"]).samples(baseline)


def making_baseline(config: Config) -> str:
    """The command that makes the baseline of a run under the staged protocol.

    It has all settings of the run id.  Paths, such as `paths.data` or `dataset.root`, are those of
    the user's machine and are not in it.
    """
    plain = json.loads(canonical({**resolved(config), "operator": {"name": "none"}}))
    return shlex.join(["python", "-m", "bigain", *_overrides(plain, "")])


def _overrides(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """`key=value` of all settings; the option of a group comes before its settings."""
    for key in sorted(node, key=lambda key: (key != "name", key)):
        value, dotted = node[key], prefix + key
        if key == "name":
            yield f"{prefix.removesuffix('.')}={value}"
        elif isinstance(value, dict):
            yield from _overrides(value, f"{dotted}.")
        elif not key.startswith("_"):
            yield f"{dotted}={_typed(value)}"


def _typed(value: Any) -> str:
    """A value as Hydra reads it; a text of digits in quotes, since it is no number."""
    if isinstance(value, str):
        return f'"{value}"' if value[:1].isdigit() else quoted(value)
    return json.dumps(value, separators=(",", ":"))


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
