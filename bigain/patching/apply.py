"""Run an operator inside a diffusers model, with plain forward hooks; contract C3 of the design.

    with bigain.apply(model, LGTM(ratio=0.7)) as report:
        ...                      # every forward of `model` is accelerated
    print(report)                # where, and how many tokens remained

No class and no forward is replaced (`bigain.patching.hooks`), so every attention backend keeps
working, and removing the hooks leaves the model as it was, bit for bit.

The module is named `patching` because `bigain.apply` is the function.
"""

import sys
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bigain.errors import UserError
from bigain.operators import Compression, KeyValueReducer, Operator
from bigain.patching.cost import cost_of
from bigain.patching.hooks import ModelCall, block_hooks
from bigain.patching.report import SiteReport, SiteUse
from bigain.patching.selection import SiteSelection
from bigain.patching.sites import Site, find_sites

__all__ = ["apply", "remove"]

_APPLIED: "WeakKeyDictionary[nn.Module, SiteReport]" = WeakKeyDictionary()
_MARK = "_bigain_operator"
"""An attribute of a model with an operator: a copy has it too, and the hooks, but no report."""


def apply(
    model: Any,
    operator: Compression,
    *,
    sites: SiteSelection | None = None,
    seed: int = 0,
) -> SiteReport:
    """Run `operator` at the selected sites of `model` from now on.

    Where `torch.compile` is in use, applying and removing let go of all code that it compiled in
    this process, of other models too, which are then compiled again.

    Args:
        model: a diffusers U-Net or DiT, compiled or not, or a pipeline that has one as `unet` or
            `transformer`.
        operator: any `bigain.operators.Operator`, or `ByStage` of two.
        sites: where; by default what the paper uses (`bigain.patching.sites`).
        seed: of the operator's random draws.

    Returns:
        The report; as a context manager it removes the operator on exit.

    Raises:
        UserError: `model` has no selected site, the operator cannot act at one of them, or an
            operator is applied to it already, or to the model that it is a copy of; or an argument
            is of the wrong type.

    """
    if not isinstance(operator, Compression):
        raise UserError(f"operator={operator!r}: must be an operator object, e.g. LGTM(ratio=0.5)")
    denoiser = _denoiser(model)
    applied = _APPLIED.get(denoiser)
    if applied is not None and applied.active:
        raise UserError(
            f"model={type(denoiser).__name__}: {applied.operator!r} is applied already; "
            "remove it first, with bigain.remove(model)"
        )
    _check_call(denoiser, sites, seed)
    placed = [(site, _operator_at(site, operator)) for site in find_sites(denoiser, sites)]
    for site, acting in placed:
        _check_fits(site, acting)
    uses = [_uses(denoiser, site, acting, placed) for site, acting in placed]
    report = SiteReport(type(denoiser).__name__, operator, tuple(use for of in uses for use in of))
    call = ModelCall(denoiser, report)
    report.on_removal(_forget_compiled)
    try:
        report.keep(call.install(denoiser))
        for (site, acting), own in zip(placed, uses, strict=True):
            report.keep(block_hooks(site, own, acting, seed, call).install())
    except BaseException:
        report.remove()
        raise
    _forget_compiled()
    vars(denoiser)[_MARK] = repr(operator)
    report.on_removal(partial(vars(denoiser).pop, _MARK, None))
    _APPLIED[denoiser] = report
    return report


def _check_call(denoiser: nn.Module, sites: object, seed: object) -> None:
    if _MARK in vars(denoiser):
        raise UserError(
            f"model={type(denoiser).__name__}: is a copy of a model with {vars(denoiser)[_MARK]}, "
            "and has its hooks; copy the model before an operator is applied, or after removal"
        )
    if not isinstance(sites, SiteSelection | None):
        raise UserError(f"sites={sites!r}: must be a SiteSelection, or None for the default")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed={seed!r}: must be an integer")


def remove(model: Any) -> None:
    """Take off whatever operator is applied to `model`; nothing happens when there is none.

    Raises:
        UserError: `model` is neither a module nor a pipeline with one.

    """
    report = _APPLIED.pop(_denoiser(model), None)
    if report is not None:
        report.remove()


def _denoiser(model: Any) -> nn.Module:
    """The module itself: `model`, or what is inside a pipeline or a `torch.compile` wrapper."""
    if not isinstance(model, nn.Module):
        model = getattr(model, "unet", None) or getattr(model, "transformer", None) or model
    model = getattr(model, "_orig_mod", model)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"model={type(model).__name__}: must be a diffusers model, or a pipeline with one"
        )
    return model


def _forget_compiled() -> None:
    """Let `torch.compile` see the hooks come and go: it does not look at them twice by itself.

    Code compiled before would go on without the operator, or with one that was removed.
    """
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def _operator_at(site: Site, operator: Compression) -> Operator:
    acting = operator.for_stage(site.stage)
    if acting is None:
        raise UserError(
            f"operator={operator!r}: has nothing for the stage `{site.stage}` of {site.name}; "
            "allowed: sites of encoder and decoder in a U-Net"
        )
    return acting


def _check_fits(site: Site, operator: Operator) -> None:
    """Keys and values are reduced in self-attentions with projections of their own."""
    if not isinstance(operator, KeyValueReducer):
        return
    if site.parts != ("self",):
        raise UserError(
            f"scope={'+'.join(site.parts)}: {operator!r} reduces keys and values of the image's "
            "own tokens; allowed: self"
        )
    if getattr(site.block.attn1, "fused_projections", False):
        raise UserError(
            f"operator={operator!r}: needs separate projections of keys and values; "
            "call model.unfuse_qkv_projections() first"
        )


def _uses(
    model: nn.Module, site: Site, operator: Operator, placed: list[tuple[Site, Operator]]
) -> tuple[SiteUse, ...]:
    """What the modules of `site` will see at the model's configured sample size, if it has one."""
    place = (site.stage, site.level)
    first = next(other for other, _ in placed if (other.stage, other.level) == place)
    plans = first is site or not operator.shared_in_stage
    size = getattr(getattr(model, "config", None), "sample_size", None)
    uses = []
    for part, path, module in site.modules:
        pays = plans and part == "self"
        use = SiteUse(path, part, site, operator, cost_of(part, module), pays)
        if size is not None:
            use.expect(site.grid(*((size, size) if isinstance(size, int) else size)))
        uses.append(use)
    return tuple(uses)
