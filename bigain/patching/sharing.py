"""What a U-Net computes before the class enters it, once for all classes of a batch.

A diffusion classifier evaluates the same noisy latents under many classes.  Up to the first
cross-attention of a text-conditioned U-Net the rows of one (latents, timestep) are equal:

    conv_in -> resnet -> [norm, proj_in -> block: norm1, attn1 with its operator, norm2, attn2.to_q]

Each of these modules but the three norms computes one row of each group and repeats its output, so
the rest of the model sees the batch that it was given.  A norm costs less than the copy of its
output does.  A model whose time embedding depends on the class, and a
transformer whose first norm does, have no such modules.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from bigain.devices import to_device
from bigain.operators import Groups
from bigain.patching.applied import Applied
from bigain.patching.compiling import forget_compiled
from bigain.patching.forward import ModelCall

__all__ = ["Sharing", "grouped_rows", "shared_modules"]


class Sharing:
    """A context manager in which a denoiser computes equal rows once, where `rows` says which are.

    Enter it after an operator was applied, and leave it before that is removed.

    Args:
        denoiser: A diffusers model.  Models without modules to share stay as they are.

    """

    def __init__(self, denoiser: nn.Module) -> None:
        self._denoiser = denoiser
        self._call: ModelCall | None = None
        self._handles: list[RemovableHandle] = []
        self._first: tuple[Tensor, Tensor] | None = None
        self._group: Tensor | None = None

    def __enter__(self) -> Self:
        self._call = ModelCall.on(self._denoiser)
        report = self._call.report if self._call else None
        for name, module in shared_modules(self._denoiser, report):
            # The sample is seen before it is narrowed; an operator acts on what is narrowed.
            is_input = name == "conv_in"
            narrow = self._narrow if is_input else self._noted(name)
            self._handles += [
                module.register_forward_pre_hook(narrow, with_kwargs=True, prepend=not is_input),
                module.register_forward_hook(self._repeat),
            ]
        self._forget()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._forget()
        while self._handles:
            self._handles.pop().remove()

    def _forget(self) -> None:
        if self._handles:
            forget_compiled()

    @contextmanager
    def rows(
        self, groups: Tensor, timesteps: Tensor, distinct: int | None = None
    ) -> Iterator[None]:
        """Say which rows of the next forward are equal but for their class.

        Args:
            groups: Numbers on the CPU, shape (B,), equal for rows with the same latents and
                timestep.  Such rows are neighbours.
            timesteps: Those that the model is told, of each row, on the CPU, so that random draws
                need not fetch them; (B,).
            distinct: How many rows the shared modules compute, at least as many as there are
                groups; None: as many as there are.

        """
        _, group, sizes = torch.unique_consecutive(groups, return_inverse=True, return_counts=True)
        device = next(self._denoiser.parameters()).device
        count = max(len(sizes), distinct or 0)
        if self._handles and count < len(groups):
            first = sizes.cumsum(0) - sizes
            first = torch.cat([first, first[-1:].expand(count - len(first))])
            self._first = to_device(first, device), first
            self._group = to_device(group, device)
        if self._call is not None:
            self._call.on_cpu = timesteps
            # Compiled code is made for these numbers, so they are given only where they are used.
            if self._call.report.plans_for_groups:
                ends = pairwise([0, *accumulate(sizes.tolist())])
                self._call.groups = tuple(tuple(range(*each)) for each in ends)
        try:
            yield
        finally:
            self._first = self._group = None
            if self._call is not None:
                self._call.on_cpu = self._call.groups = None

    def _noted(self, name: str) -> Any:
        """Note the rows of a module; those of a self-attention are also those of its block."""

        def narrow(module: nn.Module, args: Any, kwargs: Any) -> Any:
            if self._first is not None and self._call is not None:
                rows = self._call.forward_at(name).rows
                rows[name] = rows[name.removesuffix(".attn1")] = self._first
            return self._narrow(module, args, kwargs)

        return narrow

    def _narrow(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """One row of each group, of every tensor with rows that the module is given."""
        del module
        if self._first is None:
            return None
        first, _ = self._first
        return tree_map(lambda each: each[first] if _has_rows(each) else each, (args, kwargs))

    def _repeat(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        del module, args
        return None if self._group is None else output[self._group]


@contextmanager
def grouped_rows(denoiser: nn.Module, groups: Groups) -> Iterator[None]:
    """Say which rows of the forwards inside have the same latents and timestep.

    An operator with one plan for each of these (`bigain.operators.SharedPlan`) then does not have
    to compare them.
    """
    call = ModelCall.on(denoiser)
    if call is None or not call.report.plans_for_groups:
        yield
        return
    call.groups = groups
    try:
        yield
    finally:
        call.groups = None


def shared_modules(
    denoiser: nn.Module, report: Applied | None = None
) -> list[tuple[str, nn.Module]]:
    """(path, module) of each module of `denoiser` whose input does not depend on the class.

    Args:
        denoiser: A diffusers model.
        report: Of the operator that is applied to it, if any.  A self-attention is left out if its
            plan is used by modules that do depend on the class.

    """
    config = getattr(denoiser, "config", None)
    embeds_class = any(
        getattr(config, name, None) is not None
        for name in ("class_embed_type", "addition_embed_type", "num_class_embeds")
    )
    if embeds_class or not _begins_with_attention(denoiser):
        return []
    attention = "down_blocks.0.attentions.0"
    block = f"{attention}.transformer_blocks.0"
    names = [
        *("conv_in", "down_blocks.0.resnets.0", f"{attention}.proj_in"),
        *(f"{block}.attn1", f"{block}.attn2.to_q"),
    ]
    if report is not None and not report.is_alone(block):
        names = names[:3]
    return [(name, module) for name in names if (module := _found(denoiser, name)) is not None]


def _found(denoiser: nn.Module, name: str) -> nn.Module | None:
    """The module of this path; None where an operator has put several in its parent's place."""
    try:
        return denoiser.get_submodule(name)
    except AttributeError:
        return None


def _has_rows(argument: object) -> bool:
    """Whether it is a tensor with a row for each sample, and not one for all of them."""
    return isinstance(argument, Tensor) and argument.ndim > 0 and len(argument) > 1


def _begins_with_attention(denoiser: nn.Module) -> bool:
    """Whether this is a U-Net with a text-conditioned transformer block in its first down block."""
    try:
        block = denoiser.get_submodule("down_blocks.0.attentions.0.transformer_blocks.0")
        denoiser.get_submodule("down_blocks.0.resnets.0")
    except AttributeError:
        return False
    is_plain = getattr(block, "norm_type", None) == "layer_norm" and not hasattr(block, "fuser")
    return is_plain and not getattr(block, "only_cross_attention", True)
