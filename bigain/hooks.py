"""The forward hooks that run an operator at one self-attention.

The model's pre-hook notes sample shape and timesteps (`ModelCall`).  At a site, with plan P made on
the metric tensor,

    TokenReducer:     attn1(x)  ->  P.restore(attn1(P.reduce(x)))
    KeyValueReducer:  attn1(x)  ->  attn1(x, encoder_hidden_states=P.reduce(x))

When the plan changes nothing, the hooks pass nothing on, and the model's own path is taken.
"""

import inspect
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigain.errors import UserError
from bigain.operators import UNCHANGED, Draw, KeyValueReducer, Operator, Reduction
from bigain.site_report import SiteReport, SiteUse
from bigain.sites import Site

__all__ = ["ModelCall", "SiteHooks", "site_hooks"]

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class ModelCall:
    """What the model was last called with.

    It outlives the call, so that a backward pass that recomputes blocks finds it.
    """

    def __init__(self, model: nn.Module, report: SiteReport) -> None:
        self.size: tuple[int, int] | None = None
        self.timesteps: Tensor | None = None
        self._signature = inspect.signature(model.forward)
        self._report = report

    def install(self, model: nn.Module) -> list[RemovableHandle]:
        """Hook the model."""
        return [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after),
        ]

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del model
        given = self._signature.bind(*args, **kwargs).arguments
        sample = given["sample"] if "sample" in given else given["hidden_states"]
        time = given.get("timestep")
        self.size = (int(sample.shape[-2]), int(sample.shape[-1]))
        self.timesteps = None if time is None else torch.as_tensor(time)

    def _after(self, model: nn.Module, args: object, output: object) -> None:
        del model, args, output
        self._report.forwards += 1


class SiteHooks(ABC):
    """An operator at one site: planning, and counting what was done."""

    def __init__(
        self, site: Site, use: SiteUse, operator: Operator, seed: int, call: ModelCall
    ) -> None:
        self.site = site
        self._use = use
        self._operator = operator
        self._seed = seed
        self._call = call

    @abstractmethod
    def install(self) -> list[RemovableHandle]:
        """Hook the site's block and attention."""

    def _reduce(
        self, x: Tensor, metric: Tensor, kwargs: dict[str, Any]
    ) -> tuple[Reduction, Tensor]:
        """The reduction planned on `metric` (B, N, C), and `x` reduced by it; counts the call."""
        if self._call.size is None:
            raise UserError(f"site={self.site.name}: was called outside of a forward of its model")
        if kwargs.get("attention_mask") is not None:
            raise UserError("attention_mask: is not supported on the image tokens of a site")
        grid = self.site.grid(*self._call.size)
        draw = Draw(self._seed, self.site.name, self._call.timesteps)
        reduction = self._operator.plan(metric, grid, draw)
        reduced = reduction.reduce(x)
        self._use.count(grid, reduced.shape[1])
        return reduction, reduced


class _TokenHooks(SiteHooks):
    """Reduce what enters the attention, restore what leaves it."""

    _metric: Tensor | None = None
    _reduction: Reduction = UNCHANGED

    def install(self) -> list[RemovableHandle]:
        block, attention = self.site.block, self.site.attention
        handles = [
            attention.register_forward_pre_hook(self._before_attention, with_kwargs=True),
            attention.register_forward_hook(self._after_attention),
        ]
        if self.site.metric == "block":
            handles.append(block.register_forward_pre_hook(self._before_block, with_kwargs=True))
        return handles

    def _before_block(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del block
        self._metric = _hidden_states(args, kwargs)

    def _before_attention(
        self, attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        del attention
        hidden_states = _hidden_states(args, kwargs)
        metric, self._metric = self._metric, None
        metric = hidden_states if metric is None else metric
        self._reduction, reduced = self._reduce(hidden_states, metric, kwargs)
        if self._reduction is UNCHANGED:
            return None
        return _with_argument(args, kwargs, 0, reduced)

    def _after_attention(self, attention: nn.Module, args: object, output: Tensor) -> Tensor | None:
        del attention, args
        reduction, self._reduction = self._reduction, UNCHANGED
        return None if reduction is UNCHANGED else reduction.restore(output)


class _KeyValueHooks(SiteHooks):
    """Give the attention a reduced map to project keys and values from."""

    def install(self) -> list[RemovableHandle]:
        attention = self.site.attention
        return [attention.register_forward_pre_hook(self._before_attention, with_kwargs=True)]

    def _before_attention(
        self, attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        del attention
        hidden_states = _hidden_states(args, kwargs)
        reduction, reduced = self._reduce(hidden_states, hidden_states, kwargs)
        if reduction is UNCHANGED:
            return None
        return _with_argument(args, kwargs, 1, reduced)


def site_hooks(
    site: Site, use: SiteUse, operator: Operator, seed: int, call: ModelCall
) -> SiteHooks:
    """The hooks that the operator's kind needs at `site`, not installed yet."""
    kind = _KeyValueHooks if isinstance(operator, KeyValueReducer) else _TokenHooks
    return kind(site, use, operator, seed, call)


def _hidden_states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    hidden_states: Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden_states


def _with_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], position: int, value: Tensor
) -> _Arguments:
    """The call of an attention with its first or second argument replaced."""
    if len(args) > position:
        return (*args[:position], value, *args[position + 1 :]), kwargs
    name = ("hidden_states", "encoder_hidden_states")[position]
    return args, {**kwargs, name: value}
