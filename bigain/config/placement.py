"""Whether an operator has a place at the selected sites of a backbone, known before any model."""

from collections.abc import Callable

from bigain.config.backbone import BackboneConfig
from bigain.config.base import not_allowed
from bigain.config.operator_base import OperatorSettings

__all__ = ["check_placement"]


def check_placement(backbone: BackboneConfig, operator: OperatorSettings) -> None:
    """Raise the error of a validator if `operator` has no place in `backbone`."""
    for check in _CHECKS:
        check(backbone, operator)


def _check_factor(backbone: BackboneConfig, operator: OperatorSettings) -> None:
    side, factor = backbone.smallest_grid(), getattr(operator, "factor", None)
    if factor is not None and factor >= side:
        allowed = f"an integer from 1 to {side - 1}, below the {_tokens(backbone)}"
        raise not_allowed("operator.factor", factor, allowed)


def _check_cell(backbone: BackboneConfig, operator: OperatorSettings) -> None:
    side, cell = backbone.smallest_grid(), getattr(operator, "cell", (1, 1))
    if max(cell) > side:
        allowed = f"sides of at most {side}, so that a cell fits in the {_tokens(backbone)}"
        raise not_allowed("operator.cell", list(cell), allowed)


def _check_sparsity(backbone: BackboneConfig, operator: OperatorSettings) -> None:
    tokens, sparsity = backbone.smallest_grid() ** 2, getattr(operator, "sparsity", 0)
    if int(tokens * (1 - sparsity)) < 1:
        allowed = f"at most {1 - 1 / tokens:g}, so that one token stays of the {_tokens(backbone)}"
        raise not_allowed("operator.sparsity", sparsity, allowed)


def _check_scope(backbone: BackboneConfig, operator: OperatorSettings) -> None:
    scope = getattr(operator, "scope", "self")
    if "cross" in scope and not backbone.architecture.has_cross_attention:
        allowed = f"self or self+mlp, because backbone={backbone.name} has no cross-attention"
        raise not_allowed("operator.scope", scope, allowed)


def _check_stages(backbone: BackboneConfig, operator: OperatorSettings) -> None:
    """A hybrid has one operator for the encoder, another for the decoder, and no third."""
    name = str(getattr(operator, "name", ""))
    if not ("_enc_" in name and name.endswith("_dec")):
        return
    if backbone.architecture.blocks is not None:
        allowed = "on a backbone with encoder and decoder (mini_unet, sd20, sd15, sdxl), because"
        raise not_allowed("operator", name, f"{allowed} backbone={backbone.name} has neither")
    if "mid" in backbone.sites.stages:
        because = f"because operator={name} has nothing for the middle"
        stages = f"[{','.join(backbone.sites.stages)}]"
        raise not_allowed("backbone.sites.stages", stages, f"encoder, decoder, {because}")


_CHECKS: tuple[Callable[[BackboneConfig, OperatorSettings], None], ...] = (
    *(_check_factor, _check_cell, _check_sparsity, _check_scope, _check_stages),
)


def _tokens(backbone: BackboneConfig) -> str:
    side, levels = backbone.smallest_grid(), ",".join(map(str, backbone.sites.levels))
    tokens = f"{side}x{side} tokens of backbone={backbone.name}"
    return f"{tokens} at backbone.sites.levels=[{levels}]"
