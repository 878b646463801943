"""Appendix A on the minis, from the committed errors: a CSV file and the tables of docs/metrics.md.

    python scripts/appendix_a.py

Of the first stage of 1,000 images, seed 0, both minis: the runs of `scripts/decomposition.py` at
0.7, and all others that have the same baseline.  What the numbers are stands in docs/runs.md
(`bigain analysis`).  It starts no run.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from decomposition import BACKBONES, BASELINE, Run
from marks import between

from bigain.files import csv_text, replace_text
from bigain.launch.compose import compose_config
from bigain.runs.analysis import COLUMNS, MarginRow, analyse, groups_of, table, tidy
from bigain.runs.identity import run_id

__all__ = ["main"]

ROOT = Path(__file__).parents[1]


def rows_of(results: Path) -> Iterator[MarginRow]:
    """Those of the two baselines' groups, the baselines first."""
    baselines = [
        run_id(compose_config([*Run(backbone, BASELINE, 0.0, 0).overrides]))
        for backbone in BACKBONES
    ]
    groups, _ = groups_of(results, "mini")
    found = {group[-1].run_id: group for group in groups}
    for name in baselines:
        if name not in found:
            raise SystemExit(f"run_id={name}: the baseline has no published errors")
        rows, _ = analyse(found[name])
        yield from sorted(rows, key=lambda row: (row.run != name, row.operator))


def main() -> int:
    """Write both files."""
    rows = list(rows_of(ROOT / "results"))
    replace_text(ROOT / "results" / "mini" / "appendix_a.csv", csv_text(COLUMNS, tidy(rows)))
    page = ROOT / "docs" / "metrics.md"
    for backbone in BACKBONES:
        shown = [row for row in rows if row.group[0] == backbone and row.weighting == "equal"]
        replace_text(page, between(page, f"appendix a {backbone}", _table(shown)))
    return 0


def _table(rows: Sequence[MarginRow]) -> str:
    """Without the smaller ratios, which are in the file."""
    return table([row for row in rows if row.run == row.reference or _is_shown(row.operator)])


def _is_shown(operator: str) -> bool:
    return not any(f"ratio={ratio}" in operator for ratio in (0.3, 0.5))


if __name__ == "__main__":
    sys.exit(main())
