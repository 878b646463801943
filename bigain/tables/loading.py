"""Specifications of tables from their files, `configs/table/tableNN.yaml`."""

from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from yaml import YAMLError  # type: ignore[import-untyped]

from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.tables.spec import Part, TableSpec, choose
from bigain.tables.static import StaticSpec

__all__ = ["load_spec", "load_table", "read_spec", "table_numbers", "validated"]

Spec = TypeVar("Spec", bound=Part)


def table_numbers(folder: Path = CONFIGS / "table") -> list[int]:
    """Numbers of the tables that have a spec, ascending."""
    files = folder.glob("table[0-9][0-9].yaml")
    return sorted(int(path.stem.removeprefix("table")) for path in files)


def read_spec(number: int, folder: Path = CONFIGS / "table") -> dict[str, Any]:
    """What `tableNN.yaml` says, not yet validated.

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


def validated(kind: type[Spec], number: int, folder: Path = CONFIGS / "table") -> Spec:
    """`tableNN.yaml` as a specification of this kind; UserError if it is none."""
    try:
        return kind.model_validate(read_spec(number, folder))
    except (ValidationError, KeyError) as error:
        raise _not_a_table(_path(number, folder), error) from error


def load_table(number: int) -> TableSpec | StaticSpec:
    """The specification of a table, of whichever kind.

    Raises:
        UserError: There is no such table, or its file is not a table specification.

    """
    if "kind" in read_spec(number):
        return validated(StaticSpec, number)
    return validated(TableSpec, number)


def load_spec(number: int, folder: Path = CONFIGS / "table") -> TableSpec:
    """Read the `tableNN.yaml` of a table with runs.

    Raises:
        UserError: There is no such table, or its file is not a table specification.

    """
    return validated(TableSpec, number, folder)


def _path(number: int, folder: Path) -> Path:
    return folder / f"table{number:02d}.yaml"


def _not_a_table(path: Path, reason: object) -> UserError:
    return UserError(f"{path}: not a table specification: {' '.join(str(reason).split())}")
