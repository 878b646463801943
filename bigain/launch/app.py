"""`bigain [-m] key=value ...`: check every run of the command line, then let Hydra launch them.

Hydra never sees an exception of a run: it would print a trace-back, and drop what else the sweep
has.  A job keeps its failure (on disk, through the run store) and the sweep goes on; what became
of it is read back from disk at the end, because a launcher may run the jobs in other processes.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

import bigain
from bigain.config import RunConfig
from bigain.config.messages import all_keys, did_you_mean
from bigain.engine import run as runner
from bigain.errors import UserError
from bigain.launch.compose import CONFIG_NAME, validate
from bigain.launch.summary import list_failures, run_report
from bigain.launch.sweep import Plan, plan_runs
from bigain.locations import CONFIGS
from bigain.runs.folder import check_results, make_results
from bigain.runs.identity import run_id

__all__ = ["job", "problems_of", "run_command_line"]

_FOREIGN = {
    "config_path": "the configuration is bigain's; override it with key=value",
    "config_name": "the configuration is bigain's; override it with key=value",
    "config_dir": "a further folder is given as hydra.searchpath=[file://DIR]",
    "experimental_rerun": "a run is repeated by its own command line with force=true",
}

USER_ERROR = 2

_problems: dict[str, Exception] = {}
"""Run id -> what ended it, for the runs of this process."""


def run_command_line(arguments: Sequence[str]) -> int:
    """Run, sweep, show the configuration or help; the exit code.

    Raises:
        UserError: The command line is wrong, or a single run ended by a mistake of the user.

    """
    if "--version" in arguments:
        sys.stdout.write(f"bigain {bigain.__version__}\n")
        return 0
    options = _options(arguments)
    flags = [argument for argument in arguments if argument not in options.overrides]
    if not (options.help or options.hydra_help or options.info or options.shell_completion):
        plan = plan_runs(options.overrides, options.multirun)
        if not options.cfg:
            return _execute(plan, [*plan.arguments, *flags])
        _check_package(options, plan)
    code = _hydra([*options.overrides, *flags])
    return USER_ERROR if code and options.cfg else code


def job(composed: DictConfig) -> None:
    """One run, as Hydra's launchers call it.  Its failure is told, kept and not raised."""
    config = validate(composed)
    try:
        outcome = runner.run(config)
    except UserError as error:
        _problems[run_id(config)] = error
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
    except Exception as error:
        _problems[run_id(config)] = error
        traceback.print_exc()
    else:
        sys.stdout.write(run_report(config, outcome))


def problems_of(launch: Callable[[], object]) -> Mapping[str, Exception]:
    """Call `launch`; run id -> what ended it, of the jobs that this process made in it."""
    _problems.clear()
    launch()
    return dict(_problems)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()
    parser.exit_on_error = False
    known = [flag for action in parser._actions for flag in action.option_strings]
    try:
        options, unknown = parser.parse_known_intermixed_args(list(arguments))
    except argparse.ArgumentError as error:
        message = error.message.replace(" (choose from ", "; allowed: ").removesuffix(")")
        raise UserError(f"{error.argument_name}: {message}") from error
    if unknown:
        allowed = ", ".join(flag for flag in known if flag.startswith("--"))
        hint = did_you_mean(unknown[0], known)
        raise UserError(f"{unknown[0]}: no such flag; allowed: {allowed}{hint}")
    for name, remedy in _FOREIGN.items():
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: not here; {remedy}")
    modes = [name for name in ("cfg", "run", "multirun") if getattr(options, name)]
    if len(modes) > 1:
        raise UserError(f"--{modes[0]} --{modes[1]}: allowed: one of --cfg, --run, --multirun")
    if (options.resolve or options.package) and not (options.cfg or options.help):
        raise UserError("--resolve, --package: allowed: together with --cfg job")
    return options


def _check_package(options: argparse.Namespace, plan: Plan) -> None:
    """Raise UserError if `--package` names nothing of the run's configuration to show."""
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


def _execute(plan: Plan, arguments: Sequence[str]) -> int:
    for results in {planned.config.paths.results for planned in plan.runs}:
        # Hydra keeps the record of a sweep there; a single run makes its folder when it starts.
        (make_results if plan.is_sweep else check_results)(results)
    _problems.clear()
    code = _hydra(arguments)
    if plan.is_sweep:
        failures = list_failures(plan.runs, _problems)
        sys.stderr.write(failures)
        return 1 if failures else code
    problem = _problems.get(run_id(plan.runs[0].config))
    if problem is not None:
        return USER_ERROR if isinstance(problem, UserError) else 1
    return code


def _hydra(arguments: Sequence[str]) -> int:
    """Hydra's own main on `arguments`; the code with which it would end the process."""
    before = sys.argv
    sys.argv = [before[0] if before else "bigain", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=CONFIG_NAME)(job)()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = before
    return 0
