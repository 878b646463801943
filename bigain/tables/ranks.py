"""Which cell of a column is the best, and whether a paired test says so.

`best` needs a paired difference to the second with p < 0.05, or an exact count; without one the
best by value is only `leading`.
"""

from collections.abc import Mapping

from bigain.tables.document import Rank
from bigain.tables.parts import Block, Column
from bigain.tables.planner import NONE, CellKey
from bigain.tables.quantities import QUANTITIES
from bigain.tables.sources import Sources

__all__ = ["LEVEL", "ranks"]

LEVEL = 0.05
"""A p value below this supports an order."""


def ranks(sources: Sources, block: Block, column: Column) -> Mapping[CellKey, Rank]:
    """The marked cells of a column, no acceleration left out; {} if fewer than two are known."""
    quantity, name = QUANTITIES[block.metric], block.metric
    if not (quantity.deltas or quantity.work in ("flops", "time")):
        return {}
    sign = 1 if quantity.better == "lower" else -1
    known = []
    for position, row in enumerate(sources.plan.rows):
        cell = sources.key(block, row, column)
        metric = sources.metric(cell, name) if row.method != NONE else None
        if metric is not None:
            known.append((sign * metric.value, position, cell))
    if len(known) < 2:
        return {}
    (first, _, best), (second, _, next_best), *_ = sorted(known)
    if first == second:
        return {best: "leading", next_best: "leading"}
    return {best: _first(sources, block, best, next_best), next_best: "second"}


def _first(sources: Sources, block: Block, best: CellKey, second: CellKey) -> Rank:
    if QUANTITIES[block.metric].work == "flops":
        return "best"
    difference = sources.difference(best, second, block.metric)
    return "best" if difference is not None and difference.p < LEVEL else "leading"
