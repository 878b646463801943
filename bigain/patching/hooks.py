"""The forward hooks that run an operator at the modules of one transformer block.

`ModelCall` opens and closes a forward, and sees the sample and the timesteps where they enter the
model's own layers.  Each block makes a plan P on the metric tensor when its self-attention is
called, and then

    TokenReducer:     f(x)      ->  P.restore(f(P.reduce(x)))      f: attn1, and by scope attn2, ff
    KeyValueReducer:  attn1(x)  ->  attn1(x, encoder_hidden_states=P.reduce(x))

At a joint attention of image and text (SD3), x is the image alone: the text enters and leaves as it
is, and only the image part of the output is restored.

If the plan changes nothing, the hooks change nothing, and the model runs as it is.  What the report
counts was seen: the tokens of the module's output, or those that its keys were projected from.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigain.errors import UserError
from bigain.operators import UNCHANGED, KeyValueReducer, Operator, Reduction
from bigain.operators.matching import without_autocast
from bigain.patching.forward import Forward, ModelCall
from bigain.patching.not_copied import NotCopied
from bigain.patching.report import Seen, SiteUse
from bigain.patching.sites import Site

__all__ = ["BlockHooks", "block_hooks", "check_projections"]

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class BlockHooks(NotCopied, ABC):
    """The hooks of an operator at one block.  They hold nothing of a forward."""

    def __init__(
        self, site: Site, uses: tuple[SiteUse, ...], operator: Operator, seed: int, call: ModelCall
    ) -> None:
        super().__init__(operator)
        self._site = site
        self._uses = {use.part: use for use in uses}
        self._operator = operator
        self._seed = seed
        self._call = call

    @abstractmethod
    def install(self) -> list[RemovableHandle]:
        """Hook the block and its modules."""

    def _plan(self, forward: Forward, metric: Tensor) -> Reduction:
        """The reduction planned on `metric` (B, N, C), or the one its stage already shares."""
        place = (self._site.stage, self._site.level)
        if place in forward.shared:
            return forward.shared[place]
        draw = forward.draw_key(self._seed, self._site.name)
        if self._operator.plans_for_groups:
            draw = replace(draw, groups=forward.groups_at(self._site.name))
        with without_autocast(metric.device):
            reduction = self._operator.plan(metric, self._site.grid(*forward.size), draw)
        forward.planned.add(self._site.name)
        if self._operator.shared_in_stage:
            forward.shared[place] = reduction
        return reduction

    def _see(self, forward: Forward, part: str, after: int, context: int | None = None) -> None:
        grid = self._site.grid(*forward.size)
        planned = part == "self" and self._site.name in forward.planned
        forward.seen[self._uses[part].name] = Seen(grid, after, context, planned)


class _TokenHooks(BlockHooks):
    """Reduce the input of each module in the scope and restore its output, all with one plan."""

    def install(self) -> list[RemovableHandle]:
        handles = []
        if self._site.metric == "block":
            block = self._site.block
            handles.append(block.register_forward_pre_hook(self._before_block, with_kwargs=True))
        before = {"self": self._before_self, "cross": self._before_cross, "mlp": self._before_mlp}
        for part, _, module in self._site.modules:
            after = partial(self._after, part)
            handles.append(module.register_forward_pre_hook(before[part], with_kwargs=True))
            handles.append(module.register_forward_hook(after, with_kwargs=True))
        return handles

    def _before_block(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del block
        forward = self._call.forward_at(self._site.name)
        forward.metrics[self._site.name] = _hidden_states(args, kwargs)

    def _before_self(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        del module
        _refuse_other_tokens(kwargs, is_joint=self._site.is_joint)
        forward = self._call.forward_at(self._site.name)
        metric = forward.metrics.pop(self._site.name, None)
        if metric is None:
            metric = _hidden_states(args, kwargs)
        else:
            metric = forward.narrowed(self._site.name, metric)
        forward.reductions[self._site.name] = self._plan(forward, metric)
        return self._reduced(args, kwargs)

    def _before_cross(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        del module
        if kwargs.get("ip_adapter_masks") is not None:
            raise UserError(
                "ip_adapter_masks: a mask over image tokens does not fit reduced queries; allowed: "
                "none, or a scope without cross"
            )
        return self._reduced(args, kwargs)

    def _before_mlp(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        del module
        if getattr(self._site.block, "_chunk_size", None) is not None:
            raise UserError(
                f"scope={'+'.join(self._site.parts)}: the MLP needs all tokens at once; "
                "allowed: a model without chunked feed-forward, or a scope without mlp"
            )
        return self._reduced(args, kwargs)

    def _reduction(self) -> tuple[Forward, Reduction]:
        """The plan that the block's self-attention made in this forward."""
        forward = self._call.forward_at(self._site.name)
        reduction = forward.reductions.get(self._site.name)
        if reduction is None:
            raise UserError(
                f"site={self._site.name}: its attn1 was not called in this forward, so there is no "
                "plan; allowed: a block that calls the attn1 that the operator was applied to"
            )
        return forward, reduction

    def _reduced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Arguments | None:
        """The arguments with reduced hidden states; None if nothing is reduced."""
        _, reduction = self._reduction()
        if reduction is UNCHANGED:
            return None
        return _with_argument(args, kwargs, 0, reduction.reduce(_hidden_states(args, kwargs)))

    def _after(
        self,
        part: str,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
    ) -> Any:
        forward, reduction = self._reduction()
        given = _hidden_states(args, kwargs).shape[1]
        text: list[Tensor] = []
        is_joint = part == "self" and self._site.is_joint
        if is_joint and isinstance(output, tuple):
            output, *text = output
        if not isinstance(output, Tensor) or output.shape[1] != given:
            what = f"{output.shape[1]} tokens" if isinstance(output, Tensor) else type(output)
            raise UserError(
                f"site={self._uses[part].name}: {type(module).__name__} returned {what} for "
                f"{given} tokens; allowed: a module that returns as many tokens as it takes"
            )
        context = _context_tokens(args, kwargs) if part == "cross" or is_joint else None
        self._see(forward, part, output.shape[1], context)
        if reduction is UNCHANGED:
            return None
        restored = reduction.restore(output)
        return (restored, *text) if is_joint else restored


class _KeyValueHooks(BlockHooks):
    """Give the self-attention reduced tokens to project keys and values from."""

    def install(self) -> list[RemovableHandle]:
        attention = self._site.block.get_submodule("attn1")
        keys = attention.get_submodule("to_k")
        return [
            attention.register_forward_pre_hook(self._before, with_kwargs=True),
            keys.register_forward_pre_hook(self._see_keys, with_kwargs=True),
            attention.register_forward_hook(self._after),
        ]

    def _before(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments | None:
        _refuse_other_tokens(kwargs, is_joint=False)
        check_projections(self._operator, module)
        forward = self._call.forward_at(self._site.name)
        hidden_states = _hidden_states(args, kwargs)
        reduction = self._plan(forward, hidden_states)
        reduced = reduction.reduce(hidden_states)
        forward.keys[self._site.name] = (reduced.shape[1], None)
        return None if reduction is UNCHANGED else _with_argument(args, kwargs, 1, reduced)

    def _see_keys(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        forward = self._call.forward_at(self._site.name)
        expected, _ = forward.keys.get(self._site.name, (None, None))
        forward.keys[self._site.name] = (expected, (*args, *kwargs.values())[0].shape[1])

    def _after(self, module: nn.Module, args: object, output: object) -> None:
        del args, output
        forward = self._call.forward_at(self._site.name)
        expected, seen = forward.keys[self._site.name]
        if seen is None or seen != expected:
            raise self._ignored(module, seen, expected)
        self._see(forward, "self", seen)

    def _ignored(self, module: nn.Module, seen: int | None, expected: int | None) -> UserError:
        processor = type(getattr(module, "processor", module)).__name__
        where = f"operator={self._operator!r}: {processor} of {self._site.name}.attn1"
        if seen is None:
            return UserError(
                f"{where} did not call the to_k that the operator was applied to; allowed: "
                "separate projections; bigain.remove and apply again after layers were exchanged"
            )
        return UserError(
            f"{where} projects its keys from {seen} tokens, not from the {expected} reduced ones; "
            "allowed: an attention processor that takes keys and values from encoder_hidden_states"
        )


def block_hooks(
    site: Site, uses: tuple[SiteUse, ...], operator: Operator, seed: int, call: ModelCall
) -> BlockHooks:
    """The hooks for `operator` at `site`, not installed yet; `uses` has one item per module."""
    kind = _KeyValueHooks if isinstance(operator, KeyValueReducer) else _TokenHooks
    return kind(site, uses, operator, seed, call)


def check_projections(operator: Operator, attention: nn.Module) -> None:
    """Refuse an attention that projects keys, values and queries from the same tokens at once.

    Raises:
        UserError: the projections of `attention` are fused.

    """
    # diffusers leaves `fused_projections` true after unfusing; the processor is what counts.
    if type(getattr(attention, "processor", None)).__name__.startswith("Fused"):
        raise UserError(
            f"operator={operator!r}: needs separate projections of keys and values; "
            "call model.unfuse_qkv_projections() first"
        )


_OF_ALL_TOKENS = ("attention_mask", "image_rotary_emb", "rotary_emb")


def _refuse_other_tokens(kwargs: dict[str, Any], *, is_joint: bool) -> None:
    """A self-attention must attend to all image tokens and nothing else, whatever their places.

    A joint attention must attend to all image and text tokens.
    """
    for name in _OF_ALL_TOKENS:
        if kwargs.get(name) is not None:
            raise UserError(f"{name}: is not supported over image tokens; allowed: none")
    if not is_joint and kwargs.get("encoder_hidden_states") is not None:
        raise UserError(
            "encoder_hidden_states: this model passes text to `attn1`; allowed: models whose "
            "`attn1` is a self-attention of image tokens (U-Nets, DiT, PixArt)"
        )


def _hidden_states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    hidden_states: Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden_states


def _context_tokens(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Text tokens of a cross-attention; an IP-Adapter gives (text, image embeddings)."""
    context = args[1] if len(args) > 1 else kwargs.get("encoder_hidden_states")
    text = context[0] if isinstance(context, tuple) else context
    return None if text is None else int(text.shape[1])


def _with_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], position: int, value: Tensor
) -> _Arguments:
    """The arguments with the first (0) or second (1) replaced by `value`."""
    if len(args) > position:
        return (*args[:position], value, *args[position + 1 :]), kwargs
    name = ("hidden_states", "encoder_hidden_states")[position]
    return args, {**kwargs, name: value}
