"""What the measured data say: which cell is the best, and whether the paper's orderings hold.

`best` needs a paired difference to every second best with p < 0.05; without one the best by value
is only `leading`, and so are ties at the top.  FLOPs are exact counts: there ties at the top are
`best`.

An ordering is a pair of values of which the paper prints one as better.  It is supported where the
same one is better in the measured paired difference too, with p < 0.05; contradicted where it is
worse with p < 0.05; else open.  The noise error is not a quantity of the paper: whether it has the
same order is reported apart.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bigain.tables.cells import Difference
from bigain.tables.document import Cell, Line, Panel, Rank
from bigain.tables.planner import NONE, CellKey
from bigain.tables.quantities import QUANTITIES, format_difference
from bigain.tables.sources import Sources
from bigain.tables.spec import Block, Column, Row

__all__ = ["LEVEL", "Ordering", "orderings", "ranks", "verdict_panels"]

LEVEL = 0.05
"""A p value below this supports an order."""

_VERDICTS = ("supported", "contradicted", "open")


@dataclass(frozen=True)
class Ordering:
    """One comparison that the paper makes.

    Attributes:
        label: What is compared.
        place: Quantity and dataset.
        paper: First minus second, as printed.
        paper_says: Whether the first is the better one; None if both are level.
        difference: Measured; None if a run is missing.
        verdict: `supported`, `contradicted`, `open`, or empty without a measurement.
        is_ours: Whether what was measured is another quantity than the paper's.

    """

    label: str
    place: str
    paper: float
    paper_says: bool | None
    difference: Difference | None
    verdict: str
    is_ours: bool


def ranks(sources: Sources, block: Block, row: Row, column: Column) -> Mapping[CellKey, Rank]:
    """The marked cells among those that compete with this one; {} if fewer than two are known.

    The baseline does not compete.
    """
    quantity = QUANTITIES[block.metric]
    if not quantity.ranked:
        return {}
    sign = 1 if quantity.lower_is_better else -1
    found = {
        cell: sign * metric.value
        for cell in _rivals(sources, block, row, column)
        if (metric := sources.metric(cell, block.metric)) is not None
    }
    if len(found) < 2:
        return {}
    top, *others = sorted(set(found.values()))
    firsts = [cell for cell, value in found.items() if value == top]
    if len(firsts) > 1:
        return dict.fromkeys(firsts, "best" if quantity.work == "flops" else "leading")
    seconds = [cell for cell, value in found.items() if value == others[0]]
    first = _first(sources, block, firsts[0], seconds)
    return {firsts[0]: first} | dict.fromkeys(seconds, "second")


def _rivals(sources: Sources, block: Block, row: Row, column: Column) -> Iterator[CellKey]:
    plan = sources.plan
    if plan.spec.compares_columns:
        rivals = [(row, each) for each in plan.columns_of(block)]
    else:
        rivals = [(each, column) for each in plan.rows]
    return (sources.key(block, *pair) for pair in rivals if pair[0].method != NONE)


def _first(sources: Sources, block: Block, best: CellKey, seconds: Sequence[CellKey]) -> Rank:
    if QUANTITIES[block.metric].work == "flops":
        return "best"
    differences = [sources.difference(best, each, block.metric) for each in seconds]
    sure = all(each is not None and each.p < LEVEL for each in differences)
    return "best" if sure else "leading"


def orderings(sources: Sources) -> list[Ordering]:
    """All that the table's comparisons and the paper's values give."""
    profile = sources.plan.spec.profile(sources.plan.profile)
    blocks = [b for b in profile.blocks if QUANTITIES[b.metric].deltas and (b.beside or b.orders)]
    return [ordering for block in blocks for ordering in _of_block(sources, block)]


def verdict_panels(sources: Sources) -> Iterator[Panel]:
    """The orderings that were measured, and how many were not; nothing if the table has none."""
    found = orderings(sources)
    papers = [ordering for ordering in found if not ordering.is_ours]
    ours = [ordering for ordering in found if ordering.is_ours]
    if papers:
        yield _panel("Findings: the paper's orderings", "paper", papers)
    if ours:
        yield _panel("Findings: the same orderings in the noise error", "paper, accuracy", ours)


def _panel(title: str, paper: str, found: Sequence[Ordering]) -> Panel:
    measured = [ordering for ordering in found if ordering.difference is not None]
    verdicts = [ordering.verdict for ordering in measured]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in _VERDICTS)
    return Panel(
        title=title,
        columns=("quantity", paper, "measured", "p", "verdict"),
        lines=tuple(map(_line, measured)),
        caption=f"{len(found)} orderings: {counts}, {len(found) - len(measured)} not run.",
    )


def _of_block(sources: Sources, block: Block) -> Iterator[Ordering]:
    rows = {row.id: row for row in sources.plan.rows}
    columns = {column.id: column for column in sources.plan.columns_of(block)}
    for delta in sources.plan.spec.deltas_of(sources.plan.grid):
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
    yield Ordering(
        label=label,
        place=f"{QUANTITIES[block.metric].name}, {sources.dataset_name(block)}",
        paper=first - second,
        paper_says=says,
        difference=difference,
        verdict=_verdict(says, difference, QUANTITIES[block.metric].lower_is_better),
        is_ours=block.orders is not None,
    )


def _verdict(says: bool | None, difference: Difference | None, lower_is_better: bool) -> str:
    if difference is None:
        return ""
    if math.isnan(difference.p) or difference.p >= LEVEL or says is None:
        return "open"
    measured = (difference.metric.value < 0) == lower_is_better
    return "supported" if measured == says else "contradicted"


def _line(ordering: Ordering) -> Line:
    difference = ordering.difference
    assert difference is not None, "only measured orderings are printed"
    paper = f"{ordering.paper:+.2f}".replace("-", "−")
    p = "" if math.isnan(difference.p) else f"{difference.p:.2g}"
    measured = format_difference(difference.metric)
    texts = (ordering.place, paper, measured, p, ordering.verdict)
    return Line("measured", ordering.label, tuple(map(Cell, texts)))
