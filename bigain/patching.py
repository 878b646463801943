"""Run an operator inside a diffusers model, with plain forward hooks; contract C3 of the design.

    with bigain.apply(model, LGTM(ratio=0.7)) as report:
        ...                      # every forward of `model` is accelerated
    print(report)                # where, and how many tokens remained

No class and no forward is replaced (`bigain.hooks`), so every attention backend keeps working, and
removing the hooks leaves the model as it was, bit for bit.

The module is named `patching` because `bigain.apply` is the function.
"""

from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from bigain.errors import UserError
from bigain.hooks import ModelCall, site_hooks
from bigain.operators import KeyValueReducer, Operator
from bigain.site_report import SiteReport, SiteUse
from bigain.sites import Site, SiteSelection, find_sites

__all__ = ["apply", "remove"]

_APPLIED: "WeakKeyDictionary[nn.Module, SiteReport]" = WeakKeyDictionary()


def apply(
    model: Any,
    operator: Operator,
    *,
    sites: SiteSelection | None = None,
    seed: int = 0,
) -> SiteReport:
    """Run `operator` at the selected sites of `model` from now on.

    Args:
        model: a diffusers U-Net or DiT, or a pipeline that has one as `unet` or `transformer`.
        operator: any `bigain.operators.Operator`.
        sites: where; by default what the paper uses (`bigain.sites`).
        seed: of the operator's random draws.

    Returns:
        The report; as a context manager it removes the operator on exit.

    Raises:
        UserError: `model` has no selected site, or an operator is applied to it already.

    """
    if not isinstance(operator, Operator):
        raise UserError(f"operator={operator!r}: must be an operator object, e.g. LGTM(ratio=0.5)")
    denoiser = _denoiser(model)
    applied = _APPLIED.get(denoiser)
    if applied is not None and applied.active:
        raise UserError(
            f"model={type(denoiser).__name__}: {applied.operator!r} is applied already; "
            "remove it first, with bigain.remove(model)"
        )
    chosen = find_sites(denoiser, sites)
    _check_separate_projections(chosen, operator)
    uses = tuple(_expected_use(denoiser, site, operator) for site in chosen)
    report = SiteReport(type(denoiser).__name__, operator, uses)
    call = ModelCall(denoiser, report)
    report.keep(call.install(denoiser))
    for site, use in zip(chosen, uses, strict=True):
        report.keep(site_hooks(site, use, operator, seed, call).install())
    _APPLIED[denoiser] = report
    return report


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


def _check_separate_projections(sites: tuple[Site, ...], operator: Operator) -> None:
    """Fused projections take q, k and v from one tensor, so keys cannot come from another one."""
    fused = any(getattr(site.attention, "fused_projections", False) for site in sites)
    if fused and isinstance(operator, KeyValueReducer):
        raise UserError(
            f"operator={operator!r}: needs separate projections of keys and values; "
            "call model.unfuse_qkv_projections() first"
        )


def _expected_use(model: nn.Module, site: Site, operator: Operator) -> SiteUse:
    """What `site` will see at the model's configured sample size, where it has one."""
    use = SiteUse(f"{site.name}.attn1", site.stage, site.level, site.index)
    size = getattr(getattr(model, "config", None), "sample_size", None)
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        use.expect(site.grid(height, width), operator)
    return use
