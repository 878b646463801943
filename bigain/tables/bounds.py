"""Which differences count as none: `configs/verdicts.yaml`."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, field_validator
from yaml import YAMLError  # type: ignore[import-untyped]

from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.tables.quantities import QUANTITIES
from bigain.tables.spec import Part

__all__ = ["level_bounds"]


class _Bounds(Part):
    level: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]

    @field_validator("level")
    @classmethod
    def _covers_all(cls, level: dict[str, float]) -> dict[str, float]:
        compared = {name for name, each in QUANTITIES.items() if each.deltas}
        if set(level) != compared:
            raise ValueError(f"level: allowed and needed: {', '.join(sorted(compared))}")
        return level


@cache
def level_bounds(path: Path = CONFIGS / "verdicts.yaml") -> Mapping[str, float]:
    """Metric id -> delta, in the unit of its difference.

    Raises:
        UserError: The file is no YAML, lacks a metric, or has one that tables do not compare.

    """
    try:
        found: Any = OmegaConf.to_container(OmegaConf.load(path))
        return _Bounds.model_validate(found).level
    except (YAMLError, OmegaConfBaseException, ValidationError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
