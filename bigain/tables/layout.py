"""The lines of a table, block by block, as plain strings: the part that all output formats share.

A block has one column for no acceleration and one per setting.  Every row of the table gives a line
of measured values; below it stand its difference to no acceleration and the paper's values, and at
the end of the block the differences between rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bigain.metrics import Metric
from bigain.tables.cells import Measured
from bigain.tables.footnotes import marks_of
from bigain.tables.paper import PaperKey, PaperValues
from bigain.tables.planner import NONE, Plan
from bigain.tables.quantities import QUANTITIES, format_difference, format_metric
from bigain.tables.spec import Block, Delta, PaperBlock, Row

__all__ = ["DASH", "Line", "Sources", "block_lines", "is_empty", "paper_lines"]

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
    if block.metric not in ("acc1", "eps_error_rise", "map_image"):
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
    with_n = block.metric == "acc1"
    at_none = runs.get((block.dataset, NONE, ""), {}).get(quantity.at_none or block.metric)

    def shown(setting: str) -> str:
        metric = runs.get((block.dataset, row.id, setting), {}).get(block.metric)
        return _text(metric, lambda m: format_metric(m, signed=quantity.signed, with_n=with_n))

    none = _text(at_none, lambda metric: format_metric(metric, with_n=with_n))
    return Line("measured", row.label, (none, *map(shown, sources.plan.settings)))


def _to_none(sources: Sources, block: Block, row: Row, metric: str) -> Line:
    runs = sources.measured.runs
    found = (runs.get((block.dataset, row.id, s), {}).get(metric) for s in sources.plan.settings)
    cells = ("", *(_text(each, format_difference) for each in found))
    return Line("comparison", "· minus no acceleration", cells)


def _delta(sources: Sources, block: Block, delta: Delta) -> Line:
    known = sources.measured.deltas
    keys = ((block.dataset, delta.row, delta.versus, s) for s in sources.plan.settings)
    found = (known.get(key, {}).get(block.metric) for key in keys)
    return Line("measured", delta.label, ("", *(_text(m, format_difference) for m in found)))


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
