"""Which cell of a column is the best, and whether a paired test says so.

`best` needs a paired difference to every second with p < 0.05; without one the best by value is
only `leading`, and so are all that are level at the top.  FLOPs are exact counts, so there all that
are level at the top are `best`.  In a table that compares columns it is the best of a row.
"""

from collections.abc import Iterator, Mapping

from bigain.tables.document import Rank
from bigain.tables.parts import Block, Column, Row
from bigain.tables.planner import NONE, CellKey
from bigain.tables.quantities import QUANTITIES
from bigain.tables.sources import Sources

__all__ = ["LEVEL", "ranks"]

LEVEL = 0.05
"""A p value below this supports an order."""


def ranks(sources: Sources, block: Block, row: Row, column: Column) -> Mapping[CellKey, Rank]:
    """The marked cells among those that compete with this one; {} if fewer than two are known.

    No acceleration does not compete.
    """
    quantity = QUANTITIES[block.metric]
    if not quantity.ranked:
        return {}
    sign = 1 if quantity.better == "lower" else -1
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
    return {firsts[0]: _first(sources, block, firsts[0], seconds)} | dict.fromkeys(
        seconds, "second"
    )


def _rivals(sources: Sources, block: Block, row: Row, column: Column) -> Iterator[CellKey]:
    plan = sources.plan
    if plan.spec.compares_columns:
        rivals = [(row, each) for each in plan.columns_of(block)]
    else:
        rivals = [(each, column) for each in plan.rows]
    return (sources.key(block, *pair) for pair in rivals if pair[0].method != NONE)


def _first(sources: Sources, block: Block, best: CellKey, seconds: list[CellKey]) -> Rank:
    if QUANTITIES[block.metric].work == "flops":
        return "best"
    differences = [sources.difference(best, each, block.metric) for each in seconds]
    sure = all(each is not None and each.p < LEVEL for each in differences)
    return "best" if sure else "leading"
