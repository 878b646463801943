"""`bigain [-m] key=value ...`: check every run of the command line, then carry them out.

Hydra's own main is used only for flags that show something: `--cfg`, `--help`, `--info` and shell
completion.
"""

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import hydra

import bigain
from bigain.config import RunConfig
from bigain.config.messages import all_keys, did_you_mean
from bigain.errors import FaultError, UserError
from bigain.launch.compose import CONFIG_NAME, own_launchers
from bigain.launch.jobs import job
from bigain.launch.overrides import quote_homes
from bigain.launch.plan import (
    Plan,
    check_caches,
    check_calibrations,
    check_operators,
    name_runs,
    plan_runs,
)
from bigain.launch.summary import list_failures, note_shards
from bigain.launch.sweep import launch_one, launch_sweep
from bigain.locations import CONFIGS
from bigain.runs.files import check_results, make_results

__all__ = ["run_command_line"]

_REFUSED = {
    "config_path": "the configuration is bigain's; override it with key=value",
    "config_name": "the configuration is bigain's; override it with key=value",
    "config_dir": "add another folder with hydra.searchpath=[file://DIR]",
    "experimental_rerun": "repeat a run with its own command line and force=true",
}
"""Flags of Hydra that do not work here -> what to use instead."""

USER_ERROR = 2


def run_command_line(arguments: Sequence[str]) -> int:
    """Run, sweep, show the configuration or help; the exit code.

    Raises:
        UserError: The command line is wrong.

    """
    options = _options(arguments)
    if options.version:
        sys.stdout.write(f"bigain {bigain.__version__}\n")
        return 0
    if options.help or options.hydra_help or options.info or options.shell_completion:
        return _show(arguments)
    plan = plan_runs(options.overrides, options.multirun)
    if options.cfg:
        _check_package(options, plan)
        return USER_ERROR if _show(arguments) else 0
    check_calibrations(plan.runs)
    for results in {run.config.paths.results for run in plan.runs}:
        # A sweep writes its record there now; a single run makes its folder when it starts.
        (make_results if plan.is_sweep else check_results)(results)
    check_operators(plan.runs)
    check_caches(plan)
    plan = name_runs(plan)
    if not plan.is_sweep:
        failure = launch_one(plan)
        return 0 if failure is None else USER_ERROR if failure.is_users else 1
    failures, code = {}, 0
    try:
        failures = launch_sweep(plan.runs, plan.hydra)
    except (UserError, FaultError):
        raise
    except Exception:  # the launcher failed; the run store says which runs did
        traceback.print_exc()
        code = 1
    listed = list_failures(plan.runs, {at: failure.error for at, failure in failures.items()})
    sys.stderr.write(f"{listed}{note_shards(plan.runs)}")
    return 1 if listed else code


class _Parser(argparse.ArgumentParser):
    """Hydra's documented flags; a mistake is a `UserError`."""

    def __init__(self) -> None:
        super().__init__(prog="bigain", add_help=False, allow_abbrev=False)
        self.add_argument("overrides", nargs="*")
        for names in (
            *(("--help", "-h"), ("--version",), ("--hydra-help",), ("--resolve",), ("--run", "-r")),
            *(("--multirun", "-m"), ("--shell-completion", "-sc")),
        ):
            self.add_argument(*names, action="store_true")
        self.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
        self.add_argument("--package", "-p")
        shown = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
        self.add_argument("--info", "-i", nargs="?", const="all", choices=shown)
        for names in (("--config-path", "-cp"), ("--config-name", "-cn"), ("--config-dir", "-cd")):
            self.add_argument(*names)
        self.add_argument("--experimental-rerun")

    @property
    def flags(self) -> list[str]:
        """All spellings of all flags."""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        """Raise UserError in place of printing usage."""
        line = message.removeprefix("argument ").replace(" (choose from ", "; allowed: ")
        raise UserError(line.removesuffix(")"))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser()
    options, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        allowed = ", ".join(flag for flag in parser.flags if flag.startswith("--"))
        hint = did_you_mean(unknown[0], parser.flags)
        raise UserError(f"{unknown[0]}: no such flag; allowed: {allowed}{hint}")
    for name, remedy in _REFUSED.items():
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: not supported; {remedy}")
    modes = [name for name in ("cfg", "run", "multirun") if getattr(options, name)]
    if len(modes) > 1:
        raise UserError(f"--{modes[0]} --{modes[1]}: allowed: one of --cfg, --run, --multirun")
    if (options.resolve or options.package) and not (options.cfg or options.help):
        raise UserError("--resolve, --package: allowed: together with --cfg job")
    return options


def _check_package(options: argparse.Namespace, plan: Plan) -> None:
    """Raise UserError if `--package` names no part of the run's configuration."""
    name = options.package
    if options.cfg != "job" or name in (None, "_global_"):
        return
    part: Any = plan.runs[0].config.model_dump()
    for key in name.split("."):
        part = part.get(key) if isinstance(part, dict) else None
    if part is None:
        allowed = ", ".join(RunConfig.model_fields)
        hint = did_you_mean(name, all_keys())
        raise UserError(f"--package {name}: nothing to show; allowed: {allowed}{hint}")


def _show(arguments: Sequence[str]) -> int:
    """Call Hydra's own main with `arguments`; returns its exit code."""
    before = sys.argv
    sys.argv = [before[0] if before else "bigain", *map(quote_homes, arguments)]
    try:
        with own_launchers():
            hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=CONFIG_NAME)(job)()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = before
    return 0
