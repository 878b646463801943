from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from bigain.backbones.base import Classes, PredictsNoise
from bigain.backbones.noise_schedules import variance_preserving


class SmallBackbone(PredictsNoise):
    """A denoiser of a few weights with ten classes, fast enough for thousands of evaluations."""

    num_classes = 10
    null_class = 10
    latent_shape = (1, 8, 8)

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.denoiser: nn.Module = nn.Conv2d(1, 1, 3, padding=1).requires_grad_(False)
        self._class_bias = torch.randn(11, 1, 8, 8) * 0.3
        abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000).double(), 0)
        self.schedule = variance_preserving(abar)
        self.encoder_hidden_states: Tensor | None = None
        self.hashes: dict[str, str] = {}
        self.source: dict[str, Any] = {}

    def condition_on(self, classes: Classes) -> None:
        """The ten classes are built in."""

    def encode(self, image: npt.NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(image.astype(np.float32))[None, None] / 128 - 1

    def decode(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        pixels: npt.NDArray[np.uint8] = (latents[0, 0].clamp(-1, 1) * 127 + 128).byte().numpy()
        return pixels

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        late = (timesteps / 1000).view(-1, 1, 1, 1)
        prediction: Tensor = self.denoiser(latents) * late + self._class_bias[classes] * (1 - late)
        return prediction


@pytest.fixture
def backbone() -> SmallBackbone:
    return SmallBackbone()
