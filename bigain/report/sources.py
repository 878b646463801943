"""Which tables the report shows, and which runs each of them needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigain.tables.document import Document
from bigain.tables.planner import Plan, plan_table
from bigain.tables.spec import load_spec, table_numbers

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


def planned_tables(profile: str, results: Path | None) -> list[ReportTable]:
    """Every table that has a specification."""
    from bigain.compose import compose_configs  # noqa: PLC0415 -- loads hydra

    extra = () if results is None else (f"paths.results={results}",)
    plans = (
        plan_table(load_spec(number), profile, "default", extra, compose_configs)
        for number in table_numbers()
    )
    return [ReportTable(_document(plan), _runs(plan)) for plan in plans]


def _runs(plan: Plan) -> tuple[str, ...]:
    return tuple(run.run_id for run in plan.distinct())


def _document(plan: Plan) -> Document:
    """The table's title and what it lacks."""
    missing = plan.missing()
    return Document(
        number=plan.spec.number,
        title=plan.spec.title,
        intro=(f"Its numbers are in `tables/table{plan.spec.number:02d}.md` beside this page.",),
        panels=(),
        command=plan.command if missing else "",
        commands=tuple(run.command for run in missing),
    )
