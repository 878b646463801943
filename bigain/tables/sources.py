"""All that a table is made of, and looking things up in it.

Remarks on single cells have letters, fixed by their order in the table's specification: a to z,
then aa, ab and so on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, product
from string import ascii_lowercase
from typing import NamedTuple

from bigain.config.paper import PaperKey, PaperValue, PaperValues, normal_setting
from bigain.metrics import Metric
from bigain.tables.cells import Measured
from bigain.tables.differences import Difference
from bigain.tables.document import Cell
from bigain.tables.planner import NONE, CellKey, Plan
from bigain.tables.quantities import QUANTITIES
from bigain.tables.spec import Block, Column, Footnote, PaperBlock, Row

__all__ = ["Hypothesis", "Sources", "footnotes_of", "paper_cell"]


class Hypothesis(NamedTuple):
    """That two runs do not differ in a metric; the same one in every table that has both."""

    runs: frozenset[str]
    metric: str


@dataclass(frozen=True)
class Sources:
    """All that a table shows.

    Attributes:
        plan: Its runs.
        measured: What they measured.
        paper: The paper's values.
        corrected: p values with Holm's correction, of the hypotheses of all tables
            (`bigain.tables.families`).  One that is not in it is alone.

    """

    plan: Plan
    measured: Measured
    paper: PaperValues
    corrected: Mapping[Hypothesis, float] = field(default_factory=dict)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the profile, but for optional ones that no run has."""
        blocks = self.plan.spec.profile(self.plan.profile).blocks
        return tuple(each for each in blocks if not each.optional or self._is_measured(each))

    def _is_measured(self, block: Block) -> bool:
        cells = (cell for cell in self.measured.runs if cell.place == self.plan.place(block))
        return any(self.metric(cell, block.metric) is not None for cell in cells)

    def key(self, block: Block, row: Row, column: Column) -> CellKey:
        """The cell of a row and a column in a block; the baseline has its own."""
        place = self.plan.place(block)
        if row.method == NONE:
            return self.plan.baseline(place, column.id)
        return CellKey(place, row.id, column.id)

    def metric(self, cell: CellKey, name: str) -> Metric | None:
        """What is known of a cell; None if that is nothing."""
        found = self.measured.runs.get(cell, {}).get(name)
        return found if found is not None and found.is_known else None

    def difference(self, row: CellKey, versus: CellKey, name: str) -> Difference | None:
        """The first cell minus the second."""
        return self.measured.deltas.get((row, versus), {}).get(name)

    def hypothesis(self, row: CellKey, versus: CellKey, name: str) -> Hypothesis:
        """What a comparison of two planned cells tests."""
        return Hypothesis(frozenset(self.plan.runs[cell].run_id for cell in (row, versus)), name)

    def adjusted(self, row: CellKey, versus: CellKey, name: str) -> float:
        """The corrected p value of a difference that was measured; p itself if it is alone."""
        p = self.measured.deltas[row, versus][name].p
        return self.corrected.get(self.hypothesis(row, versus, name), p)

    def printed(
        self, block: PaperBlock, row: Row, column: Column, own: Block | None = None
    ) -> PaperValue | None:
        """The paper's value in the same place as ours; None if it has none, as for our own rows."""
        if not row.in_paper:
            return None
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
        if not (row.in_paper and versus.in_paper):
            return None
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
        cell = (block.dataset, row.method, metric, setting)
        return tuple(
            mark for mark, note in _marked(self.plan.spec.footnotes) if note.concerns(cell)
        )

    @property
    def has_baseline_column(self) -> bool:
        """Whether the baseline has a column of its own."""
        return self.plan.spec.baseline == "column"

    def pairs_of_rows(self) -> Iterator[tuple[str, Row, Row]]:
        """Label and both rows of every comparison between rows."""
        rows = {row.id: row for row in self.plan.rows}
        for delta in self.plan.deltas:
            if delta.row is not None and delta.versus is not None:
                yield delta.label, rows[delta.row], rows[delta.versus]

    def place_name(self, block: Block) -> str:
        """What readers call the place of a block."""
        profile = self.plan.spec.profile(self.plan.profile)
        if block.label is not None:
            return block.label
        dataset = profile.datasets.get(block.dataset)
        return profile.label if dataset is None else f"{profile.label}, {dataset.label}"

    def dataset_name(self, block: Block) -> str:
        """What readers call the dataset of a block; its place if it reads none."""
        dataset = self.plan.spec.profile(self.plan.profile).datasets.get(block.dataset)
        return self.place_name(block) if dataset is None else dataset.label

    def counts(self, block: Block) -> Iterator[int]:
        """The n of everything that is measured and printed in a block."""
        quantity, place = QUANTITIES[block.metric], self.plan.place(block)
        names = {block.metric, quantity.to_none, quantity.at_none}
        for cell, metrics in self.measured.runs.items():
            if cell.place == place:
                yield from (m.n for name, m in metrics.items() if name in names and m.is_known)

    def _value(self, dataset: str, method: str, setting: str, metric: str) -> PaperValue | None:
        spec = self.plan.spec
        name = normal_setting(setting)
        return self.paper.get(
            PaperKey(spec.number, spec.paper.backbone, dataset, method, name, metric)
        )


def paper_cell(value: PaperValue | None, marks: tuple[str, ...] = (), sign: str = "") -> Cell:
    """A printed value, or `lost`."""
    if value is None:
        return Cell()
    text = f"{sign}{value.text}" if value.text else "lost"
    return Cell(text.replace("-", "−"), marks=marks)


def footnotes_of(
    footnotes: Sequence[Footnote], cells: Iterable[Cell]
) -> tuple[tuple[str, str], ...]:
    """Letter and text of every remark that one of the printed cells has, by letter."""
    printed = {mark for cell in cells for mark in cell.marks}
    return tuple((mark, note.text) for mark, note in _marked(footnotes) if mark in printed)


def _marked(footnotes: Sequence[Footnote]) -> Iterator[tuple[str, Footnote]]:
    letters = _letters()
    return ((next(letters), note) for note in footnotes if note.cells)


def _letters() -> Iterator[str]:
    for length in count(1):
        yield from map("".join, product(ascii_lowercase, repeat=length))
