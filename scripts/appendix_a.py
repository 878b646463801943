"""Appendix A on the minis, from the committed errors: a CSV file and the tables of docs/metrics.md.

    python scripts/appendix_a.py

Of both minis, seed 0, the first stage of

* 1,000 images: the runs of `scripts/decomposition.py`, and all others that have the same baseline;
* the tables' 400 images, at the tables' timesteps: all runs that have the tables' baseline.

On the page, an operator with 1,000 images has no second row.  Holm's correction counts the rows of
the page of a backbone: each operator once.  What the numbers are stands in docs/runs.md (`bigain
analysis`).  It starts no run.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from decomposition import BACKBONES, BASELINE, Run
from marks import between

from bigain.config.operator import operator_title, other_settings
from bigain.errors import in_one_line
from bigain.files import csv_text, replace_text
from bigain.launch.compose import compose_config
from bigain.runs.analysis import (
    COLUMNS,
    MarginRow,
    analyse,
    groups_of,
    table,
    tidy,
    with_holm,
)
from bigain.runs.identity import run_id

__all__ = ["main"]

ROOT = Path(__file__).parents[1]


def rows_of(results: Path) -> Iterator[list[MarginRow]]:
    """Of each backbone: those with 1,000 images, then the tables', the baselines first."""
    groups, _ = groups_of(results, "mini")
    found = {group[-1].run_id: group for group in groups}
    for backbone in BACKBONES:
        own: list[MarginRow] = []
        for settings in (
            Run(backbone, BASELINE, 0.0, 0).overrides,
            (f"backbone={backbone}", "operator=none"),
        ):
            name = run_id(compose_config([*settings]))
            if name not in found:
                raise SystemExit(f"run_id={name}: the baseline has no published errors")
            rows, _ = analyse(found[name])
            own += sorted(rows, key=lambda row: (row.run != row.reference, row.operator))
        yield own


def main() -> int:
    """Write both files."""
    everything: list[MarginRow] = []
    page = ROOT / "docs" / "metrics.md"
    for backbone, rows in zip(BACKBONES, rows_of(ROOT / "results"), strict=True):
        again = _repeated(rows)
        once = [row for row in rows if row.run not in again]
        repeated = [replace(row, p_holm=math.nan) for row in rows if row.run in again]
        family = with_holm(once)
        everything += [*family, *repeated]
        text = table([row for row in family if row.weighting == "equal"])
        replace_text(page, between(page, f"appendix a {backbone}", text))
    path, records = ROOT / "results" / "mini" / "appendix_a.csv", map(_record, tidy(everything))
    replace_text(path, csv_text(COLUMNS, records))
    return 0


def _record(found: Mapping[str, Any]) -> dict[str, Any]:
    """With nine digits."""
    return {
        key: f"{value:.9g}" if isinstance(value, float) else value for key, value in found.items()
    }


def _repeated(rows: Sequence[MarginRow]) -> set[str]:
    """Runs of the tables whose operator has a run of 1,000 images."""
    most = max(row.n for row in rows)
    first = {_settings(row) for row in rows if row.n == most}
    others = (row for row in rows if row.n < most and row.run != row.reference)
    return {row.run for row in others if _settings(row) in first}


def _settings(row: MarginRow) -> tuple[str, ...]:
    """Of its operator, all that matter; earlier runs lack some that are neutral."""
    operator = row.config["operator"]
    others = (f"{key}={value}" for key, value in other_settings(operator).items())
    return operator_title(operator), str(operator.get("scope")), *others


if __name__ == "__main__":
    sys.exit(in_one_line(main))
