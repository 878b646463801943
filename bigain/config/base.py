"""The pieces every settings model is made of: strict numbers, frozen models, telling refusals."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

__all__ = ["SETTING_COLUMNS", "Folder", "Integer", "Number", "Settings", "Switch", "not_allowed"]

SETTING_COLUMNS = ("ratio", "factor", "alpha", "score", "scope", "strategy", "sparsity")
"""The operator settings that are columns of metrics.csv and runs.csv, in this order."""

Integer = Annotated[int, Field(strict=True)]
"""An integer that is not `true`, `2.0` or `"2"` in disguise."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number that is not a boolean or a string in disguise."""

Switch = Annotated[bool, Field(strict=True)]
"""`true` or `false`, and nothing that resembles them."""


def _named(folder: object) -> object:
    if folder == "":
        raise ValueError("no folder is named")
    return folder


Folder = Annotated[Path, BeforeValidator(_named)]
"""A path; the empty text, which would mean the working directory, is refused."""


class Settings(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def not_allowed(key: str, value: object, allowed: str) -> PydanticCustomError:
    """The error to raise in a validator when `key=value` conflicts with another setting.

    `allowed` says what would be accepted, and because of which other setting.
    """
    context: dict[str, Any] = {"key": key, "value": value, "allowed": allowed}
    return PydanticCustomError("combination", "{key}={value}: allowed: {allowed}", context)
