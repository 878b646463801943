"""From the settings of an operator to the object: which class a name stands for."""

from collections.abc import Callable
from typing import Any

from bigain.config import (
    ABMConfig,
    AlphaSchedule,
    AvgPoolConfig,
    CachedConfig,
    CustomConfig,
    EncoderIEKVDConfig,
    EncoderLGTMConfig,
    IEKVDConfig,
    KVSelectConfig,
    LGTMConfig,
    NoneConfig,
    SiToConfig,
    ToDoConfig,
    ToMeConfig,
)
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    AvgPool,
    ByStage,
    CachedAssignment,
    Compression,
    ConstantAlpha,
    Identity,
    KVSelect,
    LinearAlpha,
    SiTo,
    ToDo,
    ToMe,
)

__all__ = ["build_operator"]


def build_operator(config: Any) -> Compression:
    """The operator object of an operator's settings; raises UserError if a setting is out of range.

    Args:
        config: One of the models of `bigain.config.OperatorConfig`.

    """
    return _OPERATORS[type(config)](config)


def _tome(config: ToMeConfig) -> ToMe:
    return ToMe(ratio=config.ratio, cell=config.cell, random=config.random)


def _lgtm(config: LGTMConfig | EncoderLGTMConfig | EncoderIEKVDConfig) -> LGTM:
    return LGTM(ratio=config.ratio, cell=config.cell, score=config.score)


def _cached(config: CachedConfig) -> CachedAssignment:
    return CachedAssignment(ratio=config.ratio, cell=config.cell, score=config.score)


def _abm(config: ABMConfig) -> ABM:
    return ABM(ratio=config.ratio, cell=config.cell, score=config.score, aggregate=config.aggregate)


def _sito(config: SiToConfig) -> SiTo:
    return SiTo(
        ratio=config.ratio,
        cell=config.cell,
        sim_beta=config.sim_beta,
        noise_alpha=config.noise_alpha,
    )


def _todo(config: ToDoConfig) -> ToDo:
    return ToDo(factor=config.factor, skip_final_step=config.skip_final_step)


def _avg_pool(config: AvgPoolConfig) -> AvgPool:
    return AvgPool(factor=config.factor, skip_final_step=config.skip_final_step)


def _ie_kvd(config: IEKVDConfig | EncoderLGTMConfig | EncoderIEKVDConfig) -> IEKVD:
    alpha = config.alpha
    schedule = (
        LinearAlpha(start=alpha.start, end=alpha.end)
        if isinstance(alpha, AlphaSchedule)
        else ConstantAlpha(alpha)
    )
    return IEKVD(
        factor=config.factor,
        alpha=schedule,
        align=config.align,
        skip_final_step=config.skip_final_step,
    )


def _kv_select(config: KVSelectConfig) -> KVSelect:
    return KVSelect(sparsity=config.sparsity, strategy=config.strategy, score=config.score)


_OPERATORS: dict[type, Callable[[Any], Compression]] = {
    NoneConfig: lambda _: Identity(),
    ToMeConfig: _tome,
    LGTMConfig: _lgtm,
    ABMConfig: _abm,
    CachedConfig: _cached,
    SiToConfig: _sito,
    ToDoConfig: _todo,
    AvgPoolConfig: _avg_pool,
    IEKVDConfig: _ie_kvd,
    KVSelectConfig: _kv_select,
    EncoderLGTMConfig: lambda config: ByStage(encoder=_lgtm(config), decoder=_ie_kvd(config)),
    EncoderIEKVDConfig: lambda config: ByStage(encoder=_ie_kvd(config), decoder=_lgtm(config)),
    CustomConfig: lambda config: config.build(),
}
