"""The pieces that settings of operators are made of."""

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from bigain.config.base import SETTING_COLUMNS, Integer, Number, Settings

__all__ = [
    "AlphaSchedule",
    "CellSide",
    "Factor",
    "OperatorSettings",
    "Scope",
    "Score",
    "SelfScope",
]

ScoreName = Literal[
    "laplacian_l1",
    "laplacian_l2",
    "global_mean_deviation",
    "l1_norm",
    "l2_norm",
    "channel_variance",
    "dft_spectral_centroid",
    "dft_amplitude",
    "cosine_neighbors",
    "cosine_global_mean",
]
_PAPERS_WORDS = {"sa": "self", "ca": "cross"}


def _in_full(scope: object) -> object:
    """The paper's `sa+ca+mlp` is `self+cross+mlp`."""
    if not isinstance(scope, str):
        return scope
    return "+".join(_PAPERS_WORDS.get(part, part) for part in scope.split("+"))


CellSide = Annotated[Integer, Field(ge=1)]
Scope = Annotated[
    Literal["self", "self+cross", "self+mlp", "self+cross+mlp"],
    BeforeValidator(_in_full),
    Field(description="self, self+cross, self+mlp or self+cross+mlp (Table 6)"),
]
SelfScope = Annotated[
    Literal["self"],
    BeforeValidator(_in_full),
    Field(description="self (keys and values of the image's own tokens)"),
]
Factor = Annotated[
    Integer, Field(ge=1, description="an integer >= 1, the stride per side of the key/value map")
]
Score = Annotated[
    ScoreName, Field(description=f"a token score of Table 8: {', '.join(get_args(ScoreName))}")
]


class AlphaSchedule(Settings):
    """alpha(t), linear in time from `start` at t = 999 to `end` at t = 0."""

    start: Number = Field(description="a number, alpha at t = 999")
    end: Number = Field(description="a number, alpha at t = 0")


class OperatorSettings(Settings):
    """What all operators share."""

    def settings(self) -> dict[str, float | int | str | None]:
        """The cells of `SETTING_COLUMNS`; None for settings that the operator does not have."""
        return {key: _column(getattr(self, key, None)) for key in SETTING_COLUMNS}


def _column(value: object) -> float | int | str | None:
    """A setting as one cell of a table; a schedule from 0.8 to 1.2 reads `0.8->1.2`."""
    if isinstance(value, AlphaSchedule):
        return f"{value.start:g}->{value.end:g}"
    if value is None or isinstance(value, float | int | str):
        return value
    raise TypeError(f"no table cell for {value!r}")
