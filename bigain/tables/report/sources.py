"""Which tables the report shows, and which runs each of them needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigain.tables.document import Document
from bigain.tables.overrides import Compose, remembering
from bigain.tables.render import load_table, plan_of, render_table
from bigain.tables.spec import table_numbers

__all__ = ["ReportTable", "Tables", "planned_tables"]


@dataclass(frozen=True)
class ReportTable:
    """A finished table.

    Attributes:
        document: What it prints.
        runs: Ids of all runs that it needs, done or not.

    """

    document: Document
    runs: tuple[str, ...] = ()


Tables = Callable[[str, Path | None], Sequence[ReportTable]]
"""(profile, results folder or None for the configured one) -> the tables, by number."""


def planned_tables(
    compose_configs: Compose, profile: str, results: Path | None
) -> list[ReportTable]:
    """Every table that has a specification, from what is finished.

    Raises:
        UserError: No such profile, or records are damaged.

    """
    extra = () if results is None else (f"paths.results={results}",)
    compose = remembering(compose_configs)
    found = []
    for number in table_numbers():
        spec = load_table(number)
        plan = plan_of(spec, profile, "default", extra, compose)
        runs = () if plan is None else tuple(run.run_id for run in plan.distinct())
        found.append(ReportTable(render_table(spec, profile, plan, compose).document, runs))
    return found
