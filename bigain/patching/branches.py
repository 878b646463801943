"""The residual branches of a denoiser: what can be left out so that the rest still fits.

    x + attn1(x),  x + attn2(x, text),  x + ff(x)      of every transformer block
    shortcut(x) + conv2(... conv1(x) ...)              of every ResNet block

Without its branch a block passes on x: the shortcut, and the time projection between the two
convolutions, stay.  Never left out are what has no such path: the first and the last layers,
embeddings, down- and upsamplers.  Branches are found by structure, as sites are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from bigain.errors import UserError
from bigain.patching.cost import ConvolutionCost, ModuleCost, cost_of

__all__ = ["PARTS", "Branch", "cost_in_branch", "find_branches"]

PARTS = {"self": "attn1", "cross": "attn2", "mlp": "ff"}
"""Part of a transformer block -> its module; the part of a ResNet block is `resnet`."""


@dataclass(frozen=True, eq=False)
class Branch:
    """One residual branch.

    Attributes:
        name: path in the model, of the module or of the ResNet block.
        part: `self`, `cross`, `mlp` or `resnet`.
        modules: path and module of each that does nothing where the branch is left out.

    """

    name: str
    part: str
    modules: tuple[tuple[str, nn.Module], ...]


def find_branches(model: nn.Module) -> tuple[Branch, ...]:
    """All branches of `model`, at least one.

    Raises:
        UserError: it has none.

    """
    found = tuple(branch for name, module in model.named_modules() for branch in _of(name, module))
    if not found:
        raise UserError(
            f"model={type(model).__name__}: has no residual branch; allowed: a diffusers denoiser "
            "with transformer blocks (attn1, ff) or ResNet blocks (conv1, conv2)"
        )
    return found


def cost_in_branch(part: str, module: nn.Module) -> ModuleCost | None:
    """The closed form of the FLOPs of one module of a branch; see `cost_of`."""
    if part != "resnet":
        return cost_of(part, module)
    assert isinstance(module, nn.Conv2d)
    return ConvolutionCost(module.weight.numel())


def _of(name: str, module: Any) -> Iterator[Branch]:
    if isinstance(getattr(module, "attn1", None), nn.Module):
        for part, own in PARTS.items():
            inner = getattr(module, own, None)
            if isinstance(inner, nn.Module):
                yield Branch(f"{name}.{own}", part, ((f"{name}.{own}", inner),))
    convolutions: dict[str, Any] = {
        f"{name}.{own}": getattr(module, own, None) for own in ("conv1", "conv2")
    }
    if hasattr(module, "conv_shortcut") and all(map(_keeps_size, convolutions.values())):
        yield Branch(name, "resnet", tuple(convolutions.items()))


def _keeps_size(module: object) -> bool:
    """Whether this is a convolution whose output has the height and width of its input."""
    if not isinstance(module, nn.Conv2d) or module.stride != (1, 1):
        return False
    if isinstance(module.padding, str):
        return module.padding == "same"
    return all(2 * p == k - 1 for p, k in zip(module.padding, module.kernel_size, strict=True))
