"""What a table consists of: rows, the axis of its columns, and what is measured where.

One YAML file per table.  A *row* is an operator with fixed settings; the *axis* is the operator
setting that the columns run over (`ratio` or `factor`); column "none" is no acceleration.  A
*block* is one quantity on one dataset.  A *profile* says which backbone and datasets stand in the
place of the paper's, and which columns its *grids* have.
"""

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Self

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from yaml import YAMLError  # type: ignore[import-untyped]

from bigain.errors import UserError
from bigain.locations import CONFIGS

__all__ = [
    "Block",
    "Delta",
    "Footnote",
    "PaperBlock",
    "PaperColumns",
    "ProfileSpec",
    "Row",
    "TableSpec",
    "choose",
    "load_spec",
    "table_numbers",
]

Value = float | int
"""A value on the axis: a merge ratio or a downsampling factor."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Part):
    """One operator with the settings that do not vary along the columns.

    `only` names the grids that have the row; a row that is not `in_paper` is ours.
    """

    id: str
    method: str
    label: str
    in_paper: bool = True
    only: tuple[str, ...] | None = None


class Delta(_Part):
    """The row `row` minus the row `versus`, measured on the same images and noise."""

    row: str
    versus: str
    label: str


class PaperBlock(_Part):
    """One quantity on one dataset as the paper prints it; ids of `paper_tables.csv`."""

    dataset: str
    metric: str
    label: str


class PaperColumns(_Part):
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


class Block(_Part):
    """One quantity on one dataset as we measure it, and the paper's that is printed beside it.

    `optional` blocks are left out as long as no run has the quantity.
    """

    dataset: str
    metric: str
    beside: tuple[str, str] | None = None
    optional: bool = False


class DatasetSpec(_Part):
    """What to call a dataset, and its number of classes, which sets the cost of a run."""

    label: str
    classes: int


class ProfileSpec(_Part):
    """Backbone, datasets and columns of one profile.

    `settings` are overrides of single rows (`row id -> key=value`).
    """

    backbone: str
    label: str
    datasets: dict[str, DatasetSpec]
    blocks: tuple[Block, ...]
    grids: dict[str, tuple[Value, ...]]
    settings: dict[str, tuple[str, ...]] = {}
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        unknown = {block.dataset for block in self.blocks} - set(self.datasets)
        if unknown or "default" not in self.grids:
            raise ValueError(f"blocks on unknown datasets {sorted(unknown)}, or no default grid")
        return self


class Footnote(_Part):
    """What is known to be wrong with values of the paper.

    Without `cells` the note is about the whole table.  A cell is dataset, method, metric, setting,
    each a pattern in the sense of fnmatch.
    """

    text: str
    cells: tuple[tuple[str, str, str, str], ...] = ()

    def concerns(self, cell: tuple[str, str, str, str]) -> bool:
        """Whether one of the patterns matches `cell`."""
        return any(all(map(fnmatchcase, cell, pattern)) for pattern in self.cells)


class TableSpec(_Part):
    """A whole table.  `axis` is the operator setting along the columns."""

    number: int = Field(ge=1)
    title: str
    task: Literal["classification"]
    axis: Literal["ratio", "factor"]
    rows: tuple[Row, ...]
    deltas: tuple[Delta, ...]
    paper: PaperColumns
    profiles: dict[str, ProfileSpec]
    footnotes: tuple[Footnote, ...] = ()

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        ids = {row.id for row in self.rows}
        asked = {name for delta in self.deltas for name in (delta.row, delta.versus)}
        asked |= {name for profile in self.profiles.values() for name in profile.settings}
        if asked - ids:
            raise ValueError(f"no such rows: {sorted(asked - ids)}")
        return self

    def profile(self, name: str) -> ProfileSpec:
        """The profile called `name`; raises UserError with the allowed names."""
        return self.profiles[choose("profile", name, self.profiles)]

    def columns(self, profile: str, grid: str) -> tuple[Value, ...]:
        """The values on the axis, ascending; raises UserError with the allowed grids."""
        grids = self.profile(profile).grids
        return grids[choose("grid", grid, grids)]

    def rows_of(self, grid: str) -> tuple[Row, ...]:
        """The rows that a grid has, in order."""
        return tuple(row for row in self.rows if row.only is None or grid in row.only)

    def deltas_of(self, grid: str) -> tuple[Delta, ...]:
        """The comparisons between rows that a grid has, in order."""
        ids = {row.id for row in self.rows_of(grid)}
        return tuple(delta for delta in self.deltas if {delta.row, delta.versus} <= ids)


def choose(key: str, value: str, allowed: Iterable[str]) -> str:
    """`value` if it is allowed; otherwise a UserError that lists what is, nearest match first."""
    names = [str(name) for name in allowed]
    if value in names:
        return value
    near = difflib.get_close_matches(value, names, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UserError(f"{key}={value}: allowed: {', '.join(names)}{hint}")


def table_numbers(folder: Path = CONFIGS / "table") -> list[int]:
    """Numbers of the tables that have a spec, ascending."""
    files = folder.glob("table[0-9][0-9].yaml")
    return sorted(int(path.stem.removeprefix("table")) for path in files)


def load_spec(number: int, folder: Path = CONFIGS / "table") -> TableSpec:
    """Read `tableNN.yaml`.

    Raises:
        UserError: There is no such table, or its file is not a table specification.

    """
    choose("table", str(number), map(str, table_numbers(folder)))
    path = folder / f"table{number:02d}.yaml"
    try:
        return TableSpec.model_validate(OmegaConf.to_container(OmegaConf.load(path), resolve=True))
    except (ValidationError, YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a table specification: {reason}") from error
