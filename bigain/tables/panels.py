"""The rectangles of a table: one for each block (`stacked`), or a column for each (`beside`).

In a table of matched settings (`matched`) each backbone and column of the specification has one.

Every row gives a line of measured values.  Below it stand its difference to the baseline, the
paper's values and, where both are of the same model and data, the difference to them.  The
differences between rows end a rectangle.  Rows without any run share one line.  What only the
paper has (blocks without a measurement, and its differences) follows in blocks of its own.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bigain.config.paper import PaperValue
from bigain.metrics import Metric
from bigain.tables.document import DASH, Cell, Kind, Line, Panel
from bigain.tables.planner import BASELINE, NONE
from bigain.tables.quantities import QUANTITIES, format_difference, format_metric
from bigain.tables.ranks import ranks
from bigain.tables.sources import Sources, paper_cell
from bigain.tables.spec import Block, Column, PaperBlock, Row

__all__ = ["line_after_baseline", "number_panels", "paper_delta", "paper_panel"]

_AGAINST_NONE = ("flops_saved_percent", "speedup", "acceleration_percent")
"""What a run without an operator does not have."""

_EMPTY = Cell()

Head = tuple[Block, Column]
"""What a column of a rectangle holds."""


def number_panels(sources: Sources) -> Iterator[Panel]:
    """The panels of a table: what was measured, then what only the paper has."""
    spec = sources.plan.spec
    if spec.layout == "beside":
        heads = tuple((b, column) for b in sources.blocks for column in sources.plan.columns_of(b))
        yield _beside(sources, heads, "Measured, and the paper's values")
    elif spec.layout == "matched":
        yield from _matched(sources)
    else:
        yield from (_stacked(sources, block) for block in sources.blocks)
    beside = {block.beside for block in spec.profile(sources.plan.profile).blocks}
    for block in spec.paper.blocks:
        if (block.dataset, block.metric) not in beside:
            panel = paper_panel(sources, block)
            if panel.lines:
                yield panel


def _stacked(sources: Sources, block: Block) -> Panel:
    """A block as a rectangle: a column for the baseline, and one for every setting."""
    quantity, columns = QUANTITIES[block.metric], sources.plan.columns_of(block)
    rectangle = _Rectangle(
        sources, tuple((block, column) for column in columns), sources.has_baseline_column
    )
    lines, folded = rectangle.lines()
    lines += _deltas(sources, rectangle.heads)
    labels = tuple(column.label or "value" for column in columns)
    caption = _count(sources, block)
    if quantity.at_none and rectangle.has_baseline:
        caption += f" The baseline column holds {quantity.title_at_none}."
    return Panel(
        title=f"{quantity.head}: {sources.place_name(block)}",
        columns=("baseline", *labels) if rectangle.has_baseline else labels,
        lines=tuple(lines),
        caption=caption.strip(),
        remark=_not_run(sources, folded),
        explanation=quantity.explanation,
    )


def _matched(sources: Sources) -> Iterator[Panel]:
    """For each backbone and column all blocks beside each other, with the rows that are there."""
    placed = [(block, sources.plan.place(block).backbone) for block in sources.blocks]
    for backbone in dict.fromkeys(name for _, name in placed):
        for column in sources.plan.columns:
            heads = tuple(
                (block, column.model_copy(update={"label": ""}))
                for block, name in placed
                if name == backbone and column in sources.plan.columns_of(block)
            )
            yield _beside(sources, heads, f"`{backbone}`: {column.label}")


def _beside(sources: Sources, heads: tuple[Head, ...], title: str) -> Panel:
    """The blocks of `heads` as the columns of one rectangle."""
    blocks: list[Block] = []
    blocks += (block for block, _ in heads if block not in blocks)
    lines, folded = _Rectangle(sources, heads, has_baseline=False).lines()
    lines += _deltas(sources, heads)
    counts: dict[str, list[str]] = {}
    for block in blocks:
        if count := _count(sources, block):
            counts.setdefault(count, []).append(QUANTITIES[block.metric].name)
    several = len(counts) > 1
    explained = dict.fromkeys(
        f"{QUANTITIES[b.metric].title}: {QUANTITIES[b.metric].explanation}" for b in blocks
    )
    return Panel(
        title=title,
        columns=tuple(
            " ".join(filter(None, (_head(block), column.label))) for block, column in heads
        ),
        lines=tuple(lines),
        caption=" ".join(
            f"{', '.join(names).capitalize()}: {count}" if several else count
            for count, names in counts.items()
        ),
        remark=_not_run(sources, folded),
        explanation=" ".join(explained),
    )


@dataclass(frozen=True)
class _Rectangle:
    """The rows of one panel; with a column of the baseline its cells come first."""

    sources: Sources
    heads: tuple[Head, ...]
    has_baseline: bool

    def lines(self) -> tuple[list[Line], list[Row]]:
        """All lines of the rows, and the rows without any run."""
        lines: list[Line] = []
        folded = []
        for row in filter(self._has, self.sources.plan.rows):
            measured = self._cells(_measured, row)
            texts = {cell.text for cell in measured} - {""}
            if not row.run:
                lines += self._paper(row, f"{row.label}, reported, not run")
            elif texts - {DASH}:
                lines += self._row(row, measured)
            else:
                folded += [row] if texts else []
                lines += self._paper(row, f"{row.label}, paper: {self._paper_name}")
        if folded:
            lines.insert(self._place_of_folded(lines), self._folded(folded))
        return lines, folded

    def _has(self, row: Row) -> bool:
        """Whether the row has a cell here; rows of the paper and of one setting always do."""
        cells = (self.sources.key(block, row, column) for block, column in self.heads)
        return row.levels is None or any(cell in self.sources.plan.runs for cell in cells)

    def _label(self, row: Row) -> str:
        """Its name, with the settings that it has only here."""
        (block, column), *_ = self.heads
        here = row.settings(self.sources.plan.place(block).backbone, column.id)
        return ", ".join((row.label, *filter(None, here.replace("=", " ").split(";"))))

    def _folded(self, rows: Sequence[Row]) -> Line:
        label = f"not run: {len(rows)} row{'s' * (len(rows) > 1)}"
        baseline = _at_baseline(self.sources, self.heads[0][0])
        return self._line("measured", label, self._cells(_measured, rows[0]), baseline)

    def _place_of_folded(self, lines: Sequence[Line]) -> int:
        """After the last measured row with its remarks; the paper's lines of the others follow."""
        ends = [n for n, line in enumerate(lines, 1) if line.label.startswith("·")]
        ends += [n for n, line in enumerate(lines, 1) if line.kind == "measured"]
        return max(ends, default=0)

    def _row(self, row: Row, measured: tuple[Cell, ...]) -> Iterator[Line]:
        baseline = _at_baseline(self.sources, self.heads[0][0])
        yield self._line("measured", self._label(row), measured, baseline)
        if row.method != NONE:
            compared = self._cells(_to_baseline, row)
            if any(cell.text not in ("", DASH) for cell in compared):
                yield self._line("comparison", "· minus the baseline", compared)
        yield from self._paper(row, f"· paper: {self._paper_name}")
        apart = self._cells(_apart, row)
        if any(cell.text for cell in apart):
            own = _apart(self.sources, *self.heads[0], BASELINE)
            yield self._line("comparison", "· measured minus paper", apart, own)

    def _paper(self, row: Row, label: str) -> Iterator[Line]:
        if row.in_paper:
            line = self._line(
                "paper",
                label,
                self._cells(_printed, row),
                _printed(self.sources, *self.heads[0], BASELINE),
            )
            if line.says_something:
                yield line

    def _cells(
        self, make: Callable[[Sources, Block, Column, Row], Cell], row: Row
    ) -> tuple[Cell, ...]:
        return tuple(make(self.sources, block, column, row) for block, column in self.heads)

    def _line(
        self, kind: Kind, label: str, cells: tuple[Cell, ...], baseline: Cell = _EMPTY
    ) -> Line:
        return Line(kind, label, (baseline, *cells) if self.has_baseline else cells)

    @property
    def _paper_name(self) -> str:
        return _paper_name(self.sources, [block for block, _ in self.heads])


def _measured(sources: Sources, block: Block, column: Column, row: Row) -> Cell:
    quantity, cell = QUANTITIES[block.metric], sources.key(block, row, column)
    if cell not in sources.plan.runs:
        return _EMPTY
    metric = sources.metric(cell, block.metric)
    is_own = quantity.needs_none or (metric is None and block.metric in _AGAINST_NONE)
    if row.method == NONE and is_own:
        return Cell()
    write = partial(format_metric, signed=quantity.signed)
    rank = ranks(sources, block).get(cell, "")
    return Cell(_text(sources, block, metric, write), rank=rank)


def _at_baseline(sources: Sources, block: Block) -> Cell:
    quantity = QUANTITIES[block.metric]
    if quantity.needs_none and not quantity.at_none:
        return _EMPTY
    name = quantity.at_none or block.metric
    cell = sources.plan.baseline(sources.plan.place(block), "")
    return Cell(_text(sources, block, sources.metric(cell, name), format_metric))


def _to_baseline(sources: Sources, block: Block, column: Column, row: Row) -> Cell:
    name, cell = QUANTITIES[block.metric].to_none, sources.key(block, row, column)
    if name is None or cell not in sources.plan.runs:
        return _EMPTY
    metric = sources.metric(cell, name)
    return Cell(_text(sources, block, metric, format_difference))


def _printed(sources: Sources, block: Block, column: Column, row: Row) -> Cell:
    if block.beside is None:
        return Cell()
    beside = sources.plan.spec.paper.block(*block.beside)
    value = sources.printed(beside, row, column, block)
    return paper_cell(value, sources.marks(beside, row, column))


def _apart(sources: Sources, block: Block, column: Column, row: Row) -> Cell:
    """Measured minus printed, where both are of one quantity, model and dataset."""
    same = sources.plan.profile == "paper" or block.backbone is not None
    if block.beside is None or not same:
        return Cell()
    beside = sources.plan.spec.paper.block(*block.beside)
    value = sources.printed(beside, row, column, block)
    metric = sources.metric(sources.key(block, row, column), block.metric)
    if value is None or value.number is None or metric is None:
        return Cell()
    unit = "percent" if metric.unit == "percent" or block.metric == "flops_g" else metric.unit
    away = metric.value - value.number
    return Cell(format_difference(Metric(metric.metric, away, metric.n, math.nan, math.nan, unit)))


def _deltas(sources: Sources, heads: Sequence[Head]) -> Iterator[Line]:
    """The differences between rows, and the paper's below them."""
    papers = [
        sources.plan.spec.paper.block(*block.beside)
        if block.beside and QUANTITIES[block.metric].deltas
        else None
        for block, _ in heads
    ]
    below = f"paper: {_paper_name(sources, [block for block, _ in heads])}"
    for label, row, versus in sources.pairs_of_rows():
        cells = tuple(_delta(sources, *head, row, versus) for head in heads)
        is_known = any(cell.text not in ("", DASH) for cell in cells)
        if is_known:
            yield line_after_baseline(sources, "measured", label, cells)
        printed = tuple(
            paper_delta(sources, paper, row, versus, column) if paper else _EMPTY
            for paper, (_, column) in zip(papers, heads, strict=True)
        )
        line = line_after_baseline(
            sources, "paper", f"· {below}" if is_known else f"{label}, {below}", printed
        )
        if line.says_something:
            yield line


def _delta(sources: Sources, block: Block, column: Column, row: Row, versus: Row) -> Cell:
    first, second = (sources.key(block, each, column) for each in (row, versus))
    if not QUANTITIES[block.metric].deltas or not {first, second} <= sources.plan.runs.keys():
        return _EMPTY
    found = sources.difference(first, second, block.metric)
    return Cell(_text(sources, block, found.metric if found else None, format_difference))


def _text(sources: Sources, block: Block, metric: Metric | None, write: Callable[..., str]) -> str:
    if metric is None:
        return DASH
    return write(metric, with_n=_common_n(sources, block) is None)


def _common_n(sources: Sources, block: Block) -> int | None:
    """The n of every number of the block; None if they differ, or if there is no number."""
    counts = set(sources.counts(block))
    return counts.pop() if len(counts) == 1 else None


def _count(sources: Sources, block: Block) -> str:
    n, work = _common_n(sources, block), QUANTITIES[block.metric].work
    if n is None or work == "flops":
        return ""
    return f"n = {n} {'repeats' if work == 'time' else 'images'}."


def _not_run(sources: Sources, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    names = "; ".join(row.label for row in rows)
    return f"Not run: {names}. The command that runs them: `{sources.plan.command}`"


def _head(block: Block) -> str:
    own = f" ({block.label})" if block.label else ""
    return f"{QUANTITIES[block.metric].head}{own}"


def _paper_name(sources: Sources, blocks: Sequence[Block]) -> str:
    paper = sources.plan.spec.paper
    names = dict.fromkeys(paper.block(*b.beside).label for b in blocks if b.beside is not None)
    return paper.label if len(names) != 1 else f"{paper.label}, {next(iter(names))}"


def paper_panel(sources: Sources, block: PaperBlock) -> Panel:
    """A block of the paper that nothing here is measured against."""
    columns, with_baseline = _printed_columns(sources, block), sources.has_baseline_column
    lines = []
    for row in sources.plan.rows:
        pairs = [(row, column) for column in columns]
        if with_baseline:
            pairs.insert(0, (BASELINE, columns[0]))
        if row.in_paper:
            cells = (
                paper_cell(sources.printed(block, *p), sources.marks(block, *p)) for p in pairs
            )
            lines.append(Line("paper", row.label, tuple(cells)))
    for label, row, versus in sources.pairs_of_rows():
        printed = tuple(paper_delta(sources, block, row, versus, column) for column in columns)
        lines.append(line_after_baseline(sources, "paper", label, printed))
    labels = tuple(column.label or "value" for column in columns)
    return Panel(
        title=f"Only in the paper: {sources.plan.spec.paper.label}, {block.label}",
        columns=("baseline", *labels) if with_baseline else labels,
        lines=tuple(line for line in lines if line.says_something),
    )


def paper_delta(sources: Sources, block: PaperBlock, row: Row, versus: Row, column: Column) -> Cell:
    """As printed, but always row minus rival: the paper prints FID the other way round."""
    value = sources.printed_delta(block, row, versus, column)
    marks = sources.marks(block, row, column, versus.method)
    if value is None or value.number is None:
        return paper_cell(value, marks)
    number = -value.number if block.metric == "fid" else value.number
    digits = value.text.lstrip("+-")
    sign = "" if number == 0 else "-" if number < 0 else "+"
    return paper_cell(PaperValue(digits, value.status, value.note, value.task), marks, sign)


def line_after_baseline(sources: Sources, kind: Kind, label: str, cells: tuple[Cell, ...]) -> Line:
    """A line that has nothing in the column of the baseline."""
    return Line(kind, label, (Cell(), *cells) if sources.has_baseline_column else cells)


def _printed_columns(sources: Sources, block: PaperBlock) -> list[Column]:
    rows = [row for row in sources.plan.rows if row.in_paper and row.method != NONE]
    found = [
        column
        for column in sources.plan.columns
        if any(sources.printed(block, row, column) for row in rows)
    ]
    return found or list(sources.plan.columns[:1])
