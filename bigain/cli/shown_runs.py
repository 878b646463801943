"""Finished runs that `bigain sync-wandb` and `bigain dashboard` show: which, and how grouped."""

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bigain.cli.arguments import find_runs, results_folder
from bigain.config import TrackingConfig
from bigain.config.base import quoted
from bigain.errors import UserError
from bigain.launch.compose import compose_config, compose_configs
from bigain.runs.archive import Archive
from bigain.runs.files import need_results
from bigain.runs.store import RunStore, damaged_runs, run_folders
from bigain.tables.render import load_table, plan_of, table_name, table_numbers
from bigain.tracking.dashboard import build_client
from bigain.tracking.finished import Finished, finished_run
from bigain.tracking.sync import sync

__all__ = ["Choice", "add_choice", "choose_runs", "show_runs"]

_PROFILES = ("mini", "paper")


@dataclass(frozen=True)
class Choice:
    """Finished runs.

    Attributes:
        archive: Where they are.
        names: Their run ids.
        tables: Run id -> the tables that need it, which are its tags.
        group: The table that was asked for; else each run belongs to the first of its tables.

    """

    archive: Archive
    names: tuple[str, ...]
    tables: Mapping[str, Sequence[str]]
    group: str | None

    def runs(self, damaged: list[str]) -> Iterator[Finished]:
        """The runs, read one after the other; a line is added to `damaged` for each other one."""
        for name in self.names:
            tables = self.tables.get(name, ())
            first = next(iter(tables), None)
            try:
                found = finished_run(self.archive, name, first, tables, asked=self.group)
            except UserError as error:
                damaged.append(str(error))
            else:
                yield found


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose runs."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run ids, or their beginnings")
    parser.add_argument("--all", action="store_true", help="every finished run of the profile")
    parser.add_argument("--table", metavar="N", help="the runs of a table, as a group")
    parser.add_argument(
        "--profile",
        choices=_PROFILES,
        help="mini (default) or paper; runs that are named are looked for in both",
    )


def choose_runs(verb: str, options: argparse.Namespace) -> Choice:
    """The finished runs that the arguments choose.

    Raises:
        UserError: Nothing or too much is chosen, or a run is not finished.

    """
    chosen = [bool(options.runs), options.all, options.table is not None]
    if sum(chosen) != 1:
        raise UserError(f"{verb}: allowed: run ids, --all, or --table N")
    number = None if options.table is None else _number(options.table)
    results = results_folder(options.results)
    need_results(results)
    named = find_runs(results, options.runs)
    archive = Archive(results, options.profile or _profile_of(results, named))
    tables, group = _tables(archive), None
    names = named or _finished(archive)
    if number is not None:
        group, names = table_name(number), _of_table(number, archive)
        tables |= {name: sorted({*tables.get(name, ()), group}) for name in names}
    if not names:
        raise UserError(f"{verb}: no finished run of profile={archive.profile} in {results}")
    for name in names if not options.all else ():
        if not archive.is_available(name):
            raise UserError(
                f"{name}: no finished run of profile={archive.profile} in {results}; allowed: "
                "finished runs of one profile, see `bigain status` and runs.csv"
            )
    return Choice(archive, tuple(dict.fromkeys(names)), tables, group)


def show_runs(verb: str, tracker: str, choice: Choice, told: Mapping[str, Any]) -> TrackingConfig:
    """Show the runs in the dashboard of `tracker`; what is there already is left alone.

    Damaged runs are left out, with a line for each at the end.

    Args:
        verb: The command, for messages.
        tracker: An option of `tracking`.
        choice: The runs.
        told: What the user told the tracker, keys of `tracking`.

    Returns:
        What the tracker was told.

    Raises:
        UserError: The tracker is not installed, cannot be reached, or refuses; or all runs are
            damaged.

    """
    tracking = compose_config([f"tracking={tracker}"]).tracking.model_copy(update=dict(told))
    client, damaged = build_client(tracker, tracking), list[str]()
    try:
        shown = sync(choice.runs(damaged), client, tracking, choice.archive.results)
        were_new = list(tqdm(shown, total=len(choice.names), unit="run", desc=tracker))
    except client.refusals as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{verb}: {reason}; allowed: {client.remedy}") from error
    if damaged and not were_new:
        raise UserError("\n".join(damaged))
    new = sum(were_new)
    sys.stdout.write(f"{new} runs shown, {len(were_new) - new} were there already\n")
    sys.stderr.write("".join(f"left out: {line}\n" for line in damaged))
    return tracking


def _profile_of(results: Path, names: Sequence[str]) -> str:
    """The first profile that has all of these runs; mini if none has."""
    having = (
        profile for profile in _PROFILES if all(map(Archive(results, profile).is_available, names))
    )
    return next(having, _PROFILES[0])


def _number(text: str) -> int:
    allowed, name = table_numbers(), text.removeprefix("table").lstrip("0")
    if name not in map(str, allowed):
        raise UserError(f"--table={text}: allowed: {', '.join(map(str, allowed))}")
    return int(name)


def _tables(archive: Archive) -> dict[str, list[str]]:
    """Run id -> the rendered tables that name it; planning all tables would take half a minute."""
    found: dict[str, list[str]] = {}
    for name in map(table_name, table_numbers()):
        path = archive.results / archive.profile / "tables" / f"{name}.csv"
        if path.is_file():
            rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
            for run_id in {row.get("run_id") for row in rows} - {None, ""}:
                found.setdefault(str(run_id), []).append(name)
    return found


def _of_table(number: int, archive: Archive) -> list[str]:
    """The finished runs that a table needs."""
    place = f"paths.results={quoted(archive.results)}"
    plan = plan_of(load_table(number), archive.profile, "default", (place,), compose_configs)
    return [run.run_id for run in plan.distinct() if run.finished] if plan else []


def _finished(archive: Archive) -> list[str]:
    """The finished runs of the profile, here or published, and damaged ones, to tell of them."""
    damaged = damaged_runs(archive.results)
    mine = [
        folder.name
        for folder in run_folders(archive.results)
        if folder.name in damaged or _is_of_profile(archive, folder.name)
    ]
    return list(dict.fromkeys([*archive.run_ids(), *mine]))


def _is_of_profile(archive: Archive, run_id: str) -> bool:
    store = RunStore(archive.results, run_id)
    return store.is_finished() and store.manifest()["columns"]["profile"] == archive.profile
