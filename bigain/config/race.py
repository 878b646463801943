"""Settings of a race over the trials of the diffusion classifier (docs/racing.md).

Each rule has settings of its own; those of the others are null.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from bigain.config.base import Integer, Number, Settings, not_allowed

__all__ = ["Classes", "RaceConfig", "Trials"]

Trials = Annotated[Integer, Field(ge=1, le=1000)]
"""A number of trials of a class."""

Classes = Annotated[Integer, Field(ge=1)]
"""A number of classes."""

_T = TypeVar("_T")

_SETTINGS: Mapping[str, Sequence[str]] = {
    "gaussian": ("z", "minimum", "weights", "images", "classes"),
    "t_test": ("p", "minimum", "images", "classes"),
    "halving": ("stages",),
}
"""Rule -> the settings that it needs."""

_MAY_BE_NULL: Mapping[str, Sequence[str]] = {
    "gaussian": ("looks", "calibration"),
    "t_test": ("calibration",),
    "halving": (),
}
"""Rule -> the settings that it can do without."""


def _infinity_as_text(z: object) -> object:
    """JSON has no infinity."""
    return "inf" if z == math.inf else z


Threshold = Annotated[
    Annotated[Number, Field(gt=0)] | Literal["inf"] | None, BeforeValidator(_infinity_as_text)
]


class RaceConfig(Settings):
    """A race over the trials (`task.allocation=racing`), and what it is calibrated with."""

    rule: Literal["gaussian", "t_test", "halving"] = Field(
        description="gaussian, t_test or halving"
    )
    z: Threshold = Field(description="a number > 0, or inf (no class is dropped)")
    p: Annotated[Number, Field(gt=0, lt=0.5)] | None = Field(
        description="a number > 0 and < 0.5, the level of a one-sided test"
    )
    minimum: Trials | None = Field(
        description="an integer from 1 to the last of task.trial_list, trials of all classes"
    )
    looks: tuple[Trials, ...] | None = Field(
        description="null (after every trial) or increasing integers from task.race.minimum to "
        "less than the last of task.trial_list, such as [2,3,5,8,12]"
    )
    weights: Literal["ones", "spread"] | None = Field(description="ones or spread")
    stages: tuple[tuple[Trials, Classes], ...] | None = Field(
        description="pairs of trials (increasing, less than the last of task.trial_list) and "
        "classes kept (decreasing), such as [[3,5],[6,3],[12,2]]"
    )
    audit: Number = Field(ge=0, le=1, description="a number from 0 to 1, a share of the images")
    images: Annotated[Integer, Field(ge=10)] | None = Field(
        description="an integer >= 10, the last images of the dataset's order"
    )
    classes: Annotated[Integer, Field(ge=2)] | None = Field(
        description="an integer >= 2, classes of each calibration image"
    )
    calibration: str | None = Field(
        pattern="^[0-9a-f]{12}$",
        description="null (found by itself) or the 12 hex digits in quotes that the file of the "
        "calibration must have",
    )

    @property
    def is_calibrated(self) -> bool:
        """Whether the rule needs `bigain calibrate`."""
        return "images" in _SETTINGS[self.rule]

    @property
    def threshold(self) -> float:
        """`z` as a number."""
        assert self.z is not None
        return float(self.z)

    @property
    def level(self) -> float:
        """`p` of `t_test`."""
        return _set(self.p)

    @property
    def first(self) -> int:
        """`minimum` of the rules that have one."""
        return _set(self.minimum)

    @property
    def weighing(self) -> str:
        """`weights`; the rules without such a setting have ones."""
        return self.weights or "ones"

    @property
    def calibration_images(self) -> int:
        """`images` of the rules that are calibrated."""
        return _set(self.images)

    @property
    def calibration_classes(self) -> int:
        """`classes` of the rules that are calibrated."""
        return _set(self.classes)

    @model_validator(mode="after")
    def _settings_are_of_the_rule(self) -> Self:
        needed, other = _SETTINGS[self.rule], _MAY_BE_NULL[self.rule]
        for key, field in type(self).model_fields.items():
            value, name = getattr(self, key), f"task.race.{key}"
            if key in needed and value is None:
                raise not_allowed(name, "null", f"{field.description}")
            is_of_all = key in ("rule", "audit")
            if value is not None and key not in needed and key not in other and not is_of_all:
                having = [rule for rule in _SETTINGS if _has(rule, key)]
                allowed = f"null with task.race.rule={self.rule}; it is a setting of "
                shown = self.model_dump(mode="json")[key]
                raise not_allowed(name, shown, f"{allowed}{' and '.join(having)}")
        return self

    @property
    def typed_stages(self) -> str:
        """`stages` as on the command line, such as `[[3,5],[6,3]]`."""
        return json.dumps(self.stages, separators=(",", ":"))

    def check_grid(self, trial_list: Sequence[int]) -> None:
        """Raise the error of a validator if a setting does not fit the grid of the last entry."""
        trials, least = trial_list[-1], 1 if self.rule == "gaussian" else 2
        if trials < least:
            allowed = f"a last number of at least {least} with task.race.rule={self.rule}"
            raise not_allowed("task.trial_list", list(trial_list), allowed)
        if self.minimum is not None and not least <= self.minimum <= trials:
            allowed = f"{least} to {trials}, the last of task.trial_list={list(trial_list)}"
            raise not_allowed("task.race.minimum", self.minimum, allowed)
        if self.looks is not None:
            looks = list(self.looks)
            if not _is_within(looks, self.first, trials):
                allowed = f"null or increasing integers from task.race.minimum={self.minimum} to "
                raise not_allowed("task.race.looks", looks, f"{allowed}{trials - 1}")
        if self.stages is not None:
            self._check_stages(self.stages, list(trial_list))

    def _check_stages(self, stages: Sequence[tuple[int, int]], trial_list: list[int]) -> None:
        trials, shown = trial_list[-1], self.typed_stages
        ends, kept = ([stage[part] for stage in stages] for part in (0, 1))
        falls = all(earlier > later for earlier, later in pairwise([*kept, 1]))
        if not falls or not _is_within(ends, 1, math.inf):
            allowed = f"pairs of increasing integers from 1 to {trials - 1} and decreasing ones "
            raise not_allowed("task.race.stages", shown, f"{allowed}above 1")
        if ends[-1] >= trials:
            example = json.dumps([[trials // 2, kept[0]]], separators=(",", ":"))
            allowed = (
                f"a last number above {ends[-1]}, because task.race.stages={shown}, or stages "
            )
            allowed = f"{allowed}that end before trial {trials}, such as task.race.stages={example}"
            raise not_allowed("task.trial_list", trial_list, allowed)


def _set(value: _T | None) -> _T:
    """A setting that the rule has."""
    assert value is not None
    return value


def _has(rule: str, key: str) -> bool:
    return key in _SETTINGS[rule] or key in _MAY_BE_NULL[rule]


def _is_within(numbers: Sequence[int], first: int, end: float) -> bool:
    """Whether there are numbers and they increase from at least `first` to less than `end`."""
    increase = all(earlier < later for earlier, later in pairwise(numbers))
    return bool(numbers) and increase and numbers[0] >= first and numbers[-1] < end
