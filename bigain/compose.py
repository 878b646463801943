"""From `key=value` overrides to validated runs: Hydra composes `configs/`, pydantic judges.

Hydra alone lets `+operator.ratoi=0.7` through and answers other mistakes in several lines.  Here
every mistake becomes a `UserError` of one line.  When Hydra refuses to compose, the overrides are
composed once more with every key forced in, so that the same models name the mistake.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from bigain.config import RunConfig, format_validation_error
from bigain.config.messages import all_keys, did_you_mean, unknown_key
from bigain.errors import UserError
from bigain.locations import CONFIGS

__all__ = [
    "CONFIG_NAME",
    "PlannedRun",
    "compose_config",
    "compose_configs",
    "plan_runs",
    "validate",
]

CONFIG_NAME = "config"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a command line: its own overrides (a sweep expanded) and what they compose to."""

    overrides: tuple[str, ...]
    config: RunConfig


def compose_config(overrides: Sequence[str] = ()) -> RunConfig:
    """The run that `overrides` describe.  Raises UserError; reads nothing but `configs/`."""
    return compose_configs([overrides])[0]


def compose_configs(commands: Sequence[Sequence[str]]) -> list[RunConfig]:
    """`compose_config` for several runs, at a fraction of the cost of one call for each."""
    with _config_loader() as loader:
        return [_compose(loader, overrides) for overrides in commands]


def plan_runs(overrides: Sequence[str], multirun: bool = False) -> list[PlannedRun]:
    """All runs of a command line, in the order in which Hydra's basic sweeper launches them.

    A sweep is asked for by `multirun`, or by `hydra.mode: MULTIRUN` in an experiment.  Raises
    UserError for the first run that is not allowed.
    """
    with _config_loader() as loader:
        parsed = _parse(loader, overrides)
        master = _master(loader, overrides)
        sweeps = multirun or (master is not None and master.hydra.mode == RunMode.MULTIRUN)
        combinations = _expand(loader, parsed, master) if sweeps else [list(overrides)]
        return [PlannedRun(tuple(each), _compose(loader, each)) for each in combinations]


def validate(composed: DictConfig) -> RunConfig:
    """The run in a composed configuration (without its `hydra` node).  Raises UserError."""
    return _validate(composed, {})


@contextmanager
def _config_loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="bigain"):
        yield GlobalHydra.instance().config_loader()


def _compose(loader: ConfigLoader, overrides: Sequence[str]) -> RunConfig:
    parsed = _parse(loader, overrides)
    for override in parsed:
        _refuse_sweep(override)
    try:
        composed = _load(loader, overrides, RunMode.RUN)
    except Exception as error:
        raise UserError(_diagnose(loader, parsed, error)) from error
    return _validate(composed, _typed(parsed), _groups(composed))


def _load(loader: ConfigLoader, overrides: Sequence[str], mode: RunMode) -> DictConfig:
    return loader.load_configuration(
        CONFIG_NAME, list(overrides), mode, from_shell=False, validate_sweep_overrides=False
    )


def _validate(
    composed: DictConfig, typed: Mapping[str, str], groups: Sequence[str] = ()
) -> RunConfig:
    job = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    try:
        data = OmegaConf.to_container(job, resolve=True, throw_on_missing=True)
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise UserError(format_validation_error(error, typed, groups)) from error
    except Exception as error:
        raise UserError(_one_line(error, typed.values())) from error


def _parse(loader: ConfigLoader, overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create(config_loader=loader)
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except (OverrideParseException, HydraException) as error:
            allowed = "key=value, with quotes around special characters and brackets in pairs"
            raise UserError(f"{text}: not understood; allowed: {allowed}") from error
    return parsed


def _refuse_sweep(override: Override) -> None:
    if override.is_sweep_override():
        text, key = override.input_line, override.key_or_group
        value = str(text).partition("=")[2]
        allowed = f"one value, a list {key}=[{value}], or several runs with -m (--multirun)"
        raise UserError(f"{text}: several values; allowed: {allowed}")


def _master(loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig | None:
    """The configuration of a whole sweep; None when a mistake forbids it (found run by run later)."""
    try:
        return _load(loader, overrides, RunMode.MULTIRUN)
    except Exception:
        return None


def _expand(
    loader: ConfigLoader, parsed: Sequence[Override], master: DictConfig | None
) -> list[list[str]]:
    """What Hydra's basic sweeper makes of the sweep in an experiment and on the command line."""
    params = (master.hydra.sweeper.get("params") or {}) if master is not None else {}
    swept = [f"{key}={value}" for key, value in params.items()]
    swept += [str(each.input_line) for each in parsed if not each.is_hydra_override()]
    fixed = [str(each.input_line) for each in parsed if each.is_hydra_override()]
    try:
        batches = BasicSweeper.split_arguments(_parse(loader, swept), max_batch_size=None)
    except HydraException as error:
        raise UserError(f"{' '.join(swept)}: allowed: lists, range(...), glob(...)") from error
    return [[*fixed, *combination] for combination in batches[0]]


def _typed(parsed: Sequence[Override]) -> dict[str, str]:
    return {override.key_or_group: str(override.input_line) for override in parsed}


def _groups(composed: DictConfig) -> list[str]:
    return [str(name) for name in composed.hydra.runtime.choices]


def _diagnose(loader: ConfigLoader, parsed: Sequence[Override], error: Exception) -> str:
    """The one line for overrides that Hydra refuses with `error`."""
    if isinstance(error, MissingConfigException) and error.options:
        return _wrong_option(parsed, error)
    groups = _groups(_load(loader, [], RunMode.RUN))
    for override in parsed:
        key, text = override.key_or_group, str(override.input_line)
        if key not in groups and key.partition(".")[0] not in {*RunConfig.model_fields, "hydra"}:
            allowed = list(RunConfig.model_fields)
            return unknown_key(text, key, allowed, [*all_keys(), *groups])
    try:
        forced = _load(loader, [_forced(each, groups) for each in parsed], RunMode.RUN)
        _validate(forced, _typed(parsed), groups)
    except UserError as mistake:
        return str(mistake)
    except Exception as second:
        return _one_line(second, _typed(parsed).values())
    for override in parsed:
        if override.is_add():
            allowed = f"{str(override.input_line)[1:]} (the key exists, so no leading +)"
            return f"{override.input_line}: allowed: {allowed}"
    return _one_line(error, _typed(parsed).values())


def _wrong_option(parsed: Sequence[Override], error: MissingConfigException) -> str:
    options = list(error.options or ())
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    written = _typed(parsed).get(group, f"{group}={option}")
    return f"{written}: allowed: {', '.join(options)}{did_you_mean(option, options)}"


def _forced(override: Override, groups: Sequence[str]) -> str:
    """The override as one that Hydra takes although the key may not exist."""
    text = str(override.input_line)
    bare = text.lstrip("+")
    if override.is_delete() or override.is_hydra_override():
        return text
    return bare if override.key_or_group in groups else f"++{bare}"


def _one_line(error: Exception, typed: Any) -> str:
    cause = error.__cause__ if not str(error) and error.__cause__ else error
    reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), repr(cause))
    return f"{' '.join(typed)}: {reason}".removeprefix(": ")


def _for_backbone(table: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """`${for_backbone:{mini_unet:0.9,mini_dit:0.0}}`: the entry of the run's backbone."""
    return table[_root_.backbone.name]


OmegaConf.register_new_resolver("for_backbone", _for_backbone, replace=True)
