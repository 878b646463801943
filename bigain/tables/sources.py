"""All that a table is made of, and looking things up in it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bigain.config.paper import PaperKey, PaperValue, PaperValues, normal_setting
from bigain.metrics import Metric
from bigain.tables.cells import Measured
from bigain.tables.differences import Difference
from bigain.tables.document import Cell
from bigain.tables.footnotes import marks_of
from bigain.tables.parts import Block, Column, PaperBlock, Row
from bigain.tables.planner import NONE, CellKey, Plan
from bigain.tables.quantities import QUANTITIES

__all__ = ["Sources", "is_known", "paper_cell"]


@dataclass(frozen=True)
class Sources:
    """A plan, what its runs measured, and the paper's values."""

    plan: Plan
    measured: Measured
    paper: PaperValues

    def key(self, block: Block, row: Row, column: Column) -> CellKey:
        """The cell of a row and a column in a block; no acceleration has its own."""
        place = self.plan.place(block)
        if row.method == NONE:
            return self.plan.baseline(place, column.id)
        return CellKey(place, row.id, column.id)

    def metric(self, cell: CellKey, name: str) -> Metric | None:
        """What is known of a cell; None if that is nothing."""
        found = self.measured.runs.get(cell, {}).get(name)
        return found if is_known(found) else None

    def difference(self, row: CellKey, versus: CellKey, name: str) -> Difference | None:
        """The first cell minus the second."""
        return self.measured.deltas.get((row, versus), {}).get(name)

    def printed(
        self, block: PaperBlock, row: Row, column: Column, own: Block | None = None
    ) -> PaperValue | None:
        """The paper's value in the same place as ours, None if it has none."""
        setting = normal_setting(column.setting, row.setting)
        if row.method == NONE:
            setting = column.setting if column.of_run or not column.set else ""
        if own is not None:
            setting = own.settings.get(setting, setting)
        return self._value(block.dataset, row.method, setting, block.metric)

    def printed_delta(
        self, block: PaperBlock, row: Row, versus: Row, column: Column
    ) -> PaperValue | None:
        """The difference of two rows as the paper prints it, None if it prints none."""
        setting = normal_setting(column.setting, row.setting, f"vs={versus.method}")
        return self._value(block.dataset, row.method, setting, f"delta_{block.metric}")

    def marks(
        self, block: PaperBlock, row: Row, column: Column, delta: str = ""
    ) -> tuple[str, ...]:
        """Letters of the footnotes on a value of the paper; `delta` is the rival's method."""
        setting = ";".join(filter(None, (column.setting, row.setting)))
        if row.method == NONE:
            setting = ""
        metric = f"delta_{block.metric}" if delta else block.metric
        setting = f"{setting};vs={delta}" if delta else setting
        return marks_of(self.plan.spec.footnotes, (block.dataset, row.method, metric, setting))

    def counts(self, block: Block) -> Iterator[int]:
        """The n of everything that is measured and printed in a block."""
        quantity, place = QUANTITIES[block.metric], self.plan.place(block)
        names = {block.metric, quantity.to_none, quantity.at_none}
        for cell, metrics in self.measured.runs.items():
            if cell.place == place:
                yield from (m.n for name, m in metrics.items() if name in names and is_known(m))

    def _value(self, dataset: str, method: str, setting: str, metric: str) -> PaperValue | None:
        spec = self.plan.spec
        name = normal_setting(setting)
        return self.paper.get(
            PaperKey(spec.number, spec.paper.backbone, dataset, method, name, metric)
        )


def is_known(metric: Metric | None) -> bool:
    """Whether there is a number."""
    return metric is not None and metric.n > 0 and not math.isnan(metric.value)


def paper_cell(value: PaperValue | None, marks: tuple[str, ...] = (), sign: str = "") -> Cell:
    """A printed value, or `lost`."""
    if value is None:
        return Cell()
    text = f"{sign}{value.text}" if value.text else "lost"
    return Cell(text.replace("-", "−"), marks=marks)
