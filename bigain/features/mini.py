"""Features of the small classifier that ships: those behind `frechet_mini`, which is no FID.

The network has seen 55,000 images of clothes and nothing else; see its model card in
`bigain/assets/mini_extractor`.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from bigain.backbones.preprocessing import MEAN, STD, pad_and_standardise
from bigain.errors import UserError
from bigain.features.base import Image
from bigain.features.mini_model import FEATURES, MiniClassifier
from bigain.files import file_sha256
from bigain.locations import ASSETS

__all__ = ["REVISION", "MiniExtractor", "load_classifier", "mini_weights"]

REVISION = "30e50ebb5b15"
"""Of the weights that ship; results name it, so that other weights give other results."""


class MiniExtractor:
    """Grey images of 28 x 28 pixels, or of 32 x 32 with their black border, to 64 features.

    Raises:
        UserError: The weights that ship are not those that `revision` names.

    """

    name = "mini"
    metric = "frechet_mini"
    dimension = FEATURES
    block = 100
    mode = "L"
    resize = "none; 28 x 28 padded by 2 black pixels to 32 x 32"

    def __init__(self, device: torch.device | None = None, revision: str = REVISION) -> None:
        self.revision = file_sha256(mini_weights())[:12]
        if self.revision != revision:
            raise UserError(
                f"extractor.revision={revision}: the weights in this package are {self.revision}"
            )
        self._device = device or torch.device("cpu")
        self._model = load_classifier(mini_weights()).to(self._device)

    def prepare(self, image: Image) -> Tensor:
        """Bytes (28, 28) or (32, 32) to (1, 32, 32), standardised."""
        if image.shape == (28, 28):
            return torch.from_numpy(pad_and_standardise(image[None]))[0]
        if image.shape == (32, 32):
            return (torch.from_numpy(image.astype("f4"))[None] / 255 - MEAN) / STD
        raise UserError(f"is of shape {image.shape}; the mini extractor takes (28, 28) or (32, 32)")

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
    """Where the shipped weights lie."""
    return ASSETS / "mini_extractor" / "model.safetensors"


def load_classifier(path: Path) -> MiniClassifier:
    """The classifier with the exported weights of `path`, in fp32, ready to be used."""
    model = MiniClassifier()
    # batch norm counts its batches; only training reads the count, so no file holds it
    missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    wrong = [*unexpected, *(name for name in missing if not name.endswith("num_batches_tracked"))]
    if wrong:
        raise UserError(f"{path}: holds the weights of another network, such as {wrong[0]}")
    return model.eval().requires_grad_(False)
