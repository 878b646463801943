"""Features of the small classifier that ships: those behind `frechet_mini`, which is not FID.

Five 3 x 3 convolutions, each with batch norm and ReLU, then the mean over positions: 64 features
per image (Inception's pool3 has 2048).  A linear layer on them gives the scores of ten classes.
The network was trained on 55,000 images of Fashion-MNIST; its model card is in
`bigain/assets/mini_extractor`.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bigain.backbones.mini import MEAN, STD, pad_and_standardise
from bigain.errors import UserError
from bigain.features.base import Image
from bigain.files import file_sha256
from bigain.locations import ASSETS

__all__ = ["REVISION", "MiniClassifier", "MiniExtractor", "load_classifier", "mini_weights"]

REVISION = "30e50ebb5b15"
"""Of the weights that ship.  Manifests name it, since other weights give other results."""

_FEATURES, _CLASSES = 64, 10
_WIDTHS = (1, 16, 32, 32, 64, _FEATURES)
_STRIDES = (1, 2, 1, 2, 1)


class MiniClassifier(nn.Module):
    """Images (B, 1, 32, 32), padded and standardised, to class scores (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*map(_convolution, _WIDTHS[:-1], _WIDTHS[1:], _STRIDES))
        self.head = nn.Linear(_FEATURES, _CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """Features (B, 64), not negative."""
        maps: Tensor = self.body(images)
        return maps.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (logits)."""
        scores: Tensor = self.head(self.features(images))
        return scores


class MiniExtractor:
    """Grey images of 28 x 28 pixels, or of 32 x 32 with their black border, to 64 features.

    Raises:
        UserError: The weights that ship are not those of `revision`.

    """

    name = "mini"
    metric = "frechet_mini"
    dimension = _FEATURES
    block = 100
    mode = "L"
    resize = "none; 28 x 28 padded by 2 black pixels to 32 x 32"

    def __init__(self, device: torch.device | None = None, revision: str = REVISION) -> None:
        self.revision = file_sha256(mini_weights())[:12]
        if self.revision != revision:
            raise UserError(
                f"extractor.revision={revision}: allowed: {self.revision}, the weights that ship"
            )
        self._device = device or torch.device("cpu")
        self._model = load_classifier(mini_weights()).to(self._device)

    def prepare(self, image: Image) -> Tensor:
        """Bytes (28, 28) or (32, 32) to (1, 32, 32), standardised."""
        if image.shape == (28, 28):
            return torch.from_numpy(pad_and_standardise(image[None]))[0]
        if image.shape == (32, 32):
            return (torch.from_numpy(image.astype("f4"))[None] / 255 - MEAN) / STD
        raise UserError(
            f"has shape {image.shape}; allowed: (28, 28) or (32, 32) with the mini extractor"
        )

    def features(self, block: Tensor) -> Tensor:
        """Features (100, 64) of (100, 1, 32, 32), not negative."""
        return self._model.features(block.to(self._device)).cpu()

    @torch.inference_mode()
    def classify(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Class 0..9 of each image, (n,), from its features (n, 64)."""
        scores: Tensor = self._model.head(torch.from_numpy(features).to(self._device))
        classes: npt.NDArray[np.int64] = scores.argmax(dim=1).cpu().numpy()
        return classes


def mini_weights() -> Path:
    """File of the shipped weights."""
    return ASSETS / "mini_extractor" / "model.safetensors"


def load_classifier(path: Path) -> MiniClassifier:
    """The classifier with the exported weights of `path`, in fp32, for inference.

    Raises:
        UserError: The file has the weights of another network.

    """
    model = MiniClassifier()
    # Batch norm counts its batches.  Only training reads the count, so files do not have it.
    missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    wrong = [*unexpected, *(name for name in missing if not name.endswith("num_batches_tracked"))]
    if wrong:
        raise UserError(f"{path}: has the weights of another network, such as {wrong[0]}")
    return model.eval().requires_grad_(False)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
