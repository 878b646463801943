"""From `configs/table/tableNN.yaml` to a document, and to the files that are committed.

A table without runs is made from data, configuration and code; the others from a plan and its runs.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from yaml import YAMLError  # type: ignore[import-untyped]

from bigain.config.paper import load_paper
from bigain.errors import UserError
from bigain.files import replace_text
from bigain.locations import CONFIGS
from bigain.runs.collect import publish_runs
from bigain.tables.cells import measure
from bigain.tables.document import Document
from bigain.tables.families import Families
from bigain.tables.formats import RENDERERS, render_legend
from bigain.tables.gaps import Gaps, count_gaps
from bigain.tables.layout import lay_out
from bigain.tables.planner import Compose, Plan, adding, plan_table, refuse_fixed_keys
from bigain.tables.sources import Sources
from bigain.tables.spec import Part, TableSpec, choose
from bigain.tables.static import StaticSpec, lay_out_static
from bigain.tables.tidy import render_csv, render_static_csv

__all__ = [
    "FORMATS",
    "Table",
    "families_of_all",
    "load_spec",
    "load_table",
    "plan_of",
    "read_spec",
    "render_table",
    "table_name",
    "table_numbers",
    "validated",
    "write_legend",
    "write_table",
]

FORMATS = ("tex", "html")
"""What `write_table` writes on demand, beside Markdown and CSV."""


@dataclass(frozen=True)
class Table:
    """A rendered table: the document, and its numbers as CSV."""

    document: Document
    csv: str


def plan_of(
    spec: TableSpec | StaticSpec, profile: str, grid: str, extra: Sequence[str], compose: Compose
) -> Plan | None:
    """The plan of a table with runs, None for one without.

    Raises:
        UserError: No such profile or grid, or an override that is not allowed.

    """
    if isinstance(spec, TableSpec):
        return plan_table(spec, profile, grid, extra, compose)
    choose("profile", profile, spec.profiles)
    choose("grid", grid, ("default", "full"))
    refuse_fixed_keys(spec.number, extra)
    return None


def render_table(
    spec: TableSpec | StaticSpec,
    profile: str,
    plan: Plan | None,
    compose: Compose,
    families: Families,
    extra: Sequence[str] = (),
) -> Table:
    """The table from what is finished.

    Args:
        spec: What it consists of.
        profile: `mini` or `paper`.
        plan: Its runs; None for a table without any.
        compose: Makes configurations, for a table without runs.
        families: Correct its p values, over all tables.
        extra: Settings of a table without runs; those of another one are in its plan.

    Raises:
        UserError: Records are damaged, or two runs do not cover the same images.

    """
    paper = load_paper()
    if isinstance(spec, StaticSpec):
        document = lay_out_static(spec, profile, paper, adding(compose, extra))
        return Table(document, render_static_csv(document))
    assert plan is not None, "a table with runs has a plan"
    publish_runs(plan.results, profile, (run.run_id for run in plan.distinct()))
    sources = Sources(plan, measure(plan, plan.results), paper, families.of(plan))
    return Table(lay_out(sources), render_csv(sources))


def write_table(table: Table, folder: Path, formats: Sequence[str] = ()) -> list[Path]:
    """Write `tableNN.md`, `.csv` and the further `formats` into `folder`; their paths.

    A file that would not change is left alone.
    """
    texts = {name: RENDERERS[name](table.document) for name in ("md", *formats)}
    texts["csv"] = table.csv
    paths = {name: folder / f"{table_name(table.document.number)}.{name}" for name in texts}
    for name, path in paths.items():
        _write(path, texts[name])
    return list(paths.values())


def write_legend(profile: str, folder: Path) -> None:
    """Write the README.md that says how to read the tables of a profile, and what they lack.

    The gaps are those of the CSV files in `folder`, whenever each was written.
    """
    _write(folder / "README.md", render_legend(profile, list(_gaps(profile, folder))))


def _gaps(profile: str, folder: Path) -> Iterator[Gaps]:
    for spec in _tables_with_runs():
        path = folder / f"{table_name(spec.number)}.csv"
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as lines:
                yield count_gaps(spec, profile, csv.DictReader(lines))


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        replace_text(path, text)


Spec = TypeVar("Spec", bound=Part)


def table_numbers(folder: Path = CONFIGS / "table") -> list[int]:
    """Numbers of the tables that have a spec, ascending."""
    files = folder.glob("table[0-9][0-9].yaml")
    return sorted(int(path.stem.removeprefix("table")) for path in files)


def table_name(number: int) -> str:
    """`table04`: what its files are called, and how trackers group and tag its runs."""
    return f"table{number:02d}"


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


def families_of_all(compose: Compose) -> Families:
    """The families that all tables have together."""
    return Families(_tables_with_runs, compose)


def _tables_with_runs() -> Iterator[TableSpec]:
    for spec in map(load_table, table_numbers()):
        if isinstance(spec, TableSpec):
            yield spec


def load_spec(number: int, folder: Path = CONFIGS / "table") -> TableSpec:
    """Read the `tableNN.yaml` of a table with runs.

    Raises:
        UserError: There is no such table, or its file is not a table specification.

    """
    return validated(TableSpec, number, folder)


def _path(number: int, folder: Path) -> Path:
    return folder / f"{table_name(number)}.yaml"


def _not_a_table(path: Path, reason: object) -> UserError:
    return UserError(f"{path}: not a table specification: {' '.join(str(reason).split())}")
