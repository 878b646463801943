"""From `key=value` overrides to validated runs: Hydra composes `configs/`, pydantic validates.

Hydra accepts `+operator.ratoi=0.7` and explains other mistakes in several lines.  Here every
mistake becomes a `UserError` of one line.  When Hydra refuses an override, the overrides are
composed once more with all keys allowed, so that the pydantic models can name the mistake.

Hydra needs a tenth of a second to compose a run, and a sweep has hundreds of runs.  Most of them
choose the same groups.  So what the group choices compose to is cached until a file of `configs/`
changes, and plain `key=value` overrides are applied to a copy.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from bigain.config import ClassificationConfig, RunConfig, format_validation_error
from bigain.config.messages import all_keys, did_you_mean, unknown_key
from bigain.data.places import with_root
from bigain.errors import UserError
from bigain.launch.overrides import (
    TRACKING,
    check_listed_trackers,
    check_trackers,
    parse_overrides,
)
from bigain.launch.resolvers import register_resolvers
from bigain.locations import CONFIGS
from bigain.runs.calibrations import with_calibration
from bigain.runs.operator_calibrations import with_operator_calibration

__all__ = [
    "CONFIG_NAME",
    "compose_config",
    "compose_configs",
    "compose_with",
    "config_loader",
    "hydra_settings",
    "own_launchers",
    "validate",
]

CONFIG_NAME = "config"


@dataclass(frozen=True)
class _Base:
    """The composition of group choices without values, and the names of all groups."""

    job: DictConfig
    hydra: DictConfig
    groups: tuple[str, ...]


_BASES: dict[tuple[object, ...], _Base] = {}


def compose_config(overrides: Sequence[str] = ()) -> RunConfig:
    """The run that `overrides` describe, from `configs/` alone; raises UserError."""
    return compose_configs([overrides])[0]


def compose_configs(commands: Sequence[Sequence[str]]) -> list[RunConfig]:
    """The runs of several lists of overrides; Hydra starts once."""
    with config_loader() as loader:
        return [compose_with(loader, overrides) for overrides in commands]


def compose_with(loader: ConfigLoader, overrides: Sequence[str]) -> RunConfig:
    """The run that `overrides` describe, inside `config_loader`; raises UserError."""
    parsed = parse_overrides(loader, overrides)
    groups = _base(()).groups
    for override in parsed:
        _check_override(override, loader, groups)
    _check_operator_keys(loader, parsed)
    try:
        composed = _compose(parsed)
    except Exception as error:
        raise UserError(_diagnose(loader, parsed, error)) from error
    config = validate(composed, _typed(parsed), groups)
    _check_race(config, parsed)
    _check_sites(config, parsed)
    return config


def validate(
    composed: DictConfig, typed: Mapping[str, str] | None = None, groups: Sequence[str] = ()
) -> RunConfig:
    """The run in a composed configuration, all its paths absolute; raises UserError.

    Messages quote `typed` (key -> override as typed) and may suggest one of `groups` as the key.
    """
    typed = typed or {}
    try:
        data = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        config = RunConfig.model_validate(data)
        rooted = config.model_copy(update={"dataset": with_root(config.dataset)})
        return with_operator_calibration(with_calibration(rooted))
    except ValidationError as error:
        raise UserError(format_validation_error(error, typed, groups)) from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(_one_line(error, typed)) from error


@contextmanager
def config_loader() -> Iterator[ConfigLoader]:
    """Hydra's reader of `configs/`; the state of a Hydra application around it is restored."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with (
            own_launchers(),
            initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="bigain"),
        ):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = outer


@contextmanager
def own_launchers() -> Iterator[None]:
    """Let the files of `configs/hydra/launcher` take the place of settings that plugins store.

    Hydra checks a file against stored settings of the same name, and warns that a later version
    will not.  The files have all that launchers need, so they will work without the check, too.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated", UserWarning)
        yield


def hydra_settings(loader: ConfigLoader, parsed: Sequence[Override]) -> DictConfig:
    """Hydra's own settings for `parsed`, leaving out swept overrides; raises UserError."""
    fixed = [override for override in parsed if not override.is_sweep_override()]
    choices = _choices(fixed)
    own = [str(override.input_line) for override in fixed if _is_hydras(override)]
    try:
        return _load([*choices, *own]).hydra if own else copy.deepcopy(_base(choices).hydra)
    except Exception as error:
        raise UserError(_diagnose(loader, parsed, error)) from error


def _compose(parsed: Sequence[Override]) -> DictConfig:
    """The composed job, without Hydra's own settings; raises what Hydra raises."""
    choices = _choices(parsed)
    values = [override for override in parsed if override.input_line not in choices]
    if any(_is_hydras(each) or each.type != OverrideType.CHANGE for each in values):
        return _without_hydra(_load([str(override.input_line) for override in parsed]))
    job = copy.deepcopy(_base(choices).job)
    OmegaConf.set_struct(job, True)
    for override in values:
        OmegaConf.update(job, override.key_or_group, override.value(), merge=True)
    return job


def _load(overrides: Sequence[str]) -> DictConfig:
    composed = compose(CONFIG_NAME, list(overrides), return_hydra_config=True)
    if TRACKING not in composed.hydra.runtime.choices:  # it is a list, of a file perhaps
        check_listed_trackers(CONFIG_NAME, overrides)
    return composed


def _base(choices: Sequence[str]) -> _Base:
    files = sorted(CONFIGS.rglob("*.yaml"))
    changed = tuple((str(file), file.stat().st_mtime_ns) for file in files)
    key = (changed, *choices)
    if key not in _BASES:
        composed = _load(choices)
        groups = tuple(name for name in map(str, composed.hydra.runtime.choices) if "@" not in name)
        _BASES[key] = _Base(_without_hydra(composed), composed.hydra, groups)
    return _BASES[key]


def _without_hydra(composed: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])


def _choices(parsed: Sequence[Override]) -> list[str]:
    """The overrides that choose an option of a group."""
    groups = _base(()).groups
    return [str(override.input_line) for override in parsed if _chooses(override, groups)]


def _chooses(override: Override, groups: Sequence[str]) -> bool:
    key = override.key_or_group
    is_folder = "." not in key and (CONFIGS / key).is_dir()
    return key in groups or "/" in key or override.package is not None or is_folder


def _is_hydras(override: Override) -> bool:
    return override.key_or_group.startswith("hydra.")


def _typed(parsed: Sequence[Override]) -> dict[str, str]:
    return {override.key_or_group: str(override.input_line) for override in parsed}


def _check_override(override: Override, loader: ConfigLoader, groups: Sequence[str]) -> None:
    """Raise UserError for mistakes that Hydra accepts or explains in many lines."""
    text, key = str(override.input_line), override.key_or_group
    group, _, last = key.rpartition(".")
    if override.is_sweep_override():
        listed = f"one value, a list {key}=[{text.partition('=')[2]}]"
        one = f"one of {_options(loader, key)}" if key in groups else listed
        raise UserError(f"{text}: several values; allowed: {one}, or a sweep with -m (--multirun)")
    if override.package is not None and key in groups:
        raise UserError(f"{text}: a group has one place; allowed: {_options(loader, key)}")
    is_needed = key in RunConfig.model_fields and override.is_delete()
    value = None if override.is_delete() else override.value()
    has_option = override.is_delete() or isinstance(value, str)
    if key == TRACKING and isinstance(value, list):
        check_trackers(text, value, loader.get_group_options(key))
    elif key in groups and (is_needed or not has_option):
        raise UserError(f"{text}: allowed: {_options(loader, key)}")
    if last in ("name", "_target_") and group in groups:
        raise UserError(
            f"{text}: comes with its group's file; allowed: {group}=OPTION, one of "
            f"{_options(loader, group)}"
        )


def _check_race(config: RunConfig, parsed: Sequence[Override]) -> None:
    """The settings of a race do nothing in the staged protocol, so a typed one is refused."""
    task = config.task
    if isinstance(task, ClassificationConfig) and not task.is_race:
        typed = (each for each in parsed if f"{each.key_or_group}.".startswith("task.race."))
        for override in typed:
            raise UserError(
                f"{override.input_line}: is a setting of races; allowed: with "
                "task.allocation=racing (docs/racing.md)"
            )


def _check_sites(config: RunConfig, parsed: Sequence[Override]) -> None:
    """An operator that is calibrated has places of its own, so typed ones are refused."""
    typed = [each for each in parsed if each.key_or_group.startswith("backbone.sites")]
    if typed and config.operator.is_calibrated:
        raise UserError(
            f"{typed[0].input_line}: allowed: no sites with operator={config.operator.name}, whose "
            "calibration says where it acts"
        )


def _check_operator_keys(loader: ConfigLoader, parsed: Sequence[Override]) -> None:
    """An operator has the settings that its YAML lists, also where an override begins with `+`."""
    keys = [each for each in parsed if each.key_or_group.startswith("operator.")]
    choices, own = _choices(parsed), [str(each.input_line) for each in parsed if _is_hydras(each)]
    if not keys:
        return
    try:
        chosen = _load([*choices, *own]).operator if own else _base(choices).job.operator
    except Exception:  # no such option: composing says so
        return
    settings = [f"operator.{key}" for key in chosen if key not in ("name", "_target_")]
    for override in keys:
        key = ".".join(override.key_or_group.split(".")[:2])
        if key not in settings:
            having = [name for name, keys in _operator_keys(loader).items() if key in keys]
            hint = f"; {key} belongs to operator={'|'.join(having)}" if having else ""
            allowed = ", ".join(settings) or "no settings"
            raise UserError(
                f"{override.input_line}: no such key of operator={chosen.name}; allowed: {allowed}"
                f"{hint or did_you_mean(key, settings)}"
            )


def _operator_keys(loader: ConfigLoader) -> dict[str, list[str]]:
    """Operator -> the dotted keys of its settings."""
    bases = {name: _base((f"operator={name}",)) for name in loader.get_group_options("operator")}
    return {name: [f"operator.{key}" for key in each.job.operator] for name, each in bases.items()}


def _options(loader: ConfigLoader, group: str) -> str:
    several = f", or several, {TRACKING}=[wandb,trackio]" if group == TRACKING else ""
    return f"{', '.join(loader.get_group_options(group))}{several}"


def _diagnose(loader: ConfigLoader, parsed: Sequence[Override], error: Exception) -> str:
    """Explain in one line why Hydra refused the overrides with `error`."""
    typed = _typed(parsed)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _wrong_option(loader, typed, str(error.missing_cfg_file))
    groups = _base(()).groups
    for override in parsed:
        line = _wrong_key(loader, override, groups)
        if line is not None:
            return line
    try:
        forced = [_forced(override, groups) for override in parsed]
        validate(_compose(parse_overrides(loader, forced)), typed, groups)
    except UserError as mistake:
        return str(mistake)
    except Exception as second:
        return _one_line(second, typed)
    for override in parsed:
        if override.is_add():
            allowed = f"{str(override.input_line)[1:]} (the key exists, so no leading +)"
            return f"{override.input_line}: allowed: {allowed}"
    return _one_line(error, typed)


def _wrong_option(loader: ConfigLoader, typed: Mapping[str, str], missing: str) -> str:
    group, _, option = missing.rpartition("/")
    options = loader.get_group_options(group)
    written, hint = typed.get(group, f"{group}={option}"), did_you_mean(option, options)
    return f"{written}: allowed: {', '.join(options)}{hint}"


def _wrong_key(loader: ConfigLoader, override: Override, groups: Sequence[str]) -> str | None:
    """The message for a key that neither the models nor Hydra know; None if the key is known."""
    text, key = str(override.input_line), override.key_or_group
    if _is_hydras(override):
        known = _dotted(OmegaConf.to_container(_base(()).hydra), "hydra.")
        missing = key not in known and not override.is_add() and not override.is_force_add()
        return unknown_key(text, key, ["what --cfg hydra shows"], known) if missing else None
    if key in groups or key.partition(".")[0] in RunConfig.model_fields:
        return None
    operators = [name for keys in _operator_keys(loader).values() for name in keys]
    candidates = [*all_keys(), *dict.fromkeys(operators), *groups]
    return unknown_key(text, key, list(RunConfig.model_fields), candidates)


def _dotted(node: Any, prefix: str) -> list[str]:
    if not isinstance(node, Mapping):
        return []
    names = [(f"{prefix}{key}", value) for key, value in node.items()]
    return [found for name, value in names for found in (name, *_dotted(value, f"{name}."))]


def _forced(override: Override, groups: Sequence[str]) -> str:
    """The override in a form that Hydra accepts even if the key does not exist."""
    text = str(override.input_line)
    if override.is_delete() or _is_hydras(override):
        return text
    bare = text.lstrip("+")
    return bare if override.key_or_group in groups else f"++{bare}"


def _one_line(error: Exception, typed: Mapping[str, str]) -> str:
    cause = error.__cause__ if not str(error) and error.__cause__ else error
    reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), repr(cause))
    return f"{' '.join(typed.values())}: {reason}".removeprefix(": ")


register_resolvers()
