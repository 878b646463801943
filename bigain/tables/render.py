"""The tables of a profile as documents, and as the files that are committed.

A table without runs is made of data, configuration and code; the others of a plan and its runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bigain.config.paper import load_paper
from bigain.files import replace_text
from bigain.runs.collect import publish_runs
from bigain.tables.cells import measure
from bigain.tables.document import Document
from bigain.tables.html import render_html
from bigain.tables.latex import render_latex
from bigain.tables.layout import lay_out
from bigain.tables.markdown import render_markdown
from bigain.tables.overrides import Compose, adding, refuse_fixed_keys
from bigain.tables.planner import Plan, plan_table
from bigain.tables.sources import Sources
from bigain.tables.spec import TableSpec, choose, judged, read_spec
from bigain.tables.static import StaticSpec, lay_out_static
from bigain.tables.tidy import render_csv, render_static_csv

__all__ = ["FORMATS", "Table", "load_table", "plan_of", "render_table", "write_table"]

FORMATS = ("md", "tex", "html", "csv")
"""What `write_table` writes."""


@dataclass(frozen=True)
class Table:
    """A rendered table: the document, and its numbers as CSV."""

    document: Document
    csv: str


def load_table(number: int) -> TableSpec | StaticSpec:
    """The specification of a table, of whichever kind.

    Raises:
        UserError: There is no such table, or its file is not a table specification.

    """
    if "kind" in read_spec(number):
        return judged(StaticSpec, number)
    return judged(TableSpec, number)


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
    extra: Sequence[str] = (),
) -> Table:
    """The table from what is finished; `extra` is that of the plan, for a table without one.

    Raises:
        UserError: Records are damaged, or two runs do not cover the same images.

    """
    paper = load_paper()
    if isinstance(spec, StaticSpec):
        document = lay_out_static(spec, profile, paper, adding(compose, extra))
        return Table(document, render_static_csv(document))
    assert plan is not None, "a table with runs has a plan"
    publish_runs(plan.results, profile, (run.run_id for run in plan.distinct()))
    sources = Sources(plan, measure(plan, plan.results), paper)
    return Table(lay_out(sources), render_csv(sources))


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write `tableNN.md`, `.tex`, `.html` and `.csv` into `folder`; their paths.

    A file that would not change is left alone.
    """
    document = table.document
    texts = {
        "md": render_markdown(document),
        "tex": render_latex(document),
        "html": render_html(document),
        "csv": table.csv,
    }
    paths = [folder / f"table{document.number:02d}.{suffix}" for suffix in FORMATS]
    for path in paths:
        text = texts[path.suffix[1:]]
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            replace_text(path, text)
    return paths
