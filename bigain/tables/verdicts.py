"""Whether the paper's orderings hold in what was measured.

An ordering is a pair of values of which the paper prints one as better.  Its verdict:

* `level`: the 95 % interval of the paired difference lies inside of +-delta
  (`bigain.tables.bounds`), whether it contains 0 or not;
* else `supported` or `contradicted`: the same one is better, or worse, with p < 0.05 after Holm's
  correction for the family of all tables (`bigain.tables.families`);
* else `inconclusive`.

A verdict is about the order.  Where quantity and unit are the paper's own, it is also said whether
the interval excludes the size that the paper prints.

There are three kinds of orderings, and each kind is a family: the paper's quantities, and the same
orderings in two of our own, in the margin, the primary endpoint, and in the noise error.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bigain.tables.bounds import level_bounds
from bigain.tables.differences import Difference
from bigain.tables.document import Cell, Line, Panel
from bigain.tables.planner import CellKey
from bigain.tables.quantities import QUANTITIES, format_difference
from bigain.tables.ranks import LEVEL
from bigain.tables.sources import Hypothesis, Sources
from bigain.tables.spec import Block, Column, Row

__all__ = ["VERDICTS", "Kind", "Ordering", "excludes_size", "orderings", "verdict_of"]
__all__ += ["verdict_panels"]

VERDICTS = ("supported", "contradicted", "level", "inconclusive")

Kind = Literal["paper", "margin", "noise error"]

_TITLES: Mapping[Kind, str] = {
    "paper": "Findings: the paper's orderings",
    "margin": "Findings: the same orderings in the margin, the primary endpoint",
    "noise error": "Findings: the same orderings in the noise error",
}
_SAME = {"acc1": "acc1", "map": "map_image", "fid": "fid"}
"""Metric of the paper -> ours, where the two have one unit."""


@dataclass(frozen=True)
class Ordering:
    """One comparison that the paper makes.

    Attributes:
        label: What is compared.
        place: Quantity, and dataset where the table has several.
        kind: Whose quantity was measured.
        paper: First minus second, as printed.
        paper_says: Whether the first is the better one; None if both are level.
        difference: Measured; None if a run is missing.
        adjusted: Its p value with Holm's correction; NaN without one.
        cells: The two that are compared.
        metric: In what.
        hypothesis: What is tested; None if nothing was measured or the paper orders nothing.
        verdict: One of `VERDICTS`, or empty without a measurement.
        excludes_paper: Whether the interval excludes the paper's difference; None where that is
            one of another quantity, or where there is no interval.

    """

    label: str
    place: str
    kind: Kind
    paper: float
    paper_says: bool | None
    difference: Difference | None
    adjusted: float
    cells: tuple[CellKey, CellKey]
    metric: str
    hypothesis: Hypothesis | None
    verdict: str
    excludes_paper: bool | None


def orderings(sources: Sources, *, planned: bool = False) -> list[Ordering]:
    """All that the table's comparisons and the paper's values give.

    Args:
        sources: The table.
        planned: Also those of optional blocks that no run has.

    """
    shown = sources.plan.spec.profile(sources.plan.profile).blocks if planned else sources.blocks
    compared = (each for each in shown if QUANTITIES[each.metric].deltas)
    blocks = (each for each in compared if each.beside or each.orders)
    return [ordering for block in blocks for ordering in _of_block(sources, block)]


def verdict_panels(sources: Sources) -> Iterator[Panel]:
    """The orderings of each kind that were measured, and how many were not; no empty kind."""
    found = orderings(sources)
    for kind, title in _TITLES.items():
        if own := [ordering for ordering in found if ordering.kind == kind]:
            yield _panel(title, kind, own)


def _panel(title: str, kind: Kind, found: Sequence[Ordering]) -> Panel:
    measured = [ordering for ordering in found if ordering.difference is not None]
    verdicts = [ordering.verdict for ordering in measured]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
    is_papers = kind == "paper"
    size = ("paper's size",) if is_papers else ()
    return Panel(
        title=title,
        columns=(
            *("quantity", "paper" if is_papers else "paper, accuracy", "measured"),
            *("p", "p, Holm", "verdict", *size),
        ),
        lines=tuple(_line(ordering, has_size=is_papers) for ordering in measured),
        caption=f"{len(found)} orderings: {counts}, {len(found) - len(measured)} not run.",
    )


def _of_block(sources: Sources, block: Block) -> Iterator[Ordering]:
    rows = {row.id: row for row in sources.plan.rows}
    columns = {column.id: column for column in sources.plan.columns_of(block)}
    for delta in sources.plan.deltas:
        if delta.row is not None and delta.versus is not None:
            for column in columns.values():
                where = f"{delta.label}, {column.label}" if column.label else delta.label
                pair = (rows[delta.row], column), (rows[delta.versus], column)
                yield from _ordering(sources, block, where, *pair)
        elif {delta.column, delta.versus_column} <= set(columns):
            for row in rows.values():
                pair = (row, columns[str(delta.column)]), (row, columns[str(delta.versus_column)])
                yield from _ordering(sources, block, f"{delta.label}, {row.label}", *pair)


def _ordering(
    sources: Sources, block: Block, label: str, a: tuple[Row, Column], b: tuple[Row, Column]
) -> Iterator[Ordering]:
    beside = sources.plan.spec.paper.block(*(block.orders or block.beside or ("", "")))
    values = [sources.printed(beside, row, column) for row, column in (a, b)]
    first, second = (value.number if value else None for value in values)
    if first is None or second is None:
        return
    is_lower = QUANTITIES["fid" if beside.metric == "fid" else "acc1"].lower_is_better
    says = None if first == second else (first < second) == is_lower
    one, other = (sources.key(block, row, column) for row, column in (a, b))
    difference = sources.difference(one, other, block.metric)
    adjusted = sources.adjusted(one, other, block.metric) if difference else math.nan
    paper = first - second
    is_same = _SAME.get(beside.metric) == block.metric
    yield Ordering(
        label=label,
        place=_place(sources, block),
        kind=_kind(block),
        paper=paper,
        paper_says=says,
        difference=difference,
        adjusted=adjusted,
        cells=(one, other),
        metric=block.metric,
        hypothesis=sources.hypothesis(one, other, block.metric)
        if difference and says is not None
        else None,
        verdict=verdict_of(block.metric, says, difference, adjusted),
        excludes_paper=excludes_size(difference, paper) if difference and is_same else None,
    )


def _place(sources: Sources, block: Block) -> str:
    """Quantity, and dataset where the table has several."""
    name = QUANTITIES[block.metric].name
    several = len(sources.plan.spec.profile(sources.plan.profile).datasets) > 1
    return f"{name}, {sources.dataset_name(block)}" if several else name


def _kind(block: Block) -> Kind:
    if block.orders is None:
        return "paper"
    return "margin" if block.metric == "best_margin" else "noise error"


def verdict_of(name: str, says: bool | None, difference: Difference | None, adjusted: float) -> str:
    """The verdict of a difference in the metric `name`; empty without one.

    Args:
        name: Id of the quantity.
        says: Whether the paper has the first one ahead; None if it orders nothing.
        difference: First minus second.
        adjusted: Its p value with Holm's correction.

    """
    if difference is None:
        return ""
    metric, delta = difference.metric, level_bounds()[name]
    if -delta < metric.ci_low and metric.ci_high < delta:
        return "level"
    if math.isnan(adjusted) or adjusted >= LEVEL or says is None:
        return "inconclusive"
    measured = (metric.value < 0) == QUANTITIES[name].lower_is_better
    return "supported" if measured == says else "contradicted"


def excludes_size(difference: Difference, size: float) -> bool | None:
    """Whether the interval excludes a size; None if there is no interval."""
    low, high = difference.metric.ci_low, difference.metric.ci_high
    if math.isnan(low) or math.isnan(high):
        return None
    return not low <= size <= high


_SIZES = {None: "", True: "excluded", False: "possible"}


def _line(ordering: Ordering, *, has_size: bool) -> Line:
    difference = ordering.difference
    assert difference is not None, "only measured orderings are printed"
    paper = f"{ordering.paper:+.2f}".replace("-", "−")
    ps = ("" if math.isnan(p) else f"{p:.2g}" for p in (difference.p, ordering.adjusted))
    measured = format_difference(difference.metric)
    texts = [ordering.place, paper, measured, *ps, ordering.verdict]
    texts += [_SIZES[ordering.excludes_paper]] if has_size else []
    return Line("measured", ordering.label, tuple(map(Cell, texts)))
