"""The rectangles of a table: a block each (`stacked`), or a column for every block (`beside`).

Every row gives a line of measured values; below it stand its difference to no acceleration, the
paper's values and the difference to them, and at the end of a block the differences between rows.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bigain.config.paper import PaperValue
from bigain.metrics import Metric
from bigain.tables.document import DASH, Cell, Line, Panel
from bigain.tables.parts import Block, Column, PaperBlock, Row
from bigain.tables.planner import NONE
from bigain.tables.quantities import QUANTITIES, format_difference, format_metric
from bigain.tables.ranks import ranks
from bigain.tables.sources import Sources, paper_cell

__all__ = ["beside_panel", "block_title", "common_n", "is_empty", "paper_panel", "stacked_panel"]

_NONE = Row(id=NONE, method=NONE, label="no acceleration")
Write = Callable[[Metric], str]
Make = Callable[[Block, Column], Cell]


def is_empty(sources: Sources, block: Block) -> bool:
    """Whether no run has the quantity of the block."""
    cells = (cell for cell in sources.measured.runs if cell.place == sources.plan.place(block))
    return all(sources.metric(cell, block.metric) is None for cell in cells)


def common_n(sources: Sources, block: Block) -> int | None:
    """The number of images behind every number of the block; None if they differ or there are none.

    When they differ, the cells of the block say each its own.
    """
    counts = set(sources.counts(block))
    return counts.pop() if len(counts) == 1 else None


def block_title(sources: Sources, block: Block) -> str:
    """Quantity and place."""
    return f"{QUANTITIES[block.metric].title}: {_place(sources, block)}"


def stacked_panel(sources: Sources, block: Block) -> Panel:
    """A block as a rectangle: a column for no acceleration, and one for every setting."""
    quantity, plan = QUANTITIES[block.metric], sources.plan
    columns = plan.columns_of(block)
    heads = [(block, column) for column in columns]
    lines: list[Line] = []
    for row in plan.rows:
        lines += _row(sources, heads, row, with_none=_has_none_column(sources))
    lines += _deltas(sources, block, columns) if quantity.deltas else []
    labels = tuple(column.label or "value" for column in columns)
    labels = ("no acceleration", *labels) if _has_none_column(sources) else labels
    caption = f"{quantity.caption} Better: {quantity.better}."
    if quantity.at_none and _has_none_column(sources):
        caption += f" The column of no acceleration holds {quantity.title_at_none}."
    return Panel(block_title(sources, block), caption, labels, tuple(lines), _count(sources, block))


def beside_panel(sources: Sources, blocks: Sequence[Block]) -> Panel:
    """All blocks as the columns of one rectangle."""
    heads = [(b, column) for b in blocks for column in sources.plan.columns_of(b)]
    lines = [
        line for row in sources.plan.rows for line in _row(sources, heads, row, with_none=False)
    ]
    captions = dict.fromkeys(
        f"{QUANTITIES[b.metric].title}: {_uncapitalised(QUANTITIES[b.metric].caption)} "
        f"Better: {QUANTITIES[b.metric].better}."
        for b in blocks
    )
    labels = (" ".join(filter(None, (_head(b), column.label))) for b, column in heads)
    counts = dict.fromkeys(
        f"{QUANTITIES[b.metric].title}: {count}" for b in blocks if (count := _count(sources, b))
    )
    title = "Measured, and the paper's values"
    return Panel(title, " ".join(captions), tuple(labels), tuple(lines), " ".join(counts))


def paper_panel(sources: Sources, block: PaperBlock) -> Panel:
    """A block of the paper that nothing here is measured against."""
    columns = _columns_of_paper(sources, block)
    with_none = _has_none_column(sources)
    lines = []
    for row in sources.plan.rows:
        if row.in_paper:
            cells = [sources.printed(block, row, column) for column in columns]
            none = [sources.printed(block, _NONE, columns[0])] if with_none else []
            marks = [sources.marks(block, row, column) for column in columns]
            marks = [sources.marks(block, _NONE, columns[0]), *marks] if with_none else marks
            pairs = zip([*none, *cells], marks, strict=True)
            lines.append(Line("paper", row.label, tuple(paper_cell(v, m) for v, m in pairs)))
    lines += [line for line in _paper_deltas(sources, block, columns) if _says_something(line)]
    labels = tuple(column.label or "value" for column in columns)
    labels = ("no acceleration", *labels) if with_none else labels
    paper = sources.plan.spec.paper
    lines = [line for line in lines if _says_something(line)]
    return Panel(f"Only in the paper: {paper.label}, {block.label}", "", labels, tuple(lines))


def _row(
    sources: Sources, heads: Sequence[tuple[Block, Column]], row: Row, *, with_none: bool
) -> Iterator[Line]:
    """The lines of a row; with a column of no acceleration its cells come first."""
    blocks = list(dict.fromkeys(block.metric for block, _ in heads))
    first = heads[0][0]
    if row.run:
        cells = tuple(_measured(sources, block, row, column) for block, column in heads)
        none = (_at_none(sources, first),) if with_none else ()
        yield Line("measured", row.label, (*none, *cells))
        if any(QUANTITIES[name].to_none for name in blocks) and row.method != NONE:
            compared = tuple(_to_none(sources, block, row, column) for block, column in heads)
            if with_none or any(cell.text not in ("", DASH) for cell in compared):
                yield _line("comparison", "· minus no acceleration", compared, with_none)
    if not row.in_paper or not any(block.beside for block, _ in heads):
        return
    own = row if row.run else row.model_copy(update={"label": f"{row.label}, reported, not run"})
    printed = tuple(_printed(sources, block, row, column) for block, column in heads)
    none = (_printed(sources, first, _NONE, heads[0][1]),) if with_none else ()
    label = f"· paper: {_paper_label(sources, heads)}" if row.run else own.label
    if any(cell.text for cell in (*none, *printed)):
        yield Line("paper", label, (*none, *printed))
    apart = tuple(_apart(sources, block, row, column) for block, column in heads)
    if row.run and any(cell.text for cell in apart):
        none = (_apart(sources, first, _NONE, heads[0][1]),) if with_none else ()
        yield Line("comparison", _apart_label(sources, heads), (*none, *apart))


def _measured(sources: Sources, block: Block, row: Row, column: Column) -> Cell:
    quantity = QUANTITIES[block.metric]
    cell = sources.key(block, row, column)
    name = block.metric
    if row.method == NONE and quantity.needs_none:
        return Cell()
    metric = sources.metric(cell, name)
    write = partial(format_metric, signed=quantity.signed)
    rank = ranks(sources, block, row, column).get(cell, "")
    if metric is None and row.method == NONE and name in _AGAINST_NONE:
        return Cell()
    return Cell(_text(sources, block, metric, write), rank=rank)


_AGAINST_NONE = ("flops_saved_percent", "speedup", "acceleration_percent")
"""What a run without an operator does not have."""


def _at_none(sources: Sources, block: Block) -> Cell:
    name = QUANTITIES[block.metric].at_none or block.metric
    cell = sources.plan.baseline(sources.plan.place(block), "")
    return Cell(_text(sources, block, sources.metric(cell, name), format_metric))


def _to_none(sources: Sources, block: Block, row: Row, column: Column) -> Cell:
    name = QUANTITIES[block.metric].to_none
    if name is None:
        return Cell()
    metric = sources.metric(sources.key(block, row, column), name)
    return Cell(_text(sources, block, metric, format_difference))


def _printed(sources: Sources, block: Block, row: Row, column: Column) -> Cell:
    if block.beside is None:
        return Cell()
    beside = sources.plan.spec.paper.block(*block.beside)
    value = sources.printed(beside, row, column, block)
    return paper_cell(value, sources.marks(beside, row, column))


def _apart_label(sources: Sources, heads: Sequence[tuple[Block, Column]]) -> str:
    """Says where the two numbers are not of the same model and data."""
    own = [sources.plan.profile == "paper" or block.backbone is not None for block, _ in heads]
    if all(own):
        return "· measured minus paper"
    return f"· measured minus paper, {'FLOPs alone of its model' if any(own) else 'other data'}"


def _apart(sources: Sources, block: Block, row: Row, column: Column) -> Cell:
    """Measured minus printed, of one and the same quantity."""
    if block.beside is None or block.metric == "frechet_mini":
        return Cell()
    beside = sources.plan.spec.paper.block(*block.beside)
    value = sources.printed(beside, row, column, block)
    metric = sources.metric(sources.key(block, row, column), block.metric)
    if value is None or value.number is None or metric is None:
        return Cell()
    unit = "percent" if metric.unit == "percent" or block.metric == "flops_g" else metric.unit
    nan = math.nan
    away = Metric(metric.metric, metric.value - value.number, metric.n, nan, nan, unit)
    return Cell(format_difference(away))


def _deltas(sources: Sources, block: Block, columns: Sequence[Column]) -> Iterator[Line]:
    rows = {row.id: row for row in sources.plan.rows}
    with_none = _has_none_column(sources)
    for delta in sources.plan.spec.deltas_of(sources.plan.grid):
        if delta.row is None or delta.versus is None:
            continue
        row, versus = rows[delta.row], rows[delta.versus]
        cells = []
        for column in columns:
            first, second = (sources.key(block, each, column) for each in (row, versus))
            found = sources.difference(first, second, block.metric)
            metric = found.metric if found else None
            cells.append(Cell(_text(sources, block, metric, format_difference)))
        yield _line("measured", delta.label, tuple(cells), with_none)
        if block.beside is not None:
            beside = sources.plan.spec.paper.block(*block.beside)
            label = f"· paper: {_paper_label(sources, [(block, columns[0])])}"
            cells = [_paper_delta(sources, beside, row, versus, column) for column in columns]
            if any(cell.text for cell in cells):
                yield _line("paper", label, tuple(cells), with_none)


def _paper_deltas(sources: Sources, block: PaperBlock, columns: Sequence[Column]) -> Iterator[Line]:
    rows = {row.id: row for row in sources.plan.rows}
    for delta in sources.plan.spec.deltas_of(sources.plan.grid):
        if delta.row is not None and delta.versus is not None:
            pair = rows[delta.row], rows[delta.versus]
            cells = tuple(_paper_delta(sources, block, *pair, column) for column in columns)
            yield _line("paper", delta.label, cells, _has_none_column(sources))


def _paper_delta(
    sources: Sources, block: PaperBlock, row: Row, versus: Row, column: Column
) -> Cell:
    """As printed, but always row minus rival: the paper prints FID the other way round."""
    value = sources.printed_delta(block, row, versus, column)
    marks = sources.marks(block, row, column, versus.method)
    if value is None or value.number is None:
        return paper_cell(value, marks)
    number = -value.number if block.metric == "fid" else value.number
    digits = value.text.lstrip("+-")
    sign = "" if number == 0 else "-" if number < 0 else "+"
    return paper_cell(PaperValue(digits, value.status, value.note, value.task), marks, sign)


def _columns_of_paper(sources: Sources, block: PaperBlock) -> list[Column]:
    rows = [row for row in sources.plan.rows if row.in_paper and row.method != NONE]
    found = [
        column
        for column in sources.plan.columns
        if any(sources.printed(block, row, column) for row in rows)
    ]
    return found or list(sources.plan.columns[:1])


def _line(kind: str, label: str, cells: tuple[Cell, ...], with_none: bool) -> Line:
    """A line that says nothing of no acceleration."""
    return Line(kind, label, (Cell(), *cells) if with_none else cells)  # type: ignore[arg-type]


def _text(sources: Sources, block: Block, metric: Metric | None, write: Callable[..., str]) -> str:
    if metric is None:
        return DASH
    return write(metric, with_n=common_n(sources, block) is None)


def _count(sources: Sources, block: Block) -> str:
    n, work = common_n(sources, block), QUANTITIES[block.metric].work
    if n is None or work == "flops":
        return ""
    what = "repeats" if work == "time" else "images"
    return f"n = {n} {what} behind every measured number."


def _has_none_column(sources: Sources) -> bool:
    return sources.plan.spec.no_acceleration == "column"


def _place(sources: Sources, block: Block) -> str:
    profile = sources.plan.spec.profile(sources.plan.profile)
    if block.label is not None:
        return block.label
    dataset = profile.datasets.get(block.dataset)
    return profile.label if dataset is None else f"{profile.label}, {dataset.label}"


def _head(block: Block) -> str:
    own = f" ({block.label})" if block.label else ""
    return f"{QUANTITIES[block.metric].title}{own}"


def _paper_label(sources: Sources, heads: Sequence[tuple[Block, Column]]) -> str:
    paper = sources.plan.spec.paper
    names = dict.fromkeys(
        paper.block(*block.beside).label for block, _ in heads if block.beside is not None
    )
    return paper.label if len(names) > 1 else f"{paper.label}, {next(iter(names))}"


def _says_something(line: Line) -> bool:
    return any(cell.text for cell in line.cells)


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]
