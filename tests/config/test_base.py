from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError

from bigain.config.base import Folder, Integer, Number, Settings, Switch, not_allowed


class Everything(Settings):
    integer: Integer = 0
    number: Number = 0.0
    switch: Switch = False
    folder: Folder = Path("here")
    bounded: Integer = Field(default=1, ge=1)


def test_settings_are_frozen() -> None:
    everything = Everything()
    with pytest.raises(ValidationError, match="frozen"):
        everything.integer = 1  # type: ignore[misc]


def test_settings_refuse_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Everything.model_validate({"other": 1})


@pytest.mark.parametrize("value", [True, 2.0, 2.5, "2", None, [2]])
def test_only_integers_are_integers(value: Any) -> None:
    with pytest.raises(ValidationError):
        Everything(integer=value)


@pytest.mark.parametrize("value", [True, "2", None, float("nan"), float("inf")])
def test_only_finite_numbers_are_numbers(value: Any) -> None:
    with pytest.raises(ValidationError):
        Everything(number=value)


def test_an_integer_is_a_number() -> None:
    assert Everything(number=2).number == 2.0
    assert isinstance(Everything(number=2).number, float)


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_only_booleans_are_switches(value: Any) -> None:
    with pytest.raises(ValidationError):
        Everything(switch=value)


def test_a_folder_is_an_absolute_path_and_has_a_name() -> None:
    assert Everything.model_validate({"folder": "a/b"}).folder == Path.cwd() / "a/b"
    assert Everything.model_validate({"folder": "~/b"}).folder == Path.home() / "b"
    with pytest.raises(ValidationError, match="there is no user ~nobody-of-this-name"):
        Everything.model_validate({"folder": "~nobody-of-this-name/b"})
    with pytest.raises(ValidationError, match="no folder is named"):
        Everything.model_validate({"folder": ""})


def test_ranges_apply_to_strict_numbers() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Everything(bounded=0)


def test_not_allowed_carries_key_value_and_remedy() -> None:
    error = not_allowed("a.b", [1, 2], "something else")
    assert error.type == "combination"
    assert error.message() == "a.b=[1, 2]: allowed: something else"
    assert error.context == {"key": "a.b", "value": [1, 2], "allowed": "something else"}
