"""Settings of the token-compression operators, one model per operator id of the paper's tables.

Token mergers take a `ratio` r/N of tokens to remove.  A cell of sy x sx tokens keeps one
destination, so at most 1 - 1/(sy sx) of the tokens can go: 0.75 for 2 x 2, 0.9375 for 4 x 4.
Key/value reducers take the stride `factor` of the downsampled map.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bigain.config.base import SETTING_COLUMNS, Integer, Number, Settings, Switch, not_allowed

__all__ = [
    "AlphaSchedule",
    "AvgPoolConfig",
    "IEKVDConfig",
    "LGTMConfig",
    "NoneConfig",
    "OperatorConfig",
    "OperatorSettings",
    "ToDoConfig",
    "ToMeConfig",
]

CellSide = Annotated[Integer, Field(ge=1)]
Scope = Annotated[
    Literal["self"], Field(description="self (the operator acts on self-attention only)")
]
Factor = Annotated[
    Integer, Field(ge=1, description="an integer >= 1, the stride per side of the key/value map")
]


class OperatorSettings(Settings):
    """What all operators share."""

    def settings(self) -> dict[str, float | int | str | None]:
        """Cells of the columns ratio, factor, alpha, score, scope of metrics.csv, or None."""
        return {key: _column(getattr(self, key, None)) for key in SETTING_COLUMNS}


class NoneConfig(OperatorSettings):
    """No acceleration: the baseline of every comparison."""

    name: Literal["none"]


class _Merging(OperatorSettings):
    """One destination per cell, the most similar sources merged into them."""

    ratio: Number = Field(ge=0, lt=1, description="a number from 0 to 1 - 1/(cell area)")
    cell: tuple[CellSide, CellSide] = Field(
        description="two integers >= 1, rows and columns of tokens per destination, such as [2,2]"
    )
    scope: Scope

    @model_validator(mode="after")
    def _ratio_leaves_the_destinations(self) -> Self:
        rows, columns = self.cell
        highest = 1 - 1 / (rows * columns)
        if self.ratio > highest:
            allowed = (
                f"0 to {highest:g} = 1 - 1/{rows * columns}, one token of every cell of "
                f"{rows}x{columns} stays; more needs larger cells (operator.cell=[4,4]: 0.9375)"
            )
            raise not_allowed("operator.ratio", self.ratio, allowed)
        return self


class ToMeConfig(_Merging):
    """Token merging with a random destination in each cell."""

    name: Literal["tome"]
    random: Switch = Field(
        description="true (a drawn destination per cell) or false (the top-left token)"
    )


class LGTMConfig(_Merging):
    """BiGain token merging: the destination is the cell's token with the lowest score."""

    name: Literal["lgtm"]
    score: Literal["laplacian_l1"] = Field(description="laplacian_l1 (Eq. 7)")


class _Downsampling(OperatorSettings):
    """Keys and values of a spatially downsampled map, queries of the full one."""

    factor: Factor
    scope: Scope


class ToDoConfig(_Downsampling):
    """Nearest-neighbour downsampling of keys and values."""

    name: Literal["todo"]


class AvgPoolConfig(_Downsampling):
    """Average pooling of keys and values."""

    name: Literal["avg_pool"]


class AlphaSchedule(Settings):
    """alpha(t), linear in time from `start` at t = 999 to `end` at t = 0."""

    start: Number = Field(description="a number, alpha at t = 999")
    end: Number = Field(description="a number, alpha at t = 0")


class IEKVDConfig(_Downsampling):
    """BiGain token downsampling: alpha * nearest + (1 - alpha) * average (Eq. 8)."""

    name: Literal["ie_kvd"]
    alpha: Number | AlphaSchedule = Field(
        description="a number (0 average, 1 nearest, beyond: extrapolation) or {start: a, end: b}"
    )
    align: Literal["reference", "window"] = Field(description="reference or window")


OperatorConfig = Annotated[
    NoneConfig | ToMeConfig | LGTMConfig | ToDoConfig | AvgPoolConfig | IEKVDConfig,
    Field(discriminator="name", description="none, tome, lgtm, todo, avg_pool or ie_kvd"),
]


def _column(value: object) -> float | int | str | None:
    """A setting as one cell of a table; a schedule from 0.8 to 1.2 reads `0.8->1.2`."""
    if isinstance(value, AlphaSchedule):
        return f"{value.start:g}->{value.end:g}"
    if value is None or isinstance(value, float | int | str):
        return value
    raise TypeError(f"no table cell for {value!r}")
