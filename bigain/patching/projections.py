"""Keys and values of the cross-attentions, computed once for a classification.

In a text-conditioned U-Net each cross-attention projects the embedding E_c of a prompt:

    k_c = W_k E_c,    v_c = W_v E_c

Neither depends on the image, the timestep or the operator, and the prompts of a classification are
its classes.  So each projection is replaced by a table of all classes, from which a forward takes
the rows of its samples.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from bigain.patching.compiling import forget_compiled
from bigain.patching.versions import Versions

__all__ = ["LARGEST", "KeptProjections"]

LARGEST = 2 * 2**30
"""Most bytes of all tables together; projections whose table does not fit any more stay."""


class KeptProjections:
    """A context manager in which cross-attentions take keys and values from tables.

    Args:
        denoiser: A diffusers model.
        encoder_hidden_states: What its cross-attentions get under each condition, shape
            (conditions, tokens, C), in the precision and on the device of `denoiser`; None if it
            has no such conditions, and then it stays as it is.

    """

    def __init__(self, denoiser: nn.Module, encoder_hidden_states: Tensor | None) -> None:
        self._denoiser = denoiser
        self._context = encoder_hidden_states
        self._left = LARGEST
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        self.conditions: Tensor | None = None

    def __enter__(self) -> Self:
        if self._context is not None:
            self._replace_all(self._context)
        if self._replaced:
            forget_compiled()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._replaced:
            forget_compiled()
        while self._replaced:
            attention, name, projection = self._replaced.pop()
            setattr(attention, name, projection)

    @contextmanager
    def of(self, conditions: Tensor) -> Iterator[None]:
        """Say which condition each row of the next forward has, (B,), on the device."""
        self.conditions = conditions
        try:
            yield
        finally:
            self.conditions = None

    def _replace_all(self, context: Tensor) -> None:
        # Where memory ends, the projections that are left stay.
        with suppress(torch.OutOfMemoryError), torch.no_grad():
            for attention in _cross_attentions(self._denoiser):
                for name in ("to_k", "to_v"):
                    self._replace(attention, name, context)

    def _replace(self, attention: nn.Module, name: str, context: Tensor) -> None:
        projection: Any = attention.get_submodule(name)
        size = context[..., 0].numel() * len(projection.weight) * context.element_size()
        if size > self._left:
            return
        setattr(attention, name, _Table(projection, projection(context), self))
        self._left -= size
        self._replaced.append((attention, name, projection))


class _Table(nn.Module):
    """The outputs of a projection for all conditions, (conditions, tokens, channels)."""

    outputs: Tensor

    def __init__(self, projection: nn.Module, outputs: Tensor, owner: KeptProjections) -> None:
        super().__init__()
        self.projection = projection
        self.register_buffer("outputs", outputs, persistent=False)
        self._owner = owner

    def forward(self, context: Tensor) -> Tensor:
        """The rows of the conditions of this forward; `context` is projected if nobody said."""
        conditions = self._owner.conditions
        projected: Tensor = (
            self.projection(context) if conditions is None else self.outputs[conditions]
        )
        return projected


def _cross_attentions(denoiser: nn.Module) -> list[nn.Module]:
    """The cross-attentions of `denoiser` that project its encoder_hidden_states as they are.

    One of several versions sees some rows of a batch only, so it keeps its own projections.
    """
    if getattr(denoiser, "encoder_hid_proj", None) is not None:
        return []
    found = [getattr(module, "attn2", None) for module in denoiser.modules()]
    plain = (each for each in found if each is not None and not isinstance(each, Versions))
    return [each for each in plain if _projects_context(each)]


def _projects_context(attention: Any) -> bool:
    is_plain = attention.norm_cross is None and not attention.fused_projections
    return bool(attention.is_cross_attention and is_plain)
