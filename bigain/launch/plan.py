"""The runs of a command line, composed and checked before the first one starts.

A sweep is the product of the choices, ranges and globs of the command line and of an experiment's
`hydra.sweeper.params`.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

from bigain.config import GenerationConfig, RunConfig
from bigain.engine.cache_folder import check_cache
from bigain.errors import UserError
from bigain.launch.compose import compose_with, config_loader, hydra_settings
from bigain.launch.engines import check_installed, is_elsewhere
from bigain.launch.overrides import SEARCH_PATH, parse_overrides, refuse_tracker_sweep
from bigain.launch.summary import Launched
from bigain.runs.calibrations import need_calibration
from bigain.runs.identity import run_id
from bigain.runs.operator_calibrations import need_operator_calibration
from bigain.runs.store import RunStore

__all__ = ["Plan", "PlannedRun", "check_caches", "check_calibrations", "check_operators"]
__all__ += ["name_runs", "plan_runs"]


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
        check_installed(hydra)
        is_sweep = multirun or hydra.mode == RunMode.MULTIRUN
        own = [each for each in parsed if not each.is_hydra_override()]
        combinations = [[str(each.input_line) for each in own]]
        if is_sweep:
            params = (hydra.sweeper.get("params") or {}).items()
            swept = parse_overrides(loader, [f"{key}={value}" for key, value in params])
            refuse_tracker_sweep([*swept, *own])
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


def check_calibrations(runs: Sequence[PlannedRun]) -> None:
    """Raise UserError if a race or an operator has no calibration and needs one.

    The settings of such an operator are checked first: none can be calibrated with wrong ones.
    """
    for run in runs:
        need_calibration(run.config, run.overrides)
        if run.config.operator.is_calibrated:
            check_operators([run])
        need_operator_calibration(run.config, run.overrides)


def check_operators(runs: Sequence[Launched]) -> None:
    """Check the operators of all unfinished runs before the first one starts.

    Only the class of an operator knows what its settings may be, and it needs torch.

    Raises:
        UserError: A setting is not allowed, or the operator has no place in the backbone.

    """
    left = [run for run in runs if not _is_finished(run.config)]
    if left:
        from bigain.engine.build_operator import check_operator  # noqa: PLC0415

        for run in left:
            check_operator(run.config)


def check_caches(plan: Plan) -> None:
    """Make the folder `paths.cache` of all unfinished runs that need it.

    Raises:
        UserError: That is impossible on this machine, which makes the runs.

    """
    if not is_elsewhere(plan.hydra):
        for run in plan.runs:
            if not _is_finished(run.config):
                check_cache(run.config)


def _is_finished(config: RunConfig) -> bool:
    return config.has_name and RunStore(config.paths.results, run_id(config)).is_finished()


def name_runs(plan: Plan) -> Plan:
    """The plan with numbers in place of `task.images_per_forward=auto`.

    A number is measured, which loads the backbone, where none is kept.

    Raises:
        UserError: The runs are to be made on other machines, weights or data are
            missing, or `paths.cache` cannot be used.
        FaultError: The disk of the folder `paths.cache` is full or broken.

    """
    if all(run.config.has_name for run in plan.runs):
        return plan
    if is_elsewhere(plan.hydra):
        raise UserError(
            "task.images_per_forward=auto: would be measured on this machine, which does not make "
            "the runs; allowed: an integer from 1 to 256"
        )
    return replace(plan, runs=tuple(_named(run) for run in plan.runs))


def _named(run: PlannedRun) -> PlannedRun:
    if run.config.has_name:
        return run
    from bigain.engine.images_per_forward import with_images_per_forward  # noqa: PLC0415 -- torch

    config = with_images_per_forward(run.config)
    number = config.task_as(GenerationConfig).images_per_forward
    sys.stderr.write(f"{config.title}: task.images_per_forward=auto is {number} here\n")
    return replace(run, config=config)


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
