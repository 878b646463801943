"""`bigain table`: carries out a request, from the plan of the runs to the rendered tables."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bigain.cli.table_request import Request, parse_request, request_parser
from bigain.engine.inputs import check_inputs
from bigain.errors import UserError
from bigain.launch.summary import list_failures
from bigain.runs.archive import Archive
from bigain.runs.files import check_results, make_results
from bigain.runs.identity import EXCLUDED
from bigain.runs.store import RunStore, damaged_runs
from bigain.tables.dry_run import PRINTERS, CountFlops, costed_runs, estimate, kept_flops
from bigain.tables.formats import render_markdown
from bigain.tables.planner import Compose, Plan, PlannedRun, pending, remembering
from bigain.tables.render import (
    families_of_all,
    load_table,
    plan_of,
    render_table,
    table_name,
    write_legend,
    write_table,
)
from bigain.tables.spec import TableSpec
from bigain.tables.static import StaticSpec

__all__ = ["main"]

Launch = Callable[[Sequence[PlannedRun], Sequence[str]], Mapping[int, str]]
"""Makes runs with Hydra's own settings, see `bigain.launch.sweep.launch_runs`."""

Plans = Mapping[int, tuple[TableSpec | StaticSpec, Plan | None]]


def main(
    argv: Sequence[str],
    compose: Compose | None = None,
    launch: Launch | None = None,
    flops: CountFlops | None = None,
) -> int:
    """Do what `table ARGV` asks for.

    Args:
        argv: The words after `table`.
        compose: Makes configurations; by default `bigain.launch.compose.compose_configs`.
        launch: Makes the runs; by default `bigain.launch.sweep.launch_runs`.
        flops: Counts the FLOPs of an evaluation, for estimates.

    Returns:
        0 done; 1 a run failed (all of them are listed); 2 a mistake in the input (one line).

    """
    if "--help" in argv:
        request_parser().print_help()
        return 0
    try:
        return _tables(
            parse_request(argv),
            remembering(compose or _default_compose()),
            launch or _default_launch(),
            flops or kept_flops(),
        )
    except UserError as error:
        _complain(" ".join(str(error).split()))
        return 2


def _tables(request: Request, compose: Compose, launch: Launch, flops: CountFlops) -> int:
    if request.hydra:
        compose([request.hydra])  # refuse an unknown launcher before any run
    plans = _plan(request, compose)
    results = _results(plans, request, compose)
    check_results(results)
    Archive(results, request.profile).check_names()
    _name_damaged(results, _distinct(plans))
    if request.dry:
        _say(_dry_run(plans, request, flops))
        return 0
    make_results(results)
    failures = ""
    if request.run:
        _check_inputs(_distinct(plans))
    runs = pending(_shown(plans))
    if request.run and runs:
        failures = list_failures(runs, launch(runs, request.hydra))
        plans = _plan(request, compose)
    _render(plans, request, results, compose)
    _note_settings(request)
    sys.stderr.write(failures)
    return 1 if failures else 0


def _check_inputs(runs: Mapping[str, PlannedRun]) -> None:
    """Raise UserError if a finished run was made from other weights or data than are there now."""
    for run in runs.values():
        store = RunStore(run.config.paths.results, run.run_id)
        if not run.config.force and store.is_finished():
            check_inputs(run.config, store)


def _render(plans: Plans, request: Request, results: Path, compose: Compose) -> None:
    folder = results / request.profile / "tables"
    families = families_of_all(compose)
    for spec, plan in plans.values():
        table = render_table(spec, request.profile, plan, compose, families, request.extra)
        paths = write_table(table, folder, request.formats)
        if len(plans) == 1:
            _say(render_markdown(table.document))
        _say(f"written: {', '.join(map(str, paths))}")
    write_legend(request.profile, folder)


def _note_settings(request: Request) -> None:
    """Say that a table with other settings has replaced the one with the profile's own."""
    grid = [] if request.grid == "default" else [f"--grid {request.grid}"]
    settings = [*grid, *(word for word in request.extra if _changes_results(word))]
    if settings and not any(word.startswith("paths.results=") for word in request.extra):
        names = " ".join(map(str, request.numbers))
        _complain(
            f"note: written with {' '.join(settings)} instead of the profile's own settings; "
            f"`python -m bigain table {names} --profile {request.profile} --no-run` restores the "
            "profile's table; paths.results=DIR writes elsewhere"
        )


def _changes_results(setting: str) -> bool:
    key = setting.lstrip("+~").partition("=")[0]
    return not {key, key.partition(".")[0]} & set(EXCLUDED)


def _dry_run(plans: Plans, request: Request, flops: CountFlops) -> str:
    runs, tables = _distinct(plans), _tables_of(plans)
    costs = estimate(list(runs.values()), flops, request.gflops_per_second)
    (name,) = request.formats or ("text",)
    return PRINTERS[name](costed_runs(runs, tables, costs))


def _plan(request: Request, compose: Compose) -> Plans:
    specs = {number: load_table(number) for number in request.numbers}
    return {
        number: (spec, plan_of(spec, request.profile, request.grid, request.extra, compose))
        for number, spec in specs.items()
    }


def _distinct(plans: Plans) -> dict[str, PlannedRun]:
    """Each run of all tables once, by run id, in the order of the tables."""
    made = (plan for _, plan in plans.values() if plan is not None)
    return {run.run_id: run for plan in made for run in plan.distinct()}


def _tables_of(plans: Plans) -> dict[str, list[int]]:
    """Run id -> the tables that need it."""
    tables: dict[str, list[int]] = {name: [] for name in _distinct(plans)}
    for number, (_, plan) in plans.items():
        for run in plan.distinct() if plan else []:
            tables[run.run_id].append(number)
    return tables


def _shown(plans: Plans) -> list[PlannedRun]:
    """The distinct runs; trackers tag each with its tables, and group them by a single table."""
    (only, *others), tables = plans, _tables_of(plans)
    group = None if others else table_name(only)
    return [
        replace(run, config=run.config.shown_in(group, [table_name(n) for n in tables[name]]))
        for name, run in _distinct(plans).items()
    ]


def _results(plans: Plans, request: Request, compose: Compose) -> Path:
    """`paths.results`, the same of all runs; of tables without runs that of the configuration."""
    for _, plan in plans.values():
        if plan is not None:
            return plan.results
    return compose([request.extra])[0].paths.results


def _name_damaged(results: Path, wanted: Mapping[str, PlannedRun]) -> None:
    """Say which runs count as missing because nobody can read their manifests."""
    for name, damage in damaged_runs(results).items():
        if name in wanted:
            _complain(f"counts as missing: {damage}")


def _default_compose() -> Compose:
    from bigain.launch.compose import compose_configs  # noqa: PLC0415 -- the one module that loads Hydra

    return compose_configs


def _default_launch() -> Launch:
    from bigain.launch.sweep import launch_runs  # noqa: PLC0415 -- loads Hydra's application

    return launch_runs


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")
