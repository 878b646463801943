import torch
from torch import Tensor

from bigain.backbones.mini import MiniUNet, build_mini
from bigain.training.data import TrainingData
from bigain.training.trainer import validate


class Oracle(MiniUNet):
    """Knows the clean images: predicts the true noise under the true class, zero under others."""

    def __init__(self, data: TrainingData) -> None:
        super().__init__()
        self.data = data

    def forward(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        clean = self.encode(self.data.validation_images)
        abar = self.scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = (latents - abar.sqrt() * clean) / (1 - abar).sqrt()
        right = (labels == self.data.validation_labels).float().view(-1, 1, 1, 1)
        known: Tensor = noise * right
        return known


def test_an_oracle_has_no_error_and_full_accuracy(data: TrainingData) -> None:
    measured = validate(Oracle(data), data, 2)
    assert measured["validation_loss"] < 1e-6
    assert measured["validation_accuracy"] == 1.0


def test_an_untrained_model_has_the_error_of_guessing_zero(data: TrainingData) -> None:
    torch.manual_seed(0)
    model = build_mini("mini_dit")
    measured = validate(model, data, 1)
    assert 0.8 < measured["validation_loss"] < 1.2
    assert measured == validate(model, data, 1)
