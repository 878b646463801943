"""Run an operator inside a diffusers model, with plain forward hooks; contract C3 of the design.

    with bigain.apply(model, LGTM(ratio=0.7)) as report:
        ...                      # every forward of `model` uses the operator
    print(report)                # the sites, with tokens before and after

No class or forward method is replaced (see `bigain.patching.hooks`), so every attention backend
keeps working, and removing the hooks restores the model bit for bit.
"""

from typing import Any, overload

from torch import nn

from bigain.errors import UserError
from bigain.operators import ByTimestep, Calibrated, Compression, KeyValueReducer, Operator
from bigain.patching.applied import Applied
from bigain.patching.compiling import forget_compiled
from bigain.patching.forward import ModelCall
from bigain.patching.hooks import block_hooks, check_projections
from bigain.patching.pruned import PruningReport, apply_by_timestep
from bigain.patching.report import SiteReport, SiteUse
from bigain.patching.selection import SiteSelection
from bigain.patching.sites import Site, find_sites

__all__ = ["apply", "remove"]

_BLOCKS = {"down_blocks", "up_blocks", "transformer_blocks"}
"""Children of a model itself, not of a wrapper around one."""


@overload
def apply(
    model: Any, operator: ByTimestep, *, sites: SiteSelection | None = None, seed: int = 0
) -> PruningReport: ...


@overload
def apply(
    model: Any, operator: Compression, *, sites: SiteSelection | None = None, seed: int = 0
) -> SiteReport: ...


def apply(
    model: Any,
    operator: Compression,
    *,
    sites: SiteSelection | None = None,
    seed: int = 0,
) -> SiteReport | PruningReport:
    """Run `operator` at the selected sites of `model` from now on.

    If `torch.compile` is in use, applying and removing discard all compiled code of this process,
    also that of other models, which are then compiled again.

    Args:
        model: a diffusers U-Net or DiT, compiled or not, or a pipeline that has one as `unet` or
            `transformer`.
        operator: any `bigain.operators.Operator`, `ByStage` of two, or a `ByTimestep`.
        sites: where to apply it; by default the paper's sites (`bigain.patching.sites`).  An
            operator that acts by timestep has places of its own.
        seed: seed of the operator's random draws.

    Returns:
        The report. Used as a context manager, it removes the operator on exit.

    Raises:
        UserError: `model` has none of the selected sites, the operator cannot act at one of them,
            an operator is applied already, `model` is a copy of a model with an operator, or an
            argument has the wrong type.

    """
    _check_arguments(operator, sites, seed)
    denoiser = _denoiser(model)
    applied = _applied_to(denoiser)
    if applied is not None:
        raise UserError(
            f"model={type(denoiser).__name__}: {applied.operator!r} is applied already; "
            "remove it first, with bigain.remove(model)"
        )
    if isinstance(operator, ByTimestep):
        return _by_timestep(denoiser, operator, sites)
    return _at_sites(denoiser, operator, sites, seed)


def _check_arguments(operator: object, sites: object, seed: object) -> None:
    if not isinstance(operator, Compression):
        raise UserError(f"operator={operator!r}: must be an operator object, e.g. LGTM(ratio=0.5)")
    if isinstance(operator, Calibrated):
        raise UserError(
            f"operator={operator!r}: is not calibrated; allowed: the result of `bigain calibrate`"
        )
    if not isinstance(sites, SiteSelection | None):
        raise UserError(f"sites={sites!r}: must be a SiteSelection, or None for the default")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed={seed!r}: must be an integer")


def _at_sites(
    denoiser: nn.Module, operator: Compression, sites: SiteSelection | None, seed: int
) -> SiteReport:
    placed = [(site, _operator_at(site, operator)) for site in find_sites(denoiser, sites)]
    for site, acting in placed:
        _check_fits(site, acting)
    uses = [_uses(denoiser, site, acting, placed) for site, acting in placed]
    report = SiteReport(type(denoiser).__name__, operator, tuple(use for of in uses for use in of))
    call = ModelCall(denoiser, report)
    report.on_removal(forget_compiled)
    try:
        report.keep(call.install())
        for (site, acting), own in zip(placed, uses, strict=True):
            report.keep(block_hooks(site, own, acting, seed, call).install())
    except BaseException:
        report.remove()
        raise
    forget_compiled()
    return report


def _by_timestep(
    denoiser: nn.Module, operator: ByTimestep, sites: SiteSelection | None
) -> PruningReport:
    if sites is not None:
        raise UserError(f"sites={sites!r}: allowed: None, because {operator!r} has its own places")
    report = apply_by_timestep(denoiser, operator)
    report.on_removal(forget_compiled)
    forget_compiled()
    return report


def remove(model: Any) -> None:
    """Remove the operator from `model`; does nothing if none is applied.

    Raises:
        UserError: `model` is neither a module nor a pipeline with one, or it is a copy of a model
            with an operator.

    """
    report = _applied_to(_denoiser(model))
    if report is not None:
        report.remove()


def _applied_to(denoiser: nn.Module) -> Applied | None:
    """The report of the operator that `denoiser` has now.

    Copies that share their hooks with the original (`copy.copy`, replicas) are refused.
    """
    call = ModelCall.on(denoiser)
    if call is not None and call.model is not denoiser:
        raise UserError(
            f"model={type(denoiser).__name__}: is a copy of a model with "
            f"{call.report.operator!r} and has its hooks; copy the model before applying an "
            "operator or after removing it"
        )
    return call.report if call else None


def _denoiser(model: Any) -> nn.Module:
    """The module that has the blocks: without a pipeline, `torch.compile` or wrapper around it."""
    if not isinstance(model, nn.Module):
        model = getattr(model, "unet", None) or getattr(model, "transformer", None) or model
    if not isinstance(model, nn.Module):
        raise UserError(
            f"model={type(model).__name__}: must be a diffusers model, or a pipeline with one"
        )
    found = _with_blocks(model)
    if len(found) > 1:
        names = ", ".join(type(module).__name__ for module in found)
        raise UserError(
            f"model={type(model).__name__}: holds {len(found)} models with blocks ({names}); "
            "allowed: one of them"
        )
    return found[0] if found else model


def _with_blocks(module: nn.Module) -> list[nn.Module]:
    """The outermost modules in `module` that have blocks of their own, and may have sites."""
    own = _BLOCKS & module._modules.keys()
    if own:
        return (
            [module] if own >= {"down_blocks", "up_blocks"} or "transformer_blocks" in own else []
        )
    return [found for child in module.children() for found in _with_blocks(child)]


def _operator_at(site: Site, operator: Compression) -> Operator:
    acting = operator.for_stage(site.stage)
    if acting is None:
        raise UserError(
            f"operator={operator!r}: has no operator for stage `{site.stage}` ({site.name}); "
            "allowed: sites in the encoder and decoder of a U-Net"
        )
    return acting


def _check_fits(site: Site, operator: Operator) -> None:
    """A key/value operator needs scope `self`, separate projections and keys of the image alone."""
    if not isinstance(operator, KeyValueReducer):
        return
    if site.is_joint:
        raise UserError(
            f"operator={operator!r}: reduces keys and values of the image's own tokens, and "
            f"{site.name} attends to image and text jointly; allowed: one that merges tokens"
        )
    if site.parts != ("self",):
        raise UserError(
            f"scope={'+'.join(site.parts)}: {operator!r} reduces keys and values of the image's "
            "own tokens; allowed: self"
        )
    check_projections(operator, site.attention)


def _uses(
    model: nn.Module, site: Site, operator: Operator, placed: list[tuple[Site, Operator]]
) -> tuple[SiteUse, ...]:
    """One `SiteUse` per module of `site`, with what is expected at the configured sample size."""
    place = (site.stage, site.level)
    first = next(other for other, _ in placed if (other.stage, other.level) == place)
    plans = first is site or not operator.shared_in_stage
    size = getattr(getattr(model, "config", None), "sample_size", None)
    uses = []
    for part, path, module in site.modules:
        use = SiteUse(path, part, site, operator, module, plans and part == "self")
        if size is not None:
            use.expect(site.grid(*((size, size) if isinstance(size, int) else size)))
        uses.append(use)
    return tuple(uses)
