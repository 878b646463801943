"""What a command line will run: every combination of a sweep, validated before the first starts.

The combinations are those of Hydra's basic sweeper, computed by its own code: choices, ranges and
globs on the command line, and `hydra.sweeper.params` of an experiment.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.launch.compose import compose_with, config_loader, hydra_settings, parse_overrides

__all__ = ["Plan", "PlannedRun", "plan_runs"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a command line: its own overrides (a sweep expanded) and what they compose to."""

    overrides: tuple[str, ...]
    config: RunConfig


@dataclass(frozen=True)
class Plan:
    """A command line understood.

    Attributes:
        runs: Its runs, in the order of their launch.
        is_sweep: Whether they are a sweep, be it of one run.
        arguments: The overrides in a form that makes Hydra launch these runs.

    """

    runs: tuple[PlannedRun, ...]
    is_sweep: bool
    arguments: tuple[str, ...]


def plan_runs(overrides: Sequence[str], multirun: bool = False) -> Plan:
    """All runs of a command line.

    A sweep is asked for by `multirun`, or by `hydra.mode: MULTIRUN` in an experiment.

    Raises:
        UserError: A run is not allowed; the first such run in the order of launch.

    """
    with config_loader() as loader:
        parsed = parse_overrides(loader, overrides)
        settings = _settings(loader, parsed)
        is_sweep = multirun or settings is None or settings.mode == RunMode.MULTIRUN
        params = _params(settings)
        combinations = _expand(loader, parsed, params) if is_sweep else [list(overrides)]
        runs = [PlannedRun(tuple(each), compose_with(loader, each)) for each in combinations]
        arguments = _for_hydra(parsed, params) if is_sweep else list(overrides)
        return Plan(tuple(runs), is_sweep, tuple(arguments))


def _settings(loader: ConfigLoader, parsed: Sequence[Override]) -> DictConfig | None:
    """Hydra's settings for the command line as a whole; None if a mistake forbids them.

    The mistake is found again, and explained, when the runs are composed one by one.
    """
    try:
        return hydra_settings(loader, parsed)
    except Exception:
        return None


def _params(settings: DictConfig | None) -> dict[str, str]:
    """The sweep of an experiment, swept key -> values."""
    params = {} if settings is None else settings.sweeper.get("params") or {}
    return {str(key): str(value) for key, value in params.items()}


def _expand(
    loader: ConfigLoader, parsed: Sequence[Override], params: Mapping[str, str]
) -> list[list[str]]:
    swept = [f"{key}={value}" for key, value in params.items()]
    swept += [str(each.input_line) for each in parsed if not each.is_hydra_override()]
    fixed = [str(each.input_line) for each in parsed if each.is_hydra_override()]
    try:
        batches = BasicSweeper.split_arguments(parse_overrides(loader, swept), None)
    except HydraException as error:
        allowed = "values with commas, range(...), choice(...) or glob(...)"
        raise UserError(f"{' '.join(swept)}: no such sweep; allowed: {allowed}") from error
    combinations = [[*fixed, *combination] for batch in batches for combination in batch]
    if not combinations:
        allowed = "at least one value of each key, range(START,STOP) with START < STOP"
        raise UserError(f"{' '.join(swept)}: a sweep of no runs; allowed: {allowed}")
    return combinations


def _for_hydra(parsed: Sequence[Override], params: Mapping[str, str]) -> list[str]:
    """Overrides that Hydra accepts for the sweep as a whole.

    It first composes the sweep without what is swept.  With `operator=tome,lgtm` swept, it would
    not know the key of `operator.ratio=0.7`; as a choice of one value it is swept too.
    """
    swept = {*params, *(each.key_or_group for each in parsed if each.is_sweep_override())}
    return [
        _as_choice(each) if _below_any(each, swept) else str(each.input_line) for each in parsed
    ]


def _below_any(override: Override, swept: Collection[str]) -> bool:
    """Whether the key is one of a swept group, or of whatever a swept experiment chooses."""
    group, dot, _ = override.key_or_group.partition(".")
    plain = not (override.is_sweep_override() or override.is_delete() or group == "hydra")
    return plain and bool(dot) and (group in swept or "experiment" in swept)


def _as_choice(override: Override) -> str:
    key, _, value = str(override.input_line).partition("=")
    return f"{key}=choice({value})"
