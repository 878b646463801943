"""Compare the committed tables with those of another commit, number for number.

    python scripts/compare_tables.py --base COMMIT [--profile mini]

Every cell of the tidy CSV files must be the same, and every number that the Markdown printed must
still stand there.  Prints how many were compared; exits with 1 if one differs.
"""

import argparse
import csv
import io
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bigain.errors import UserError, in_one_line

ROOT = Path(__file__).parents[1]
TABLES = range(1, 19)
WORDS = ("note",)
"""Columns of the CSV that hold words, and no number."""
DROPPED = "measured minus paper"
"""Lines of the Markdown that went: a difference to numbers of another model and other data."""
STILL_SUBTRACTED = "counted)"
"""But those of FLOPs, which are counted on the paper's own model, stay."""

Cells = dict[tuple[str, ...], str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare all tables; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", required=True, help="the commit to compare with")
    parser.add_argument("--profile", default="mini")
    options = parser.parse_args(arguments)
    cells, numbers, problems = 0, 0, list[str]()
    for number in TABLES:
        name = f"results/{options.profile}/tables/table{number:02d}"
        old, new = _csv(_at(options.base, f"{name}.csv")), _csv(_now(f"{name}.csv"))
        problems += [
            f"{name}.csv: {key}: {old.get(key)} -> {new.get(key)}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
        printed = _printed(_at(options.base, f"{name}.md"))
        known = _printed(_now(f"{name}.md"))
        problems += [f"{name}.md: {text} is gone" for text in sorted(printed - known)]
        problems += [f"{name}.md: {text} is new" for text in sorted(known - printed)]
        cells, numbers = cells + len(old), numbers + len(printed)
    sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    sys.stdout.write(
        f"{len(TABLES)} tables: {cells} cells of CSV and {numbers} printed numbers compared with "
        f"{options.base}: {len(problems)} differ\n"
    )
    return 1 if problems else 0


def _at(commit: str, path: str) -> str:
    command = ["git", "show", f"{commit}:{path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"--base={commit}: {done.stderr.strip()}")
    return done.stdout


def _now(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _csv(text: str) -> Cells:
    """Place of a cell (what its row is about, which of such rows, its column) -> the cell."""
    found: Cells = {}
    seen: Counter[tuple[str, ...]] = Counter()
    for row in csv.DictReader(io.StringIO(text)):
        about = tuple(f"{key}={row[key]}" for key in row if key not in _VALUES)
        seen[about] += 1
        for key, value in row.items():
            if key not in WORDS:
                found[*about, f"row {seen[about]}", key] = value
    return found


_VALUES = (
    *("value", "ci_low", "ci_high", "p", "p_holm", "n", "unit", "run_id", "versus_run_id"),
    *WORDS,
)
"""Columns that a row's place does not depend on."""


def _printed(text: str) -> set[str]:
    """The cells with numbers of all rectangles, each with its marks, without the labels."""
    return {cell for row in _rows(text) for cell in row if any(map(str.isdigit, cell))}


def _rows(text: str) -> Iterator[list[str]]:
    heads: list[str] = []
    lines = text.splitlines()
    for index, line in enumerate(lines):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells or set(line) <= {"|", "-"}:
            continue
        if index + 1 < len(lines) and lines[index + 1].startswith("|-"):
            heads = cells
        elif DROPPED in cells[0] and not cells[0].endswith(DROPPED):
            pairs = zip(heads[1:], cells[1:], strict=True)
            yield [cell for head, cell in pairs if head.endswith(STILL_SUBTRACTED)]
        else:
            yield cells[1:]


if __name__ == "__main__":
    sys.exit(in_one_line(main))
