"""Which cells of a block are the best, and which the second best.

`best` needs a paired difference to every second best with p < 0.05 after Holm's correction over the
comparisons of the best with the second in the whole block.  Where such a comparison is one of the
paper's orderings, its p value in the family of all tables must be below 0.05 too, so a mark never
says more than a verdict.  Otherwise the best by value is only `leading`, and so are ties at the
top.  FLOPs are exact counts: there ties at the top are `best`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bigain.metrics import holm
from bigain.tables.document import Rank
from bigain.tables.planner import NONE, CellKey
from bigain.tables.quantities import QUANTITIES
from bigain.tables.sources import Sources
from bigain.tables.spec import Block

__all__ = ["LEVEL", "ranks"]

LEVEL = 0.05
"""A corrected p value below this supports an order."""


@dataclass(frozen=True)
class _Group:
    """Cells that compete: those at the top, and those behind them by value."""

    firsts: tuple[CellKey, ...]
    seconds: tuple[CellKey, ...]

    @property
    def pairs(self) -> list[tuple[CellKey, CellKey]]:
        """The comparisons that the mark of a single best needs."""
        return [(self.firsts[0], each) for each in self.seconds] if len(self.firsts) == 1 else []


def ranks(sources: Sources, block: Block) -> Mapping[CellKey, Rank]:
    """The marked cells of a block; where fewer than two compete and are known, none.

    The baseline does not compete.
    """
    quantity = QUANTITIES[block.metric]
    if not quantity.ranked:
        return {}
    groups = [
        group for cells in _rivals(sources, block) if (group := _ordered(sources, block, cells))
    ]
    pairs = [pair for group in groups for pair in group.pairs]
    sure = {
        pair for pair, p in zip(pairs, _corrected(sources, block, pairs), strict=True) if p < LEVEL
    }
    marks: dict[CellKey, Rank] = {}
    for group in groups:
        is_sure = quantity.work == "flops" or (bool(group.pairs) and sure.issuperset(group.pairs))
        marks |= dict.fromkeys(group.firsts, "best" if is_sure else "leading")
        if len(group.firsts) == 1:
            marks |= dict.fromkeys(group.seconds, "second")
    return marks


def _rivals(sources: Sources, block: Block) -> Iterator[list[CellKey]]:
    """The cells of each column, or of each row where the table compares columns."""
    plan = sources.plan
    rows = [row for row in plan.rows if row.method != NONE]
    columns = plan.columns_of(block)
    if plan.spec.compares_columns:
        yield from ([sources.key(block, row, column) for column in columns] for row in rows)
    else:
        yield from ([sources.key(block, row, column) for row in rows] for column in columns)


def _ordered(sources: Sources, block: Block, cells: list[CellKey]) -> _Group | None:
    sign = 1 if QUANTITIES[block.metric].lower_is_better else -1
    found = {
        cell: sign * metric.value
        for cell in cells
        if (metric := sources.metric(cell, block.metric)) is not None
    }
    if len(found) < 2:
        return None
    top, *others = sorted(set(found.values()))
    behind = others[:1]
    firsts = tuple(cell for cell, value in found.items() if value == top)
    return _Group(firsts, tuple(cell for cell, value in found.items() if value in behind))


def _corrected(sources: Sources, block: Block, pairs: list[tuple[CellKey, CellKey]]) -> list[float]:
    """The p values of a block; NaN where nothing pairs two cells."""
    name = block.metric
    found = [sources.difference(*pair, name) for pair in pairs]
    own = holm([math.nan if each is None else each.p for each in found])
    return [
        max(p, sources.adjusted(*pair, name)) if each is not None else p
        for pair, each, p in zip(pairs, found, own, strict=True)
    ]
