"""Recompute cells of the committed tables from the committed raw records, by code of its own.

    python scripts/recompute.py [--cells 100] [--seed 0] [--profile results/mini]

Draws measured cells of the tidy CSV files of all tables, at least one of each quantity, and
computes value, interval, p and number of images again from `samples/`, `errors/`, `features/` and
`manifests/`.  `recompute_*.py` share no line with the package.  Every printed digit must agree.
`--cells 0` takes all.  Prints how many cells there are of each quantity, how many were compared and
how many lack the records, and what differs; exits with 1 if something does.

Not recomputed: `p_holm`, whose families `bigain.tables.families` defines; KID, precision and recall
of runs whose features are not published.
"""

import argparse
import csv
import math
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from recompute_quantities import OF_FEATURES, RUNS, Pair, difference
from recompute_records import Run
from recompute_statistics import Found

from bigain.errors import UserError, in_one_line

__all__ = [
    "Cell",
    "agrees",
    "draw",
    "is_lacking",
    "main",
    "measured_cells",
    "problems",
    "quantity",
    "run_of",
]

Cell = Mapping[str, str]
"""A line of a tidy CSV."""

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the cells; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=100, help="how many; 0: all (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    parser.add_argument("--profile", type=Path, default=ROOT / "results" / "mini", help="folder")
    options = parser.parse_args(arguments)
    cells = list(measured_cells(options.profile))
    if not cells:
        raise UserError(f"--profile={options.profile}: has no tables; allowed: a folder with some")
    known = [cell for cell in cells if not is_lacking(options.profile, cell)]
    drawn = draw(known, options.cells or len(known), options.seed)
    found = [text for cell in drawn for text in problems(options.profile, cell)]
    counts = [Counter(map(quantity, each)) for each in (cells, known, drawn)]
    for name in sorted(counts[0]):
        of_all, with_records, compared = (count[name] for count in counts)
        lacking = f", {of_all - with_records} lack the records" if of_all > with_records else ""
        print(f"{name}: {compared} of {of_all} cells compared{lacking}")
    print("".join(f"{text}\n" for text in found), end="")
    print(f"{len(drawn)} of {len(cells)} measured cells compared: {len(found)} numbers differ")
    return 1 if found else 0


def measured_cells(folder: Path) -> Iterator[Cell]:
    """The measured numbers of all tables of a profile; empty cells are left out."""
    for path in sorted((folder / "tables").glob("table*.csv")):
        with path.open(newline="", encoding="utf-8") as handle:
            lines = csv.DictReader(handle)
            if "run_id" in (lines.fieldnames or ()):
                yield from (row for row in lines if row["source"] == "measured" and row["value"])


def quantity(cell: Cell) -> str:
    """The metric of a cell; that of a difference begins with `delta_`."""
    return cell["metric"]


def is_lacking(folder: Path, cell: Cell) -> bool:
    """Whether the features that the cell follows from are not published."""
    runs = [name for name in (cell["run_id"], cell["versus_run_id"]) if name]
    needs = quantity(cell).removeprefix("delta_") in OF_FEATURES
    return needs and not all(run_of(folder, name).has_features for name in runs)


def draw(cells: Sequence[Cell], count: int, seed: int) -> list[Cell]:
    """One random cell of each quantity, and others until there are `count`."""
    shuffled = random.Random(seed).sample(list(cells), len(cells))
    first = {quantity(cell): place for place, cell in reversed(list(enumerate(shuffled)))}
    places = [*first.values(), *(i for i in range(len(cells)) if i not in set(first.values()))]
    return [shuffled[place] for place in places[: max(count, len(first))]]


def problems(folder: Path, cell: Cell) -> list[str]:
    """The numbers of a cell that the raw records give otherwise."""
    found = recomputed(folder, cell)
    parts = {"value": found.value, "ci_low": found.low, "ci_high": found.high, "n": found.n}
    digits = dict.fromkeys(parts, 6)
    if cell["p"]:
        parts["p"], digits["p"] = found.p, 3
    place = f"table {cell['table']}, {cell['dataset']}, {cell['row']} {cell['setting']}"
    return [
        f"{place}: {quantity(cell)}, {part}: {cell[part]}, but the records give {number:.9g}"
        for part, number in parts.items()
        if not agrees(cell[part], number, digits[part])
    ]


def recomputed(folder: Path, cell: Cell) -> Found:
    """The numbers of a cell from the raw records."""
    own = run_of(folder, cell["run_id"])
    none = run_of(folder, own.manifest.get("baseline_id", own.name))
    if not cell["versus"]:
        return RUNS[quantity(cell)](Pair(own, none))
    versus = run_of(folder, cell["versus_run_id"])
    return difference(quantity(cell).removeprefix("delta_"), Pair(own, none, versus))


def agrees(text: str, number: float, digits: int) -> bool:
    """Whether `text` is `number` with so many digits; no text: there is no number."""
    if not text or math.isnan(number):
        return not text and math.isnan(number)
    printed = float(text)
    if printed == 0:
        return abs(number) < 1e-12
    half = 0.5 * 10 ** (math.floor(math.log10(abs(printed))) + 1 - digits)
    return bool(abs(printed - number) <= half * (1 + 1e-6))


@cache
def run_of(folder: Path, name: str) -> Run:
    """A run, read once."""
    return Run(folder, name)


if __name__ == "__main__":
    sys.exit(in_one_line(main))
