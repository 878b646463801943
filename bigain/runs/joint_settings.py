"""Which settings of a run name its row in `bigain joint`: those that differ from what is usual."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bigain.runs.identity import depends_on_batch_size

__all__ = ["Defaults", "changed_settings", "compared_settings", "in_words", "usual_settings"]

Config = Mapping[str, Any]

Defaults = Callable[[Config], Config]
"""Configuration of a run -> the one with the same backbone, dataset, task and operator but with the
default settings of both; {} if this version has no such thing."""

_NOT_SETTINGS = ("name", "_target_")


def compared_settings(config: Config) -> dict[str, Any]:
    """The settings of the operator, and the sites of one that has any.

    Without an operator, or with one that is calibrated and acts in all blocks, there are no sites.
    """
    operator = config.get("operator", {})
    settings = {key: value for key, value in operator.items() if key not in _NOT_SETTINGS}
    if operator.get("name") != "none" and "calibration" not in operator:
        settings["sites"] = config.get("backbone", {}).get("sites")
    return settings


def usual_settings(config: Config, configs: Sequence[Config], defaults: Defaults) -> dict[str, Any]:
    """What the settings of a run are compared with, and the usual batch size.

    These are the defaults; of an operator without known ones, what all its runs on the backbone,
    which are among `configs`, have alike.
    """
    standard = defaults(config)
    if standard:
        return _settings(standard)
    first, *others = (_settings(each) for each in configs if _kind(each) == _kind(config))
    return {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}


def changed_settings(config: Config, usual: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from `usual`; of the batch size only if results depend on it."""
    mine = _settings(config)
    if not depends_on_batch_size(config):
        del mine["batch_size"]
    return {key: value for key, value in mine.items() if key not in usual or usual[key] != value}


def in_words(value: Any) -> str:
    """A setting in a few characters; a schedule of alpha as tables write it."""
    if isinstance(value, Mapping) and set(value) == {"start", "end"}:
        return f"{value['start']:g}->{value['end']:g}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _settings(config: Config) -> dict[str, Any]:
    return {**compared_settings(config), "batch_size": config.get("batch_size")}


def _kind(config: Config) -> tuple[str, str]:
    return config["operator"]["name"], config["backbone"]["name"]
