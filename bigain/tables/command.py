"""`python -m bigain table N`: plan the runs of a table, make the missing ones, render it.

Writes `<results>/<profile>/tables/tableNN.md` and `.csv`, and beside them the per-image records
that the table was computed from and the manifests of its runs, so that it can be rendered again
from committed files alone.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bigain.atomic import replace_text
from bigain.errors import UserError
from bigain.runs.folder import check_results, make_results
from bigain.runs.manifests import publish_manifest
from bigain.runs.store import damaged_runs
from bigain.tables.cells import measure
from bigain.tables.execute import Failure, Runner, execute
from bigain.tables.layout import Sources
from bigain.tables.markdown import render_markdown
from bigain.tables.paper import load_paper
from bigain.tables.planner import Compose, Plan, PlannedRun, plan_table
from bigain.tables.samples import publish_samples
from bigain.tables.spec import choose, load_spec, table_numbers
from bigain.tables.tidy import render_csv

__all__ = ["main"]

_FLAGS = ("--profile", "--grid", "--limit", "--no-run", "--dry-run", "--help")


@dataclass(frozen=True)
class _Request:
    number: int
    profile: str
    grid: str
    extra: tuple[str, ...]
    run: bool
    dry: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"table: {message}; see python -m bigain table --help")


def main(argv: Sequence[str], compose: Compose | None = None, runner: Runner | None = None) -> int:
    """Do what `table ARGV` asks for.

    Args:
        argv: The words after `table`.
        compose: Makes configurations; by default `bigain.compose.compose_configs`.
        runner: Makes a run; by default `bigain.runner.run`.

    Returns:
        0 done; 1 a run failed (all of them are listed); 2 a mistake in the input (one line).

    """
    if "--help" in argv:
        _parser().print_help()
        return 0
    try:
        return _table(_parse(argv), compose or _default_compose(), runner)
    except UserError as error:
        _complain(str(error))
        return 2


def _table(request: _Request, compose: Compose, runner: Runner | None) -> int:
    plan = _plan(request, compose)
    results = plan.results
    check_results(results)
    _name_damaged(plan)
    if request.dry:
        _say(_describe(plan))
        return 0
    make_results(results)
    failures: list[Failure] = []
    if request.run and plan.pending():
        failures = execute(plan.pending(), runner or _default_runner(), _complain)
        plan = _plan(request, compose)
    _render(plan, results)
    for failure in failures:
        _complain(f"failed: {failure.run.command}: {failure.reason}")
    return 1 if failures else 0


def _render(plan: Plan, results: Path) -> None:
    """Write the table, and the records of the runs that it used."""
    for run in plan.distinct():
        publish_samples(results, plan.profile, run.run_id)
        publish_manifest(results, plan.profile, run.run_id)
    sources = Sources(plan, measure(plan, results), load_paper())
    text = render_markdown(sources)
    path = results / plan.profile / "tables" / f"table{plan.spec.number:02d}"
    replace_text(path.with_suffix(".md"), text)
    replace_text(path.with_suffix(".csv"), render_csv(sources))
    _say(f"{text}\nwritten: {path}.md, {path}.csv")


def _name_damaged(plan: Plan) -> None:
    """Say which runs count as missing because nobody can read their manifests."""
    wanted = {run.run_id for run in plan.distinct()}
    folders = {run.config.paths.results for run in plan.distinct()}
    for folder in sorted(folders):
        for name, damage in damaged_runs(folder).items():
            if name in wanted:
                _complain(f"counts as missing: {damage}")


def _describe(plan: Plan) -> str:
    """The plan as text: one line per distinct run, and the cost of what is missing."""
    head = f"Table {plan.spec.number}, profile {plan.profile}, grid {plan.grid}"
    runs, missing = plan.distinct(), plan.missing()
    counts = f"{len(runs)} runs, {len(runs) - len(missing)} done, {len(missing)} missing"
    total = f"{sum(run.evaluations for run in missing):,} evaluations of the denoiser"
    return "\n".join((f"{head}: {counts}", *map(_line, runs), f"missing in all: {total}"))


def _line(run: PlannedRun) -> str:
    cost = f"{run.config.dataset.num_images} images x {run.evaluations_per_image} evaluations"
    state = "done   " if run.finished else "missing"
    return f"  {state} {run.run_id}  {' '.join(run.overrides)}  ({cost})"


def _plan(request: _Request, compose: Compose) -> Plan:
    spec = load_spec(request.number)
    return plan_table(spec, request.profile, request.grid, request.extra, compose)


def _parse(argv: Sequence[str]) -> _Request:
    for word in argv:
        if word.startswith("--"):
            choose("option", word.partition("=")[0], _FLAGS)
    if not argv:
        raise UserError(f"table: which one? allowed: {', '.join(map(str, table_numbers()))}")
    found = _parser().parse_intermixed_args(list(argv))
    positional = [word for word in found.overrides if "=" not in word]
    if positional:
        raise UserError(f"table: {positional[0]}: allowed: one table, then key=value")
    limit = (f"dataset.limit={found.limit}",) if found.limit is not None else ()
    extra = (*limit, *found.overrides)
    return _Request(
        _number(found.number), found.profile, found.grid, extra, not found.no_run, found.dry_run
    )


def _number(text: str) -> int:
    return int(choose("table", text.removeprefix("table"), map(str, table_numbers())))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("bigain table", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("number", help=f"one of {', '.join(map(str, table_numbers()))}")
    parser.add_argument("--profile", default="mini", help="mini (default) or paper")
    parser.add_argument("--grid", default="default", help="default, or full: the paper's columns")
    parser.add_argument("--limit", help="images per run, the same as dataset.limit=N")
    parser.add_argument("--no-run", action="store_true", help="render what is there")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("overrides", nargs="*", help="key=value for all runs, such as seed=1")
    return parser


def _default_compose() -> Compose:
    from bigain.compose import compose_configs  # noqa: PLC0415 -- the one module that loads Hydra

    return compose_configs


def _default_runner() -> Runner:
    from bigain.runner import run  # noqa: PLC0415 -- loads torch

    return run


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")
