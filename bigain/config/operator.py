"""Settings of an operator: the class that its YAML names, and that class's arguments.

    # configs/operator/lgtm.yaml
    _target_: bigain.operators.LGTM
    name: lgtm
    ratio: 0.5
    ...

What a setting may be is stated once, in the class.  It needs torch, so values are checked when a
run is about to start (`bigain.engine.build_operator`), before data or weights are loaded.  Which
settings an operator has is stated once too, in its YAML; `bigain.launch.compose` refuses others.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from bigain.config.base import NEUTRAL, SETTING_COLUMNS, Settings, not_allowed

__all__ = ["OperatorConfig", "operator_title", "other_settings", "setting_cell"]

_PAPERS_WORDS = {"sa": "self", "ca": "cross"}


class OperatorConfig(Settings):
    """An operator, its scope, and any further settings that its class takes."""

    model_config = ConfigDict(extra="allow")

    target: str = Field(
        alias="_target_",
        pattern=r"^\w+(\.\w+)+$",
        description="package.module.Class of an importable operator",
    )
    name: str = Field(min_length=1, description="the name of a file in configs/operator")

    @model_validator(mode="before")
    @classmethod
    def _scope_in_full(cls, plain: Any) -> Any:
        """The paper's `sa+ca+mlp` is `self+cross+mlp`."""
        if not (isinstance(plain, dict) and isinstance(plain.get("scope"), str)):
            return plain
        parts = plain["scope"].split("+")
        return {**plain, "scope": "+".join(_PAPERS_WORDS.get(part, part) for part in parts)}

    @model_validator(mode="after")
    def _finite(self) -> Self:
        """A configuration is kept as JSON, which has no infinity and no NaN."""
        for key, value in (self.model_extra or {}).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise not_allowed(f"operator.{key}", value, "a finite number")
        return self

    @property
    def scope(self) -> str:
        """Which modules of a block see the reduced tokens (Table 6); `self` if not given."""
        return str((self.model_extra or {}).get("scope", "self"))

    @property
    def is_baseline(self) -> bool:
        """Whether this is `operator=none`: the model as it is."""
        return self.name == "none"

    @property
    def draws(self) -> str:
        """How a random operator draws; `paired` if not given."""
        return str((self.model_extra or {}).get("draws", "paired"))

    @property
    def draws_per_forward(self) -> bool:
        """Whether the operator draws once per forward, so that results depend on the batches."""
        return self.draws == "per_forward"

    @property
    def plan(self) -> str:
        """Whether rows with the same latents share a plan; `each_class` if not given."""
        return str((self.model_extra or {}).get("plan", "each_class"))

    @property
    def shares_plans(self) -> bool:
        """Whether all candidate classes of an image, or the halves of guidance, have one plan."""
        return self.plan == "shared"

    @property
    def is_calibrated(self) -> bool:
        """Whether it needs `bigain calibrate` before its runs."""
        return "calibration" in (self.model_extra or {})

    @property
    def trains_apart(self) -> bool:
        """Whether it is calibrated on images of the training split, which no run evaluates."""
        return (self.model_extra or {}).get("split") == "training"

    @property
    def calibration(self) -> str | None:
        """The hash of the file that the operator is made from; None if it is not known yet."""
        digest: str | None = (self.model_extra or {}).get("calibration")
        return digest

    def made_from(self, calibration: str) -> Self:
        """The same operator with this `calibration`."""
        return self.model_validate({**self.model_dump(), "calibration": calibration})

    @property
    def arguments(self) -> dict[str, Any]:
        """What the class is called with: every setting but `name` and those that it is not told."""
        extra, untold = self.model_extra or {}, {"scope", "plan", "calibration"}
        return {key: value for key, value in extra.items() if key not in untold}

    @property
    def title(self) -> str:
        """The operator in a few words, e.g. `lgtm ratio=0.7 score=laplacian_l1`."""
        return operator_title(self.model_dump())

    def settings(self) -> dict[str, float | int | str | None]:
        """The cells of `SETTING_COLUMNS` in metrics.csv; None where it has no such setting."""
        own = self.model_dump()
        return {key: setting_cell(own.get(key)) for key in SETTING_COLUMNS}


def operator_title(plain: Mapping[str, Any]) -> str:
    """The settings of an operator in a few words, with those of `NEUTRAL` that are not neutral."""
    words = {key: setting_cell(plain.get(key)) for key in SETTING_COLUMNS if key != "scope"}
    usual = {key.removeprefix("operator."): value for key, value in NEUTRAL.items()}
    words |= {key: plain[key] for key in usual if key in plain and plain[key] != usual[key]}
    shown = [f"{key}={value}" for key, value in words.items() if value is not None]
    return " ".join([plain["name"], *shown])


def other_settings(plain: Mapping[str, Any]) -> dict[str, str]:
    """The settings of an operator that are no `SETTING_COLUMNS`, by name, as they are typed.

    Those of `NEUTRAL` that are neutral are not among them: earlier runs do not have them.
    """
    usual = {key.removeprefix("operator."): value for key, value in NEUTRAL.items()}
    return {
        key: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for key, value in sorted(plain.items())
        if key not in {"name", "_target_", *SETTING_COLUMNS}
        and not (key in usual and value == usual[key])
    }


def setting_cell(value: Any) -> float | int | str | None:
    """A setting as one cell of a table; a schedule from 0.8 to 1.2 reads `0.8->1.2`."""
    if isinstance(value, dict) and set(value) == {"start", "end"}:
        return f"{value['start']:g}->{value['end']:g}"
    if value is None or isinstance(value, float | int | str):
        return value
    return json.dumps(value, sort_keys=True)
