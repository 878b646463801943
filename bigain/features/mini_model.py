"""The classifier of Fashion-MNIST whose penultimate layer gives the features of `frechet_mini`.

Five 3 x 3 convolutions, each with batch norm and ReLU, then the mean over positions: 64 features
per image, as Inception's pool3 gives 2048.  A linear layer on them tells the ten classes apart.
"""

from torch import Tensor, nn

__all__ = ["FEATURES", "MiniClassifier"]

FEATURES = 64
_CLASSES = 10
_WIDTHS = (1, 16, 32, 32, 64, FEATURES)
_STRIDES = (1, 2, 1, 2, 1)


class MiniClassifier(nn.Module):
    """Images (B, 1, 32, 32), padded and standardised, to class scores (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*map(_convolution, _WIDTHS[:-1], _WIDTHS[1:], _STRIDES))
        self.head = nn.Linear(FEATURES, _CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """Features (B, 64), not negative."""
        maps: Tensor = self.body(images)
        return maps.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (logits)."""
        scores: Tensor = self.head(self.features(images))
        return scores


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
