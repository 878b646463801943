"""How much of what a table measures is empty, counted in its CSV file.

The file holds the same cells as the page beside it, so the count needs no run and no plan.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bigain.tables.planner import NONE, place_of
from bigain.tables.spec import TableSpec

__all__ = ["PAPERS", "Gaps", "count_gaps", "together"]

PAPERS = 18
"""The paper has as many tables; those above are ours."""


@dataclass(frozen=True)
class Gaps:
    """Cells and runs of a table, and how many of them are missing.

    Attributes:
        name: Number of the table, or of several.
        cells: Values that the table shows, or would show if all runs were made: one for each
            quantity of each run.  No differences, and none of the paper's values.
        empty: Those without a value.
        runs: Runs that the table plans.
        missing: Those without any value.

    """

    name: str
    cells: int
    empty: int
    runs: int
    missing: int

    @property
    def percent(self) -> str:
        """The share of empty cells."""
        return f"{100 * self.empty / self.cells if self.cells else 0:.1f}"


def count_gaps(spec: TableSpec, profile: str, lines: Iterable[Mapping[str, str]]) -> Gaps:
    """Count the cells of a table.

    Args:
        spec: What it shows.
        profile: `mini` or `paper`.
        lines: Of its CSV file (`bigain.tables.tidy`).

    """
    shown = _shown(spec, profile)
    measured = [each for each in lines if each["source"] == "measured" and not each["versus"]]
    known = {_quantity(each) for each in measured if each["value"]}
    cells = [
        each
        for each in measured
        if (each["row"] != NONE or spec.baseline == "row")
        and (optional := shown.get(_quantity(each))) is not None
        and (not optional or _quantity(each) in known)
    ]
    runs = {each["run_id"] for each in measured}
    made = {each["run_id"] for each in measured if each["value"]}
    return Gaps(
        name=str(spec.number),
        cells=len(cells),
        empty=sum(not each["value"] for each in cells),
        runs=len(runs),
        missing=len(runs - made),
    )


def together(gaps: Iterable[Gaps], name: str) -> Gaps:
    """The sum of several tables; a run that two of them share counts twice, as its cells do."""
    own = list(gaps)
    return Gaps(
        name,
        sum(each.cells for each in own),
        sum(each.empty for each in own),
        sum(each.runs for each in own),
        sum(each.missing for each in own),
    )


def _shown(spec: TableSpec, profile: str) -> dict[tuple[str, ...], bool]:
    """What the blocks show, and whether a block is left out as long as no run has its quantity."""
    found: dict[tuple[str, ...], bool] = {}
    for block in spec.profile(profile).blocks:
        backbone, dataset, work, device = place_of(spec, profile, block)
        task = " ".join(filter(None, (work, device)))
        found[backbone, dataset, task, block.metric] = block.optional
    return found


def _quantity(line: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(line[key] for key in ("backbone", "dataset", "task", "metric"))
