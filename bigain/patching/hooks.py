"""The forward hooks that run an operator at the modules of one transformer block.

The model's pre-hook stores sample shape and timesteps (`ModelCall`).  Each block makes a plan P on
the metric tensor when its self-attention is called, and then

    TokenReducer:     f(x)      ->  P.restore(f(P.reduce(x)))      f: attn1, and by scope attn2, ff
    KeyValueReducer:  attn1(x)  ->  attn1(x, encoder_hidden_states=P.reduce(x))

If the plan changes nothing, the hooks change nothing, and the model runs as it is.

`torch.compile` traces the hooks into the model's graph, except `ModelCall._after`, which counts
forwards: one graph break after the forward.  Therefore only tensors that a hook reads may change
between forwards; any other change would compile again.
"""

import inspect
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigain.errors import UserError
from bigain.operators import UNCHANGED, KeyValueReducer, Operator, RandomKey, Reduction
from bigain.operators.matching import without_autocast
from bigain.patching.report import SiteReport, SiteUse
from bigain.patching.sites import Site

__all__ = ["BlockHooks", "ModelCall", "block_hooks"]

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class ModelCall:
    """Sample size and timesteps of the last forward, and the plans that its sites share.

    They are kept after the forward, for a backward pass that recomputes blocks.
    """

    def __init__(self, model: nn.Module, report: SiteReport) -> None:
        names = list(inspect.signature(model.forward).parameters)
        self._image = names[0]
        self._time_position = names.index("timestep") if "timestep" in names else len(names)
        self.size: tuple[int, int] | None = None
        self.timesteps: Tensor | None = None
        self.shared: dict[tuple[str, int], Reduction] = {}
        self._report = report

    def install(self, model: nn.Module) -> list[RemovableHandle]:
        """Hook the model."""
        return [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(torch.compiler.disable(self._after)),
        ]

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del model
        sample = args[0] if args else kwargs[self._image]
        by_place = len(args) > self._time_position
        time = args[self._time_position] if by_place else kwargs.get("timestep")
        self.size = (int(sample.shape[-2]), int(sample.shape[-1]))
        # A tensor is not converted: under `torch.compile` that would break the graph.
        given = time is None or isinstance(time, Tensor)
        self.timesteps = time if given else torch.as_tensor(time)
        self.shared = {}
        for use in self._report.sites:
            use.forget()

    def _after(self, model: nn.Module, args: object, output: object) -> None:
        del model, args, output
        self._report.forwards += 1
        for use in self._report.sites:
            use.count()


class BlockHooks(ABC):
    """The hooks of an operator at one block."""

    def __init__(
        self, site: Site, uses: tuple[SiteUse, ...], operator: Operator, seed: int, call: ModelCall
    ) -> None:
        self._site = site
        self._uses = uses
        self._operator = operator
        self._seed = seed
        self._call = call

    @abstractmethod
    def install(self) -> list[RemovableHandle]:
        """Hook the block and its modules."""

    def _grid(self) -> tuple[int, int]:
        if self._call.size is None:
            raise UserError(f"site={self._site.name}: was called outside a forward of its model")
        return self._site.grid(*self._call.size)

    def _plan(self, metric: Tensor) -> Reduction:
        """The reduction planned on `metric` (B, N, C), or the one its stage already shares."""
        grid, place = self._grid(), (self._site.stage, self._site.level)
        if self._operator.shared_in_stage and place in self._call.shared:
            return self._call.shared[place]
        draw = RandomKey(self._seed, self._site.name, self._call.timesteps)
        with without_autocast(metric.device):
            reduction = self._operator.plan(metric, grid, draw)
        self._call.shared[place] = reduction
        return reduction


class _TokenHooks(BlockHooks):
    """Reduce the input of each module in the scope and restore its output, all with one plan."""

    _metric: Tensor | None = None
    _reduction: Reduction = UNCHANGED

    def install(self) -> list[RemovableHandle]:
        self._metric = None  # set now: a new attribute would make `torch.compile` compile twice
        handles = []
        if self._site.metric == "block":
            block = self._site.block
            handles.append(block.register_forward_pre_hook(self._before_block, with_kwargs=True))
        before = {"self": self._before_self, "cross": self._before_cross, "mlp": self._before_mlp}
        for part, _, module in self._site.modules:
            handles.append(module.register_forward_pre_hook(before[part], with_kwargs=True))
            handles.append(module.register_forward_hook(self._after))
        return handles

    def _before_block(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del block
        self._metric = _hidden_states(args, kwargs)

    def _before_self(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        del module
        _refuse_other_tokens(kwargs)
        metric, self._metric = self._metric, None
        self._reduction = self._plan(_hidden_states(args, kwargs) if metric is None else metric)
        return self._reduced(args, kwargs, "self", None)

    def _before_cross(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        del module
        context = args[1] if len(args) > 1 else kwargs.get("encoder_hidden_states")
        tokens = None if context is None else int(context.shape[1])
        return self._reduced(args, kwargs, "cross", tokens)

    def _before_mlp(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        del module
        if getattr(self._site.block, "_chunk_size", None) is not None:
            raise UserError(
                f"scope={'+'.join(self._site.parts)}: the MLP needs all tokens at once; "
                "allowed: a model without chunked feed-forward, or a scope without mlp"
            )
        return self._reduced(args, kwargs, "mlp", None)

    def _reduced(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], part: str, context: int | None
    ) -> _Arguments | None:
        """The arguments with reduced hidden states; None if nothing is reduced."""
        hidden_states = _hidden_states(args, kwargs)
        use = self._uses[self._site.parts.index(part)]
        if self._reduction is UNCHANGED:
            use.see(self._grid(), hidden_states.shape[1], context)
            return None
        reduced = self._reduction.reduce(hidden_states)
        use.see(self._grid(), reduced.shape[1], context)
        return _with_argument(args, kwargs, 0, reduced)

    def _after(self, module: nn.Module, args: object, output: Tensor) -> Tensor | None:
        del module, args
        return None if self._reduction is UNCHANGED else self._reduction.restore(output)


class _KeyValueHooks(BlockHooks):
    """Give the self-attention reduced tokens to project keys and values from."""

    def install(self) -> list[RemovableHandle]:
        modules = [module for _, _, module in self._site.modules]
        return [
            module.register_forward_pre_hook(self._before, with_kwargs=True) for module in modules
        ]

    def _before(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        del module
        _refuse_other_tokens(kwargs)
        hidden_states = _hidden_states(args, kwargs)
        reduction = self._plan(hidden_states)
        reduced = reduction.reduce(hidden_states)
        self._uses[0].see(self._grid(), reduced.shape[1], None)
        return None if reduction is UNCHANGED else _with_argument(args, kwargs, 1, reduced)


def block_hooks(
    site: Site, uses: tuple[SiteUse, ...], operator: Operator, seed: int, call: ModelCall
) -> BlockHooks:
    """The hooks for `operator` at `site`, not installed yet; `uses` has one item per module."""
    kind = _KeyValueHooks if isinstance(operator, KeyValueReducer) else _TokenHooks
    return kind(site, uses, operator, seed, call)


def _refuse_other_tokens(kwargs: dict[str, Any]) -> None:
    """A self-attention must attend to all image tokens and nothing else."""
    if kwargs.get("attention_mask") is not None:
        raise UserError("attention_mask: is not supported over image tokens; allowed: none")
    if kwargs.get("encoder_hidden_states") is not None:
        raise UserError(
            "encoder_hidden_states: this model passes text to `attn1`; allowed: models whose "
            "`attn1` is a self-attention of image tokens (U-Nets, DiT, PixArt)"
        )


def _hidden_states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    hidden_states: Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden_states


def _with_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], position: int, value: Tensor
) -> _Arguments:
    """The arguments with the first (0) or second (1) replaced by `value`."""
    if len(args) > position:
        return (*args[:position], value, *args[position + 1 :]), kwargs
    name = ("hidden_states", "encoder_hidden_states")[position]
    return args, {**kwargs, name: value}
