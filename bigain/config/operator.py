"""Settings of the token-compression operators, one model per operator id of the paper's tables.

Token mergers take a `ratio` r/N of tokens to remove.  A cell of sy x sx tokens keeps one
destination, so at most 1 - 1/(sy sx) of the tokens can go: 0.75 for 2 x 2, 0.9375 for 4 x 4.
Key/value reducers take the stride `factor` of the downsampled map.  Hybrids have the settings of
both their parts.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bigain.config.base import Number, Switch, not_allowed
from bigain.config.custom_operator import CustomConfig
from bigain.config.operator_base import (
    AlphaSchedule,
    CellSide,
    Factor,
    OperatorSettings,
    Scope,
    Score,
    SelfScope,
)

__all__ = [
    "ABMConfig",
    "AlphaSchedule",
    "AvgPoolConfig",
    "CachedConfig",
    "CustomConfig",
    "EncoderIEKVDConfig",
    "EncoderLGTMConfig",
    "IEKVDConfig",
    "KVSelectConfig",
    "LGTMConfig",
    "NoneConfig",
    "OperatorConfig",
    "OperatorSettings",
    "SiToConfig",
    "ToDoConfig",
    "ToMeConfig",
]


class NoneConfig(OperatorSettings):
    """No acceleration: the baseline of every comparison."""

    name: Literal["none"]


class _Removing(OperatorSettings):
    """One token of every cell stays for certain."""

    ratio: Number = Field(ge=0, lt=1, description="a number from 0 to 1 - 1/(cell area)")
    cell: tuple[CellSide, CellSide] = Field(
        description="two integers >= 1, rows and columns of tokens per destination, such as [2,2]"
    )

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


class ToMeConfig(_Removing):
    """Token merging with a random destination in each cell."""

    name: Literal["tome"]
    random: Switch = Field(
        description="true (a drawn destination per cell) or false (the top-left token)"
    )
    scope: Scope


class _Scored(_Removing):
    """The destination, or the smoothness, of a cell is told by a token score."""

    score: Score


class LGTMConfig(_Scored):
    """BiGain token merging: the destination is the cell's token with the lowest score."""

    name: Literal["lgtm"]
    scope: Scope


class CachedConfig(_Scored):
    """L-GTM with one map per stage of the model and forward."""

    name: Literal["cached"]
    scope: Scope


class ABMConfig(_Scored):
    """Adaptive block merge: the smoothest tiles become their mean."""

    name: Literal["abm"]
    aggregate: Literal["max", "sum", "mean"] = Field(description="max, sum or mean")
    scope: Scope

    @model_validator(mode="after")
    def _tile_can_be_pooled(self) -> Self:
        if self.cell == (1, 1):
            raise not_allowed("operator.cell", [1, 1], "a tile of at least two tokens")
        return self


class SiToConfig(_Removing):
    """Similarity-based pruning: redundant tokens copy the output of a kept one."""

    name: Literal["sito"]
    sim_beta: Number = Field(description="a number, the weight of a token's summed similarities")
    noise_alpha: Number = Field(description="a number, the weight of the noise; 0 for none")
    scope: Scope


class _Downsampling(OperatorSettings):
    """Keys and values of a spatially downsampled map, queries of the full one."""

    factor: Factor
    skip_final_step: Switch = Field(
        description="true (timestep 0 keeps all keys and values, as in the reference) or false"
    )


class ToDoConfig(_Downsampling):
    """Nearest-neighbour downsampling of keys and values."""

    name: Literal["todo"]
    scope: SelfScope


class AvgPoolConfig(_Downsampling):
    """Average pooling of keys and values."""

    name: Literal["avg_pool"]
    scope: SelfScope


class _Interpolating(_Downsampling):
    """alpha * nearest + (1 - alpha) * average (Eq. 8)."""

    alpha: Number | AlphaSchedule = Field(
        description="a number (0 average, 1 nearest, beyond: extrapolation) or {start: a, end: b}"
    )
    align: Literal["reference", "window"] = Field(description="reference or window")


class IEKVDConfig(_Interpolating):
    """BiGain token downsampling."""

    name: Literal["ie_kvd"]
    scope: SelfScope


class KVSelectConfig(OperatorSettings):
    """Keys and values from one frequency band of the map (Table 12)."""

    name: Literal["kv_select"]
    sparsity: Number = Field(
        ge=0, lt=1, description="a number from 0 to below 1, the share of keys and values that go"
    )
    strategy: Literal["low_frequency", "high_frequency"] = Field(
        description="low_frequency or high_frequency, the band that is kept"
    )
    score: Score
    scope: SelfScope


class EncoderLGTMConfig(_Interpolating, _Scored):
    """L-GTM at the encoder's sites, IE-KVD at the decoder's (Tables 17 and 18)."""

    name: Literal["lgtm_enc_ie_kvd_dec"]
    scope: SelfScope


class EncoderIEKVDConfig(_Interpolating, _Scored):
    """IE-KVD at the encoder's sites, L-GTM at the decoder's (Tables 17 and 18)."""

    name: Literal["ie_kvd_enc_lgtm_dec"]
    scope: SelfScope


OperatorConfig = Annotated[
    NoneConfig
    | ToMeConfig
    | LGTMConfig
    | ABMConfig
    | CachedConfig
    | ToDoConfig
    | AvgPoolConfig
    | IEKVDConfig
    | SiToConfig
    | KVSelectConfig
    | EncoderLGTMConfig
    | EncoderIEKVDConfig
    | CustomConfig,
    Field(
        discriminator="name",
        description="none, tome, lgtm, abm, cached, todo, avg_pool, ie_kvd, sito, kv_select, "
        "lgtm_enc_ie_kvd_dec, ie_kvd_enc_lgtm_dec or custom",
    ),
]
