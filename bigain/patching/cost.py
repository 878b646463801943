"""FLOPs of the modules of a site in closed form: per sample, 2 per multiply-accumulate.

With q queries, k keys, width C and inner width I (heads times head size),

    attention:  2 q C I + 4 k K I + 4 q k I + 2 q I O      (K: width of the keys' tokens, O: output)
    joint:      attention of all N' + n tokens of image and text: 2 per weight of the projections of
                either and token of it, and 4 (N' + n)^2 I
    MLP:        2 per token and weight of its linear layers
    convolution 2 per place of its output and weight

For a self-attention with I = C this is `4 q C^2 + 4 k C^2 + 4 q k C`.  Soft-max, norms and other
element-wise operations count nothing, as in torch's `FlopCounterMode`.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

__all__ = ["AttentionCost", "ConvolutionCost", "JointCost", "MLPCost", "ModuleCost", "cost_of"]

_SOFTMAX = {
    *("AttnProcessor", "AttnProcessor2_0", "AttnProcessorNPU", "FusedAttnProcessor2_0"),
    *("SanaAttnProcessor2_0", "SlicedAttnProcessor", "XFormersAttnProcessor"),
}
"""Attention processors of diffusers that compute soft-max attention of all queries and keys."""

_JOINT = "JointAttnProcessor2_0"
"""That of all tokens of image and text together."""


class ModuleCost(Protocol):
    """FLOPs of a module, given its numbers of tokens."""

    def flops(self, queries: int, keys: int) -> int:
        """FLOPs of one sample."""
        ...


@dataclass(frozen=True)
class AttentionCost:
    """An attention with separate projections of queries, keys, values and output.

    Attributes:
        width: channels of the tokens that queries come from.
        context_width: channels of the tokens that keys and values come from.
        inner: heads times head size.
        out: channels of the output.

    """

    width: int
    context_width: int
    inner: int
    out: int

    def flops(self, queries: int, keys: int) -> int:
        """2 q C I + 4 k K I + 4 q k I + 2 q I O."""
        projections = queries * (self.width + self.out) + 2 * keys * self.context_width
        return 2 * projections * self.inner + 4 * queries * keys * self.inner


@dataclass(frozen=True)
class JointCost:
    """An attention of image and text together, each with projections of its own.

    Attributes:
        image: weights of the projections of an image token.
        text: weights of the projections of a text token.
        inner: heads times head size.

    """

    image: int
    text: int
    inner: int

    def flops(self, queries: int, keys: int) -> int:
        """`queries` are the image tokens, `keys` those of image and text; all attend to all."""
        projections = queries * self.image + (keys - queries) * self.text
        return 2 * projections + 4 * keys**2 * self.inner


@dataclass(frozen=True)
class MLPCost:
    """Linear layers that act on each token.

    Attributes:
        weights: their number of weights.

    """

    weights: int

    def flops(self, queries: int, keys: int) -> int:
        """2 per token and weight; `queries` is the number of tokens, `keys` is not used."""
        del keys
        return 2 * queries * self.weights


@dataclass(frozen=True)
class ConvolutionCost:
    """A convolution.

    Attributes:
        weights: their number.

    """

    weights: int

    def flops(self, queries: int, keys: int) -> int:
        """2 per place and weight; `queries` is the number of places, `keys` is not used."""
        del keys
        return 2 * queries * self.weights


def cost_of(part: str, module: nn.Module) -> ModuleCost | None:
    """The cost of `module`: an attention (part `self` or `cross`) or an MLP (part `mlp`).

    None for an attention whose processor is not known to compute soft-max attention (linear
    attention, perturbed guidance, image prompts and processors of one's own cost something else),
    or whose projections are not matrices.
    """
    if part == "mlp":
        linears = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
        return MLPCost(sum(layer.in_features * layer.out_features for layer in linears))
    kind = type(getattr(module, "processor", None))
    if not kind.__module__.startswith("diffusers.") or kind.__name__ not in {*_SOFTMAX, _JOINT}:
        return None
    if kind.__name__ == _JOINT:
        return _joint_cost(module)
    query, key, out = (_shape(module, name) for name in ("to_q", "to_k", "to_out.0"))
    if query is None or key is None or out is None:
        return None
    return AttentionCost(query[1], key[1], query[0], out[0])


_OF_IMAGE = ("to_q", "to_k", "to_v", "to_out.0")
_OF_TEXT = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


def _joint_cost(module: nn.Module) -> JointCost | None:
    """None if a projection is no matrix; the last block of SD3 has no output of the text."""
    has_output = getattr(module, "to_add_out", None) is not None
    texts = _OF_TEXT if has_output else _OF_TEXT[:-1]
    shapes = [[_shape(module, name) for name in names] for names in (_OF_IMAGE, texts)]
    found = [[each for each in own if each is not None] for own in shapes]
    if found != shapes:
        return None
    image, text = (sum(rows * columns for rows, columns in own) for own in found)
    return JointCost(image, text, found[0][0][0])


def _shape(module: nn.Module, name: str) -> tuple[int, int] | None:
    """(output, input) width of the projection `name`; None if it has no matrix of weights."""
    weight = getattr(module.get_submodule(name), "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        return None
    return int(weight.shape[0]), int(weight.shape[1])
