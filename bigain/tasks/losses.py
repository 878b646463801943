"""Per-sample noise-prediction errors: the mean over latent elements of a loss, in fp32."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

__all__ = ["LOSSES"]

_Elementwise = Callable[[Tensor, Tensor], Tensor]


def _per_sample(elementwise: _Elementwise) -> _Elementwise:
    def loss(prediction: Tensor, noise: Tensor) -> Tensor:
        return elementwise(prediction.float(), noise.float()).flatten(1).mean(dim=1)

    return loss


LOSSES: dict[str, _Elementwise] = {
    "l2": _per_sample(lambda prediction, noise: (prediction - noise).square()),
    "l1": _per_sample(lambda prediction, noise: (prediction - noise).abs()),
    "huber": _per_sample(lambda p, noise: F.huber_loss(p, noise, reduction="none")),
}
"""Losses by name.  Each takes two (B, C, H, W) tensors and gives (B,); `l2` is Eq. 3's."""
