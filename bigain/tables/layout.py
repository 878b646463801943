"""The lines of a table, block by block, as plain strings: the part that all output formats share.

Every measured number has its number of images n: said once per block if it is the same for all of
the block's numbers, else in every cell.

A block has one column for no acceleration and one per setting.  Every row of the table gives a line
of measured values; below it stand its difference to no acceleration and the paper's values, and at
the end of the block the differences between rows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from bigain.metrics import Metric
from bigain.tables.cells import Measured
from bigain.tables.footnotes import marks_of
from bigain.tables.paper import PaperKey, PaperValues
from bigain.tables.planner import NONE, Plan
from bigain.tables.quantities import QUANTITIES, format_difference, format_metric
from bigain.tables.spec import Block, Delta, PaperBlock, Row

__all__ = ["DASH", "Line", "Sources", "block_lines", "common_n", "is_empty", "paper_lines"]

DASH = "—"
"""Stands where no finished run exists."""


@dataclass(frozen=True)
class Line:
    """One line: `kind` is measured, comparison or paper; `cells` start with no acceleration."""

    kind: str
    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Sources:
    """All that a table is made of."""

    plan: Plan
    measured: Measured
    paper: PaperValues


def is_empty(sources: Sources, block: Block) -> bool:
    """Whether no run has the quantity of the block."""
    return not any(
        cell[0] == block.dataset and _known(metrics.get(block.metric))
        for cell, metrics in sources.measured.runs.items()
    )


def common_n(sources: Sources, block: Block) -> int | None:
    """The number of images behind every number of the block; None if they differ or there are none.

    When they differ, the cells of the block say each its own.
    """
    counts = {metric.n for metric in _numbers(sources, block)}
    return counts.pop() if len(counts) == 1 else None


def block_lines(sources: Sources, block: Block) -> Iterator[Line]:
    """The lines of a measured block, with the paper's values where the block has some beside it."""
    spec, quantity = sources.plan.spec, QUANTITIES[block.metric]
    beside = spec.paper.block(*block.beside) if block.beside else None
    for row in spec.rows_of(sources.plan.grid):
        yield _measured(sources, block, row)
        if quantity.to_none:
            yield _to_none(sources, block, row, quantity.to_none)
        if beside is not None and row.in_paper:
            yield _paper_row(sources, beside, row, f"· paper: {spec.paper.label}, {beside.label}")
    if not quantity.deltas:
        return
    for delta in spec.deltas_of(sources.plan.grid):
        yield _delta(sources, block, delta)
        if beside is not None:
            label = f"· paper: {spec.paper.label}, {beside.label}"
            yield _paper_delta(sources, beside, delta, label)


def paper_lines(sources: Sources, block: PaperBlock) -> Iterator[Line]:
    """The lines of a block of the paper that nothing here is measured against."""
    spec = sources.plan.spec
    for row in spec.rows_of(sources.plan.grid):
        if row.in_paper:
            yield _paper_row(sources, block, row, row.label)
    for delta in spec.deltas_of(sources.plan.grid):
        yield _paper_delta(sources, block, delta, delta.label)


def _measured(sources: Sources, block: Block, row: Row) -> Line:
    quantity, runs = QUANTITIES[block.metric], sources.measured.runs
    write = partial(format_metric, with_n=common_n(sources, block) is None)
    at_none = runs.get((block.dataset, NONE, ""), {}).get(quantity.at_none or block.metric)
    keys = ((block.dataset, row.id, setting) for setting in sources.plan.settings)
    found = (runs.get(key, {}).get(block.metric) for key in keys)
    cells = (_text(metric, partial(write, signed=quantity.signed)) for metric in found)
    return Line("measured", row.label, (_text(at_none, write), *cells))


def _to_none(sources: Sources, block: Block, row: Row, metric: str) -> Line:
    runs = sources.measured.runs
    found = (runs.get((block.dataset, row.id, s), {}).get(metric) for s in sources.plan.settings)
    cells = ("", *_differences(sources, block, found))
    return Line("comparison", "· minus no acceleration", cells)


def _delta(sources: Sources, block: Block, delta: Delta) -> Line:
    known = sources.measured.deltas
    keys = ((block.dataset, delta.row, delta.versus, s) for s in sources.plan.settings)
    found = (known.get(key, {}).get(block.metric) for key in keys)
    return Line("measured", delta.label, ("", *_differences(sources, block, found)))


def _differences(sources: Sources, block: Block, found: Iterable[Metric | None]) -> Iterator[str]:
    write = partial(format_difference, with_n=common_n(sources, block) is None)
    return (_text(metric, write) for metric in found)


def _numbers(sources: Sources, block: Block) -> Iterator[Metric]:
    """All that is measured and printed in a block."""
    quantity, measured = QUANTITIES[block.metric], sources.measured
    names = {block.metric, quantity.to_none, quantity.at_none}
    runs = [metrics for key, metrics in measured.runs.items() if key[0] == block.dataset]
    deltas = [metrics for key, metrics in measured.deltas.items() if key[0] == block.dataset]
    for metrics in runs:
        yield from (m for name, m in metrics.items() if name in names and _known(m))
    if quantity.deltas:
        yield from (m[block.metric] for m in deltas if _known(m.get(block.metric)))


def _paper_row(sources: Sources, block: PaperBlock, row: Row, label: str) -> Line:
    none = _paper(sources, block, NONE, "", block.metric)
    cells = (_paper(sources, block, row.method, s, block.metric) for s in sources.plan.settings)
    return Line("paper", label, (none, *cells))


def _paper_delta(sources: Sources, block: PaperBlock, delta: Delta, label: str) -> Line:
    rows = {row.id: row.method for row in sources.plan.spec.rows}
    method, rival, metric = rows[delta.row], rows[delta.versus], f"delta_{block.metric}"
    settings = (f"{setting};vs={rival}" for setting in sources.plan.settings)
    cells = (_paper(sources, block, method, setting, metric) for setting in settings)
    return Line("paper", label, ("", *cells))


def _paper(sources: Sources, block: PaperBlock, method: str, setting: str, metric: str) -> str:
    spec = sources.plan.spec
    place = (spec.paper.backbone, block.dataset, spec.task)
    value = sources.paper.get(PaperKey(spec.number, *place, method, setting, metric))
    if value is None:
        return ""
    is_delta = metric.startswith("delta_") and not value.text.startswith("-")
    text = f"+{value.text}" if is_delta else value.text or "lost"
    mark = marks_of(spec.footnotes, (block.dataset, method, metric, setting))
    return f"{text} {mark}".rstrip().replace("-", "−")


def _text(metric: Metric | None, write: Callable[[Metric], str]) -> str:
    return write(metric) if metric is not None and _known(metric) else DASH


def _known(metric: Metric | None) -> bool:
    return metric is not None and metric.n > 0
