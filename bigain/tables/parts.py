"""The parts of a table's specification: rows, columns, comparisons, blocks, profiles, footnotes."""

from fnmatch import fnmatchcase
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from bigain.tables.quantities import QUANTITIES

__all__ = [
    "Block",
    "Column",
    "DatasetSpec",
    "Delta",
    "Footnote",
    "PaperBlock",
    "PaperColumns",
    "Part",
    "ProfileSpec",
    "Row",
    "Value",
]

Value = float | int | str
"""A value on the axis (a merge ratio, a downsampling factor), or the id of a column."""


class Part(BaseModel):
    """Unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(Part):
    """One operator with the settings that do not vary along the columns.

    `set` are its overrides and `setting` what the paper's CSV calls them.  `only` names the grids
    that have the row; a row that is not `in_paper` is ours, and one that is not `run` the paper's.
    """

    id: str
    method: str
    label: str
    set: tuple[str, ...] = ()
    setting: str = ""
    in_paper: bool = True
    run: bool = True
    only: tuple[str, ...] | None = None


class Column(Part):
    """What varies along the columns, as in `Row`; a `method` here takes the place of the row's."""

    id: str = ""
    label: str = ""
    set: tuple[str, ...] = ()
    setting: str = ""
    method: str | None = None

    @property
    def of_run(self) -> tuple[str, ...]:
        """The overrides that no acceleration has too, such as the number of images."""
        return tuple(each for each in self.set if not each.startswith("operator."))


class Delta(Part):
    """Two cells measured on the same images and noise, the first minus the second.

    Two rows in every column, or with `column` and `versus_column` two columns in every row.
    """

    label: str
    row: str | None = None
    versus: str | None = None
    column: str | None = None
    versus_column: str | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        by_rows = self.row is not None and self.versus is not None
        by_columns = self.column is not None and self.versus_column is not None
        if by_rows == by_columns:
            raise ValueError("a delta has row and versus, or column and versus_column")
        return self


class PaperBlock(Part):
    """One quantity on one dataset as the paper prints it; ids of `paper_tables.csv`."""

    dataset: str = ""
    metric: str
    label: str


class PaperColumns(Part):
    """Where the table's values stand in `paper_tables.csv`."""

    backbone: str
    label: str
    blocks: tuple[PaperBlock, ...]

    def block(self, dataset: str, metric: str) -> PaperBlock:
        """The block with these ids; KeyError if there is none."""
        for block in self.blocks:
            if (block.dataset, block.metric) == (dataset, metric):
                return block
        raise KeyError(f"{dataset}.{metric}")


class Block(Part):
    """One quantity on one dataset as we measure it, and the paper's that is printed beside it.

    Attributes:
        dataset: Empty for FLOPs and times, which read none.
        metric: Id of a quantity.
        beside: Dataset and metric of the paper's block in the same place.
        orders: The paper's block whose orderings are looked for here, if it is not `beside`.
        optional: Left out as long as no run has the quantity.
        backbone: Another than the profile's.
        label: What to call the place; by default backbone and dataset.
        columns: Those that it has; by default all.
        settings: What the paper's CSV calls a setting in this block, where it says less.

    """

    dataset: str = ""
    metric: str
    beside: tuple[str, str] | None = None
    orders: tuple[str, str] | None = None
    optional: bool = False
    backbone: str | None = None
    label: str | None = None
    columns: tuple[Value, ...] | None = None
    settings: dict[str, str] = {}

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.metric not in QUANTITIES:
            raise ValueError(f"metric={self.metric}: allowed: {', '.join(QUANTITIES)}")
        return self


class DatasetSpec(Part):
    """What to call a dataset, and its number of classes, which sets the cost of a run."""

    label: str
    classes: int


class ProfileSpec(Part):
    """Backbone, datasets and columns of one profile.

    `set` are overrides of all its runs.  Without `grids` there is one column.
    """

    backbone: str
    label: str
    datasets: dict[str, DatasetSpec] = {}
    blocks: tuple[Block, ...]
    columns: tuple[Column, ...] = ()
    grids: dict[str, tuple[Value, ...]] = {}
    set: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        unknown = {block.dataset for block in self.blocks if block.dataset} - set(self.datasets)
        if unknown or (self.grids and "default" not in self.grids):
            raise ValueError(f"blocks on unknown datasets {sorted(unknown)}, or no default grid")
        return self


class Footnote(Part):
    """What is known to be wrong with values of the paper.

    Without `cells` the note is about the whole table.  A cell is dataset, method, metric, setting,
    each a pattern in the sense of fnmatch.
    """

    text: str
    cells: tuple[tuple[str, str, str, str], ...] = ()

    def concerns(self, cell: tuple[str, str, str, str]) -> bool:
        """Whether one of the patterns matches `cell`."""
        return any(all(map(fnmatchcase, cell, pattern)) for pattern in self.cells)
