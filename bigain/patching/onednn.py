"""Linear layers through oneDNN, where MKL is slow.

On an x86 processor torch multiplies matrices in float32 with Intel's MKL.  On processors of other
makers MKL has no code for AVX-512.  oneDNN, which torch has for convolutions, uses what the
processor has.  Both sum in float32, in another order: results agree to rounding, as those of two
batch sizes do.

Only float32 on a CPU goes through oneDNN, without a gradient and without autocast; a layer that
was moved or converted later computes as any other.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from bigain.machine import cpu_model

__all__ = ["OneDnnLinear", "is_faster", "use_onednn"]

_LIBRARY = torch.library.Library("bigain", "FRAGMENT")
_LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
# An operation of its own, because `torch.compile` wants oneDNN's weights to be constants.


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def _shape_of_linear(x: Tensor, weight: Tensor, _bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def _flops_of_linear(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    """2 (rows) I O from the shapes (..., I) and (O, I)."""
    return 2 * torch.Size(x).numel() * int(weight[0])


_LIBRARY.impl("linear", _linear, "CPU")
torch.library.register_fake("bigain::linear", _shape_of_linear, lib=_LIBRARY)
register_flop_formula(torch.ops.bigain.linear)(_flops_of_linear)


class OneDnnLinear(nn.Linear):
    """`nn.Linear` that oneDNN computes where it can."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` (..., in_features) -> (..., out_features)."""
        is_other = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
        if is_other or not (_is_plain(input) and _is_plain(self.weight)):
            return super().forward(input)
        product: Tensor = torch.ops.bigain.linear(input, self.weight, self.bias)
        return product


def use_onednn(network: nn.Module) -> None:
    """Let the linear layers of `network` that are float32 on a CPU compute with oneDNN.

    Layers of a class of their own stay as they are; all stay where `is_faster` says no.
    """
    if not is_faster():
        return
    for layer in network.modules():
        if type(layer) is nn.Linear and _is_plain(layer.weight):
            layer.__class__ = OneDnnLinear


def is_faster() -> bool:
    """Whether oneDNN multiplies matrices faster than MKL on this processor.

    That is so on one with AVX-512 that Intel has not made.
    """
    libraries = (torch.backends.mkl, torch.backends.mkldnn)
    if not all(each.is_available() for each in libraries):
        return False
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return has_avx512 and "intel" not in (cpu_model() or "intel").lower()


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32
