"""The two shipped backbones: `mini_unet` and `mini_dit`, trained on Fashion-MNIST.

The weights lie in the package as half-precision safetensors beside a model card each.  The first
twelve digits of a weight file's sha256 are its revision; the configuration names the revision, so
that results of retrained weights can never be taken for results of these.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from bigain.backbones.base import Classes
from bigain.backbones.mini_models import LATENT_SHAPES, NULL_CLASS, NUM_CLASSES, build_mini
from bigain.backbones.preprocessing import crop_and_quantise, pad_and_standardise
from bigain.backbones.shipped import check_revision, weights_path
from bigain.errors import UserError
from bigain.files import file_sha256

__all__ = ["MiniBackbone", "load_mini"]


class MiniBackbone:
    """A trained mini denoiser behind the `Backbone` protocol."""

    num_classes = NUM_CLASSES
    null_class = NULL_CLASS

    def __init__(self, name: str, weights: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.hashes = {f"{name}/{weights.name}": file_sha256(weights)}
        self.source: dict[str, Any] = {"place": "package"}
        self.latent_shape = LATENT_SHAPES[name]
        model = build_mini(name)
        state = load_file(weights)
        _check_architecture(name, weights, state, model.state_dict())
        model.load_state_dict(state)
        self._model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self._dtype = dtype
        self.denoiser = self._model.denoiser
        betas = self._model.scheduler.betas.double()
        self.alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)

    def condition_on(self, classes: Classes) -> None:
        """Nothing to do: the ten classes were learned with the weights."""

    def encode(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """(28, 28) bytes -> latents, (1, 4, 16, 16) for the U-Net, (1, 1, 32, 32) for the DiT."""
        return self._model.encode(torch.from_numpy(pad_and_standardise(image[None])))

    def decode(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """Latents of one image -> (28, 28) bytes; of what `encode` gave, the very same."""
        images = crop_and_quantise(self._model.decode(latents.float().cpu()).numpy())
        image: npt.NDArray[np.uint8] = images[0]
        return image

    def predict_noise(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """eps_theta(x_t, c, t) in fp32; class 10 is the null class."""
        prediction: Tensor = self._model(latents.to(self._dtype), timesteps, classes)
        return prediction.float()


def load_mini(name: str, revision: str, device: torch.device, dtype: torch.dtype) -> MiniBackbone:
    """Load the shipped weights of `name` ("mini_unet" or "mini_dit").

    Raises:
        UserError: the weights that ship are not those that `revision` names.

    """
    path = weights_path(name)
    check_revision(name, path, revision)
    return MiniBackbone(name, path, device, dtype)


def _check_architecture(
    name: str, weights: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    """Raise UserError unless `found` has the names and shapes of `wanted`."""
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    reshaped = [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
    wrong = [*missing, *unexpected, *reshaped]
    if wrong:
        raise UserError(
            f"backbone={name}: {weights} holds the weights of another architecture; "
            f"{len(missing)} are missing, {len(unexpected)} not wanted and {len(reshaped)} of "
            f"another shape, such as {wrong[0]}"
        )
