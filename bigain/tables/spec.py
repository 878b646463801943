"""What a table consists of: rows, columns, and what is measured where.

One YAML file per table.  A *row* is an operator with fixed settings, a *column* what varies beside
them: mostly one operator setting, the *axis* (`ratio` or `factor`), sometimes the number of images
or another operator.  A *block* is one quantity on one dataset.  A *profile* says which backbone and
datasets stand in the place of the paper's, and which columns its *grids* have.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, model_validator
from yaml import YAMLError  # type: ignore[import-untyped]

from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.tables.parts import Column, Delta, Footnote, PaperColumns, Part, ProfileSpec, Row, Value

__all__ = [
    "TableSpec",
    "choose",
    "judged",
    "load_spec",
    "read_spec",
    "setting_name",
    "table_numbers",
]

Spec = TypeVar("Spec", bound=Part)


class TableSpec(Part):
    """A whole table.

    Attributes:
        number: Of the paper's table.
        title: Its heading.
        axis: The operator setting along the columns.
        layout: `stacked`, a rectangle per block, or `beside`, a column per block.
        no_acceleration: `column`, a column of its own; `row`, among the rows; `absent`.
        rows: From top to bottom.
        deltas: What is compared.
        paper: Its values.
        profiles: Name -> what is measured.
        footnotes: On the paper's values.

    """

    number: int = Field(ge=1)
    title: str
    axis: Literal["ratio", "factor", "alpha"] | None = None
    layout: Literal["stacked", "beside"] = "stacked"
    no_acceleration: Literal["column", "row", "absent"] = "column"
    rows: tuple[Row, ...]
    deltas: tuple[Delta, ...] = ()
    paper: PaperColumns
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

    def rows_of(self, grid: str) -> tuple[Row, ...]:
        """The rows that a grid has, in order."""
        return tuple(row for row in self.rows if row.only is None or grid in row.only)

    def deltas_of(self, grid: str) -> tuple[Delta, ...]:
        """The comparisons that a grid has, in order."""
        ids = {row.id for row in self.rows_of(grid)}
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


def table_numbers(folder: Path = CONFIGS / "table") -> list[int]:
    """Numbers of the tables that have a spec, ascending."""
    files = folder.glob("table[0-9][0-9].yaml")
    return sorted(int(path.stem.removeprefix("table")) for path in files)


def read_spec(number: int, folder: Path = CONFIGS / "table") -> dict[str, Any]:
    """What `tableNN.yaml` says, not yet judged.

    Raises:
        UserError: There is no such table, or its file is no YAML.

    """
    choose("table", str(number), map(str, table_numbers(folder)))
    path = _path(number, folder)
    try:
        found: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (YAMLError, OmegaConfBaseException) as error:
        raise _not_a_table(path, error) from error
    if not isinstance(found, dict):
        raise _not_a_table(path, "no mapping")
    return found


def judged(kind: type[Spec], number: int, folder: Path = CONFIGS / "table") -> Spec:
    """`tableNN.yaml` as a specification of this kind; UserError if it is none."""
    try:
        return kind.model_validate(read_spec(number, folder))
    except (ValidationError, KeyError) as error:
        raise _not_a_table(_path(number, folder), error) from error


def load_spec(number: int, folder: Path = CONFIGS / "table") -> TableSpec:
    """Read the `tableNN.yaml` of a table with runs.

    Raises:
        UserError: There is no such table, or its file is not a table specification.

    """
    return judged(TableSpec, number, folder)


def _path(number: int, folder: Path) -> Path:
    return folder / f"table{number:02d}.yaml"


def _not_a_table(path: Path, reason: object) -> UserError:
    return UserError(f"{path}: not a table specification: {' '.join(str(reason).split())}")
