"""The runs of a command line, and Hydra's launchers that carry them out.

A sweep is the product of the choices, ranges and globs of the command line and of an experiment's
`hydra.sweeper.params`.  All its runs are composed and checked before the first one starts.  A job
receives its checked configuration as JSON.  So a run is composed once, and a file that changes
while jobs wait in a queue changes no job.  A job returns its failure and never raises: Hydra would
print a traceback and drop the rest of the sweep.

One private module of Hydra is still used: every launcher needs a `HydraContext` with
`hydra._internal.callbacks.Callbacks`, and Hydra has no public way to make it.
"""

import copy
import json
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from bigain.config import RunConfig, format_validation_error
from bigain.engine import run as engine
from bigain.errors import UserError
from bigain.launch.compose import (
    CONFIG_NAME,
    compose_with,
    config_loader,
    hydra_settings,
)
from bigain.launch.overrides import SEARCH_PATH, parse_overrides
from bigain.launch.summary import Failure, Launched, run_report
from bigain.locations import absolute_path
from bigain.machine import wait_passively
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore

__all__ = [
    "Plan",
    "PlannedRun",
    "check_operators",
    "job",
    "launch_one",
    "launch_runs",
    "launch_sweep",
    "plan_runs",
]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a command line: its own overrides (a sweep expanded) and what they compose to."""

    overrides: tuple[str, ...]
    config: RunConfig


@dataclass(frozen=True)
class Plan:
    """The runs of a command line.

    Attributes:
        runs: In the order of their launch.
        is_sweep: Whether they are a sweep, which may have one run.
        hydra: Hydra's own settings for all of them.

    """

    runs: tuple[PlannedRun, ...]
    is_sweep: bool
    hydra: DictConfig


def plan_runs(overrides: Sequence[str], multirun: bool = False) -> Plan:
    """All runs of a command line.

    They are a sweep if `multirun` is set or an experiment has `hydra.mode: MULTIRUN`.

    Raises:
        UserError: A run is not allowed; the message is about the first such run.

    """
    with config_loader() as loader:
        parsed = parse_overrides(loader, overrides)
        # Files of the user count for every run; Hydra's other settings do not change a run.
        paths = [str(each.input_line) for each in parsed if each.key_or_group == SEARCH_PATH]
        hydra = hydra_settings(loader, parsed)
        is_sweep = multirun or hydra.mode == RunMode.MULTIRUN
        own = [each for each in parsed if not each.is_hydra_override()]
        combinations = [[str(each.input_line) for each in own]]
        if is_sweep:
            params = (hydra.sweeper.get("params") or {}).items()
            swept = parse_overrides(loader, [f"{key}={value}" for key, value in params])
            combinations = _expand([*swept, *own])
        runs = [
            PlannedRun(tuple(each), compose_with(loader, [*paths, *each])) for each in combinations
        ]
        for run in runs:
            _need_root(run.config)
        hydra.overrides.task = [str(each.input_line) for each in own]
        return Plan(tuple(runs), is_sweep, hydra)


def _need_root(config: RunConfig) -> None:
    """Raise UserError if images of the user's own are to be read, but no folder is named."""
    if config.needs_images and not config.dataset.is_known:
        allowed = f"a folder, because dataset={config.dataset.name} reads your own images"
        raise UserError(f"dataset.root=null: allowed: {allowed}")


def check_operators(runs: Sequence[Launched]) -> None:
    """Check the operators of all unfinished runs before the first one starts.

    Only the class of an operator knows what its settings may be, and it needs torch.

    Raises:
        UserError: A setting is not allowed, or the operator has no place in the backbone.

    """
    stores = [RunStore(run.config.paths.results, run_id(run.config)) for run in runs]
    left = [run for run, store in zip(runs, stores, strict=True) if not store.is_finished()]
    if left:
        from bigain.engine.build_operator import check_operator  # noqa: PLC0415

        for run in left:
            check_operator(run.config)


def launch_one(plan: Plan) -> Failure | None:
    """Make the single run of `plan` in this process; returns its failure, None if it succeeded."""
    (run,) = plan.runs
    config, context = _with_hydra(run.config, plan.hydra), _context(plan.hydra)
    context.callbacks.on_run_start(config=config, config_name=CONFIG_NAME)
    returned = run_job(job, config, "hydra.run.dir", None, context)
    context.callbacks.on_run_end(config=config, config_name=CONFIG_NAME, job_return=returned)
    return cast(Failure | None, returned.return_value)


def launch_sweep(runs: Sequence[Launched], hydra: DictConfig) -> dict[int, Failure]:
    """Make `runs`, in this order, with the launcher that Hydra's settings choose.

    Returns:
        Position in `runs` -> failure that the launcher returned, once all runs have ended.  A
        launcher that uses other processes may lose some; the run store knows all of them.

    """
    sweep = _with_hydra(runs[0].config, hydra)
    context = _context(hydra)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=job, config=sweep
    )
    folder = Path(sweep.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(sweep, folder / "multirun.yaml")
    context.callbacks.on_multirun_start(config=sweep, config_name=CONFIG_NAME)
    shown = [run.config.shown_in(folder.name) for run in runs]
    jobs = [
        [*run.overrides, _RUN + config.model_dump_json()]
        for run, config in zip(runs, shown, strict=True)
    ]
    size = hydra.sweeper.get("max_batch_size") or len(jobs)
    failures: dict[int, Failure] = {}
    for first in range(0, len(jobs), size):
        returned = launcher.launch(jobs[first : first + size], initial_job_idx=first)
        failures |= _failures(returned, first)
    context.callbacks.on_multirun_end(config=sweep, config_name=CONFIG_NAME)
    return failures


def launch_runs(runs: Sequence[Launched], settings: Sequence[str] = ()) -> dict[int, str]:
    """Make listed runs as a sweep does.

    Args:
        runs: The runs, in this order.
        settings: Hydra's own overrides, such as `hydra/launcher=submitit_slurm`.

    Returns:
        Position in `runs` -> error, see `launch_sweep`.

    """
    check_operators(runs)
    with config_loader() as loader:
        hydra = hydra_settings(loader, parse_overrides(loader, settings))
    return {at: failure.error for at, failure in launch_sweep(runs, hydra).items()}


def job(composed: DictConfig) -> Failure | None:
    """Make one run and print its report or its error; returns its failure.

    Hydra's launchers call this; those that use other processes send its name, not its code.
    """
    wait_passively()
    plain = cast(dict[str, Any], OmegaConf.to_container(composed))
    try:
        config = _checked(plain)
        outcome = engine.run(config)
    except Exception as error:
        is_users = isinstance(error, UserError)
        if is_users:
            sys.stderr.write(f"{' '.join(str(error).split())}\n")
        else:
            traceback.print_exc()
        text = f"{type(error).__name__}: {error}".strip(": ")
        return Failure(run_id(plain), text, is_users)
    sys.stdout.write(run_report(config, outcome))
    return None


def _checked(plain: Mapping[str, Any]) -> RunConfig:
    """The run of a job; raises UserError if images of the user's own changed while it waited."""
    try:
        return RunConfig.model_validate(plain)
    except ValidationError as error:
        raise UserError(format_validation_error(error)) from error


def _expand(overrides: Iterable[Override]) -> list[list[str]]:
    """The product of all choices.  A key given twice has its last value and its first position."""
    choices: dict[str, list[str]] = {}
    for each in overrides:
        key = each.get_key_element()
        if not each.is_sweep_override():
            choices[key] = [f"{key}={each.get_value_element_as_str()}"]
        elif each.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in each.sweep_string_iterator()]
        else:
            allowed = "values with commas, range(...), choice(...) or glob(...)"
            raise UserError(f"{each.input_line}: no such sweep; allowed: {allowed}")
        if not choices[key]:
            allowed = "at least one value of each key, range(START,STOP) with START < STOP"
            raise UserError(f"{each.input_line}: a sweep of no runs; allowed: {allowed}")
    return [list(combination) for combination in product(*choices.values())]


_RUN = "hydra.run_as_json="
"""Start of the last override of a job.  Launchers log a job's overrides, but not those of Hydra."""


class _ComposedRuns:
    """Stands in for Hydra's `ConfigLoader`; launchers call this method only."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> Any:
        """The configuration of a job, from the JSON in its last override."""
        *overrides, composed = sweep_overrides
        run, hydra = json.loads(composed.removeprefix(_RUN)), copy.deepcopy(master_config.hydra)
        hydra.overrides.task = overrides
        config = OmegaConf.create({**run, "hydra": hydra})
        OmegaConf.copy_cache(from_config=master_config, to_config=config)  # one time stamp for all
        return config


def _context(hydra: DictConfig) -> HydraContext:
    settings = OmegaConf.create({"hydra": hydra})
    return HydraContext(cast(ConfigLoader, _ComposedRuns()), Callbacks(settings))


def _with_hydra(config: RunConfig, hydra: DictConfig) -> DictConfig:
    """The run and Hydra's settings, with the folders of Hydra as absolute as those of the run."""
    composed = OmegaConf.create({**config.model_dump(mode="json"), "hydra": copy.deepcopy(hydra)})
    for mode in ("run", "sweep"):
        folder = str(composed.hydra[mode].dir)
        try:
            composed.hydra[mode].dir = str(absolute_path(folder))
        except ValueError as error:
            raise UserError(f"hydra.{mode}.dir={folder}: {error}; allowed: a folder") from error
    return composed


def _failures(returned: Sequence[JobReturn], first: int) -> dict[int, Failure]:
    values: list[Any] = [each.return_value for each in returned]
    return {first + at: value for at, value in enumerate(values) if isinstance(value, Failure)}
