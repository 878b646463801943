"""`bigain sync-wandb`: finished runs in a W&B dashboard, from the run store or a fresh clone."""

import sys
from collections.abc import Sequence

from tqdm import tqdm

from bigain.cli.arguments import VerbParser, results_folder
from bigain.config.base import quoted
from bigain.errors import UserError
from bigain.launch.compose import compose_config, compose_configs
from bigain.runs.archive import Archive
from bigain.runs.files import need_results
from bigain.runs.store import RunStore, run_folders
from bigain.tables.render import load_table, plan_of, table_numbers
from bigain.tracking.dashboard import build_client
from bigain.tracking.finished import finished_run, sync

__all__ = ["main"]

_MODES = ("online", "offline")


def main(arguments: Sequence[str]) -> int:
    """Show the runs that are named; what is shown already is left alone."""
    parser = VerbParser("sync-wandb", "Show finished runs in a W&B dashboard.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run ids")
    parser.add_argument("--all", action="store_true", help="every finished run")
    parser.add_argument("--table", metavar="N", help="the runs of a table, as a group")
    parser.add_argument("--profile", default="mini", help="mini (default) or paper")
    parser.add_argument("--mode", choices=_MODES, help="default: WANDB_MODE, or online")
    parser.add_argument("--project", help="default: WANDB_PROJECT, or bigain")
    parser.add_argument("--entity", help="default: your own")
    options = parser.parse_args(arguments)
    chosen = [bool(options.runs), options.all, options.table is not None]
    if sum(chosen) != 1:
        raise UserError("sync-wandb: allowed: run ids, --all, or --table N")
    results = results_folder(options.results)
    need_results(results)
    archive = Archive(results, options.profile)
    group, names = None, list(options.runs) or _finished(archive)
    if options.table is not None:
        group, names = _of_table(options.table, archive)
    if not names:
        raise UserError(f"sync-wandb: no finished run of profile={options.profile} in {results}")
    for name in names:
        if not archive.is_available(name):
            raise UserError(
                f"{name}: no finished run of profile={options.profile} in {results}; allowed: a "
                "run id that `bigain status` or runs.csv lists"
            )
    told = {key: getattr(options, key) for key in ("mode", "project", "entity")}
    tags = [group] if group else []
    tracking = compose_config(["tracking=wandb"]).tracking.model_copy(
        update={**told, "group": group, "tags": tuple(tags)}
    )
    client = build_client("wandb", tracking)
    runs = (finished_run(archive, name, group, tags) for name in names)
    try:
        shown = sync(runs, client, tracking, results)
        new = sum(tqdm(shown, total=len(names), unit="run", desc="W&B"))
    except client.refusals as error:
        reason = " ".join(str(error).split())
        raise UserError(f"sync-wandb: {reason}; allowed: {client.remedy}") from error
    sys.stdout.write(f"{new} runs shown, {len(names) - new} were there already\n")
    return 0


def _finished(archive: Archive) -> list[str]:
    """The finished runs of the profile, here or published."""
    own = [folder.name for folder in run_folders(archive.results)]
    mine = [
        name
        for name in own
        if RunStore(archive.results, name).is_finished()
        and RunStore(archive.results, name).manifest()["columns"]["profile"] == archive.profile
    ]
    return list(dict.fromkeys([*archive.run_ids(), *mine]))


def _of_table(number: str, archive: Archive) -> tuple[str, list[str]]:
    """The name of a table, and its finished runs."""
    allowed = [str(each) for each in table_numbers()]
    name = number.removeprefix("table").lstrip("0")
    if name not in allowed:
        raise UserError(f"--table={number}: allowed: {', '.join(allowed)}")
    spec, quoted_results = load_table(int(name)), f"paths.results={quoted(archive.results)}"
    plan = plan_of(spec, archive.profile, "default", (quoted_results,), compose_configs)
    runs = plan.distinct() if plan else []
    return f"table{int(name):02}", [run.run_id for run in runs if run.finished]
