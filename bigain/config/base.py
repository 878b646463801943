"""The pieces of every settings model: strict numbers, frozen models, errors that name the key."""

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from bigain.locations import absolute_path

__all__ = [
    "NEUTRAL",
    "SETTING_COLUMNS",
    "Folder",
    "Integer",
    "Number",
    "Settings",
    "Switch",
    "import_target",
    "not_allowed",
    "quoted",
    "setting_path",
]

SETTING_COLUMNS = ("ratio", "factor", "alpha", "score", "scope", "strategy", "sparsity")
"""The operator settings that are columns of metrics.csv and runs.csv, in this order."""

NEUTRAL: Mapping[str, Any] = {
    "operator.skip_final_step": False,
    "operator.destinations": "eq7",
    "operator.protect_ratio": 0,
    "operator.draws": "paired",
    "operator.padding": "zero",
    "operator.plan": "each_class",
    "operator.average": "mean",
    "operator.split": "evaluated",
}
"""Dotted key of a setting that was added later -> the value at which it has no effect.

With that value the setting is not part of the run id, so earlier results keep their ids.
"""

Integer = Annotated[int, Field(strict=True)]
"""An integer; `true`, `2.0` and `"2"` are refused."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; booleans and strings are refused."""

Switch = Annotated[bool, Field(strict=True)]
"""`true` or `false`."""


def setting_path(path: str | Path) -> Path:
    """`path` of a setting, absolute; for validators, whose error says what is wrong with it."""
    try:
        return absolute_path(path)
    except ValueError as error:
        raise PydanticCustomError("path", "{why}", {"why": str(error)}) from error


def _as_meant(path: object) -> object:
    if path == "":
        raise ValueError("no folder is named")
    return str(setting_path(path)) if isinstance(path, str | Path) else path


Folder = Annotated[Path, BeforeValidator(_as_meant)]
"""The path of a folder or a file, absolute, see `bigain.locations.absolute_path`.

The empty text, which would mean the working directory, is refused.
"""


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys.

    A key that is no Python name (`_target_`) is the alias of a field.  Both are accepted; the alias
    is written.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True
    )


def not_allowed(key: str, value: object, allowed: str) -> PydanticCustomError:
    """The error to raise in a validator when `key=value` conflicts with another setting.

    `allowed` says what would be accepted, and because of which other setting.
    """
    context: dict[str, Any] = {"key": key, "value": value, "allowed": allowed}
    return PydanticCustomError("combination", "{key}={value}: allowed: {allowed}", context)


def quoted(value: object) -> str:
    """The value of a `key=value`, in quotes if it has special characters, as paths may."""
    if re.fullmatch(r"[\w/.:+-]+", str(value), re.ASCII):
        return str(value)
    text = re.sub(r"(\\+)(?='|\Z)", r"\1\1", str(value)).replace("'", "\\'")
    return f"'{text}'"


def import_target(target: str) -> Any:
    """The object called `package.module.Name`, the value of `_target_` in a YAML file.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such name.

    """
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)
