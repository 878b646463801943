"""What a table consists of: rows, columns, and what is measured where.

One YAML file per table.  A *row* is an operator with fixed settings, a *column* what varies beside
them: mostly one operator setting, the *axis* (`ratio` or `factor`), sometimes the number of images
or another operator.  A *block* is one quantity on one dataset.  A *profile* says which backbone and
datasets stand in for the paper's, and which columns its *grids* have.
"""

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bigain.errors import UserError
from bigain.tables.quantities import QUANTITIES, Work

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
    "TableSpec",
    "Value",
    "choose",
    "setting_name",
]

Value = float | int | str
"""A value on the axis (a merge ratio, a downsampling factor), or the id of a column."""


class Part(BaseModel):
    """Unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(Part):
    """One operator with the settings that do not vary along the columns.

    `set` are its overrides and `setting` what the paper's CSV calls them.  `only` names the grids
    that have the row, `profiles` the profiles; a row that is not `in_paper` is ours, and one that
    is not `run` the paper's.  `levels` are further overrides by backbone and column, of a row whose
    settings vary with both: it has cells at these places alone.  `works` are the kinds of work that
    its operator can do; by default all.
    """

    id: str
    method: str
    label: str
    set: tuple[str, ...] = ()
    setting: str = ""
    in_paper: bool = True
    run: bool = True
    only: tuple[str, ...] | None = None
    profiles: tuple[str, ...] | None = None
    levels: dict[str, dict[str, tuple[str, ...]]] | None = None
    works: tuple[Work, ...] | None = None

    def does(self, work: str) -> bool:
        """Whether it has cells of a kind of work."""
        return self.works is None or work in self.works

    def overrides(self, backbone: str, column: str) -> tuple[str, ...] | None:
        """Its overrides in a column on a backbone; None if it has no cell there."""
        if self.levels is None:
            return self.set
        own = self.levels.get(backbone, {}).get(column)
        return None if own is None else (*self.set, *own)

    def settings(self, backbone: str, column: str) -> str:
        """What it sets by `levels` there, as `factor=2;ratio=0.7`; empty without any."""
        own = (self.levels or {}).get(backbone, {}).get(column, ())
        return ";".join(each.removeprefix("operator.") for each in own)


class Column(Part):
    """What varies along the columns, as in `Row`; a `method` here takes the place of the row's."""

    id: str = ""
    label: str = ""
    set: tuple[str, ...] = ()
    setting: str = ""
    method: str | None = None

    @property
    def of_run(self) -> tuple[str, ...]:
        """The overrides that the baseline has too, such as the number of images."""
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
        device: A device that its runs need; a table starts none of them by itself.
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
    device: str = ""
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


class TableSpec(Part):
    """A whole table.

    Attributes:
        number: Of the paper's table, or above its 18 for one of our own.
        title: Its heading.
        axis: The operator setting along the columns.
        layout: `stacked`, a rectangle per block; `beside`, a column per block; or `matched`, a
            rectangle per backbone and column, with a column per block.
        baseline: `column`, a column of its own; `row`, among the rows; `absent`.
        rows: From top to bottom.
        deltas: What is compared.
        paper: Its values; by default none.
        profiles: Name -> what is measured.
        footnotes: On the paper's values.

    """

    number: int = Field(ge=1)
    title: str
    axis: Literal["ratio", "factor", "alpha"] | None = None
    layout: Literal["stacked", "beside", "matched"] = "stacked"
    baseline: Literal["column", "row", "absent"] = "column"
    rows: tuple[Row, ...]
    deltas: tuple[Delta, ...] = ()
    paper: PaperColumns = PaperColumns(backbone="", label="", blocks=())
    profiles: dict[str, ProfileSpec]
    footnotes: tuple[Footnote, ...] = ()

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        ids = [row.id for row in self.rows]
        asked = {name for delta in self.deltas for name in (delta.row, delta.versus) if name}
        if asked - set(ids) or len(set(ids)) < len(ids):
            raise ValueError(f"no such rows {sorted(asked - set(ids))}, or a row twice")
        for profile in self.profiles.values():
            for block in profile.blocks:
                for names in filter(None, (block.beside, block.orders)):
                    self.paper.block(*names)
        return self

    @property
    def compares_columns(self) -> bool:
        """Whether the table compares columns in every row, not rows in every column."""
        return any(delta.column is not None for delta in self.deltas)

    def profile(self, name: str) -> ProfileSpec:
        """The profile called `name`; raises UserError with the allowed names."""
        return self.profiles[choose("profile", name, self.profiles)]

    def columns(self, profile: str, grid: str) -> tuple[Column, ...]:
        """The columns of a grid; raises UserError with the allowed grids."""
        chosen = self.profile(profile)
        if not chosen.grids:
            choose("grid", grid, ("default", "full"))
            return chosen.columns or (Column(),)
        known = {column.id: column for column in chosen.columns}
        values = chosen.grids[choose("grid", grid, chosen.grids)]
        return tuple(known.get(str(value)) or self.column_at(value) for value in values)

    def column_at(self, value: Value) -> Column:
        """The column of a value on the axis."""
        name = setting_name(str(self.axis), value)
        return Column(
            id=name, label=name.replace("=", " "), set=(f"operator.{name}",), setting=name
        )

    def rows_of(self, profile: str, grid: str) -> tuple[Row, ...]:
        """The rows that a grid of a profile has, in order."""
        return tuple(
            row
            for row in self.rows
            if (row.only is None or grid in row.only)
            and (row.profiles is None or profile in row.profiles)
        )

    def deltas_of(self, profile: str, grid: str) -> tuple[Delta, ...]:
        """The comparisons that a grid of a profile has, in order."""
        ids = {row.id for row in self.rows_of(profile, grid)}
        return tuple(delta for delta in self.deltas if {delta.row, delta.versus} - {None} <= ids)


def setting_name(axis: str, value: Value) -> str:
    """How a column is called in the paper's CSV and ours: `ratio=0.3`, `factor=2`."""
    return f"{axis}={value}" if isinstance(value, str) else f"{axis}={value:g}"


def choose(key: str, value: str, allowed: Iterable[str]) -> str:
    """`value` if it is allowed; otherwise a UserError that lists what is, nearest match first."""
    names = [str(name) for name in allowed]
    if value in names:
        return value
    near = [] if value.isdecimal() else difflib.get_close_matches(value, names, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UserError(f"{key}={value}: allowed: {', '.join(names)}{hint}")
