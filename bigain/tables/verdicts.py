"""What the measured data say of the paper's orderings: supported, contradicted or left open.

An ordering is which of two values as printed is the better one, for each two that the table names.
It is supported where that one is better in the measured difference too, paired over images, with
p < 0.05; contradicted where it is worse with p < 0.05; open else.

The noise error is ours, not the paper's.  Whether it puts the two in the same order is told apart,
and proves nothing about the paper's quantity.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bigain.tables.differences import Difference
from bigain.tables.document import Cell, Line, Panel
from bigain.tables.panels import block_title
from bigain.tables.parts import Block, Column, Row
from bigain.tables.quantities import QUANTITIES, format_difference
from bigain.tables.ranks import LEVEL
from bigain.tables.sources import Sources

__all__ = ["Ordering", "orderings", "verdict_panels"]


@dataclass(frozen=True)
class Ordering:
    """One comparison that the paper makes.

    Attributes:
        label: What is compared, where.
        paper: First minus second, as printed, with the paper's sign of better.
        paper_says: Whether the first is the better one; None if both are level.
        difference: Measured; None if a run is missing.
        verdict: `supported`, `contradicted`, `open`, or empty without a measurement.
        is_ours: Whether what was measured is another quantity than the paper's.

    """

    label: str
    paper: float
    paper_says: bool | None
    difference: Difference | None
    verdict: str
    is_ours: bool


def orderings(sources: Sources) -> list[Ordering]:
    """All that the table's comparisons and the paper's values give."""
    profile = sources.plan.spec.profile(sources.plan.profile)
    blocks = [b for b in profile.blocks if QUANTITIES[b.metric].deltas and (b.beside or b.orders)]
    return [ordering for block in blocks for ordering in _of_block(sources, block)]


def verdict_panels(sources: Sources) -> list[Panel]:
    """The orderings that were measured, and how many were not; none if the table has none."""
    found = orderings(sources)
    papers = [ordering for ordering in found if not ordering.is_ours]
    ours = [ordering for ordering in found if ordering.is_ours]
    return [
        *([_panel("The paper's orderings", "paper", _PAPERS, papers)] if papers else []),
        *(
            [_panel("The same orderings in the noise error", _ACCURACY, _OURS, ours)]
            if ours
            else []
        ),
    ]


_TESTS = (
    f"Supported: what the paper has ahead is ahead here with p < {LEVEL}; contradicted: it is "
    f"behind with p < {LEVEL}; open: neither. That is of the order alone, whatever the size of the "
    "two differences. No correction for the number of comparisons."
)
_PAPERS = (
    f"{_TESTS} Of distances less is better. Exact McNemar test for accuracy, bootstrap for mAP, t "
    "test over samples for the Frechet distance. The paper prints no uncertainty: unpaired, its "
    "own accuracies have standard errors of 0.6 to 1.1 points."
)
_ACCURACY = "paper, of accuracy"
_OURS = (
    "The rise of the noise error is no quantity of the paper, and less of it is better. That it "
    f"has the order of the paper's accuracies, or not, says nothing of accuracy itself. {_TESTS} "
    "T test over images."
)


def _panel(title: str, paper: str, caption: str, found: list[Ordering]) -> Panel:
    measured = [ordering for ordering in found if ordering.difference is not None]
    verdicts = [ordering.verdict for ordering in measured]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("supported", "contradicted", "open"))
    head = (
        f"Orderings of the paper that this table compares: {len(found)}, of them {counts}, "
        f"{len(found) - len(measured)} not run."
    )
    columns = (paper, "measured", "p", "verdict")
    return Panel(title, f"{head} {caption}", columns, tuple(map(_line, measured)))


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
    sources: Sources, block: Block, where: str, a: tuple[Row, Column], b: tuple[Row, Column]
) -> Iterator[Ordering]:
    beside = sources.plan.spec.paper.block(*(block.orders or block.beside or ("", "")))
    values = [sources.printed(beside, row, column) for row, column in (a, b)]
    first, second = (value.number if value else None for value in values)
    if first is None or second is None:
        return
    better = QUANTITIES["fid" if beside.metric == "fid" else "acc1"].better
    says = None if first == second else (first > second) == (better == "higher")
    one, other = (sources.key(block, row, column) for row, column in (a, b))
    difference = sources.difference(one, other, block.metric)
    verdict = _verdict(says, difference, QUANTITIES[block.metric].better)
    label = f"{where}: {block_title(sources, block)}"
    is_ours = block.orders is not None
    yield Ordering(label, first - second, says, difference, verdict, is_ours)


def _verdict(says: bool | None, difference: Difference | None, better: str) -> str:
    if difference is None:
        return ""
    if math.isnan(difference.p) or difference.p >= LEVEL or says is None:
        return "open"
    measured = (difference.metric.value > 0) == (better == "higher")
    return "supported" if measured == says else "contradicted"


def _line(ordering: Ordering) -> Line:
    difference = ordering.difference
    assert difference is not None, "only measured orderings are printed"
    paper = f"{ordering.paper:+.2f}".replace("-", "−")
    p = "" if math.isnan(difference.p) else f"{difference.p:.2g}"
    texts = (paper, format_difference(difference.metric), p, ordering.verdict)
    return Line("measured", ordering.label, tuple(map(Cell, texts)))
