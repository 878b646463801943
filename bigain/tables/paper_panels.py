"""What only the paper has: blocks that nothing here is measured against, and its differences."""

from bigain.config.paper import PaperValue
from bigain.tables.document import Cell, Kind, Line, Panel
from bigain.tables.planner import BASELINE, NONE
from bigain.tables.sources import Sources, paper_cell
from bigain.tables.spec import Column, PaperBlock, Row

__all__ = ["line_after_baseline", "paper_delta", "paper_panel"]


def paper_panel(sources: Sources, block: PaperBlock) -> Panel:
    """A block of the paper that nothing here is measured against."""
    columns, with_baseline = _columnspaper_panel(sources, block), sources.has_baseline_column
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


def _columnspaper_panel(sources: Sources, block: PaperBlock) -> list[Column]:
    rows = [row for row in sources.plan.rows if row.in_paper and row.method != NONE]
    found = [
        column
        for column in sources.plan.columns
        if any(sources.printed(block, row, column) for row in rows)
    ]
    return found or list(sources.plan.columns[:1])
