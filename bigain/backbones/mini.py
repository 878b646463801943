"""The two shipped backbones, `mini_unet` and `mini_dit`, trained on Fashion-MNIST.

Both are thin wrappers of diffusers' own models.  They predict the noise of an image of 1 x 32 x 32
given a class 0..9 (10 = no class), and both have 16 x 16 = 256 tokens at their highest resolution:

* mini U-Net: `UNet2DConditionModel` on latents of 4 x 16 x 16, a lossless pixel-unshuffle of the
  image.  The condition is a sequence of learned tokens for cross-attention, in place of a text
  encoder's.
* mini DiT: `DiTTransformer2DModel` on the image itself with patches of 2 x 2.  The condition is
  the class index, through adaLN-zero.

The weights are in the package, as half-precision safetensors beside a model card each.  The first
twelve digits of a weight file's sha256 are its revision.  The configuration names the revision, so
results of retrained weights cannot be mistaken for results of these.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DiTTransformer2DModel, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from bigain.backbones.base import Classes, PredictsNoise
from bigain.backbones.noise_schedules import variance_preserving
from bigain.backbones.weight_files import check_revision, weights_path
from bigain.config.architectures import ARCHITECTURES
from bigain.data.images import centre_crop_resize
from bigain.errors import UserError
from bigain.files import file_sha256

__all__ = [
    "LATENT_SHAPES",
    "MEAN",
    "NULL_CLASS",
    "NUM_CLASSES",
    "STD",
    "MiniBackbone",
    "MiniDiT",
    "MiniUNet",
    "build_mini",
    "crop_and_quantise",
    "garment",
    "load_mini",
    "pad_and_standardise",
]


NUM_CLASSES = 10
NULL_CLASS = 10
LATENT_SHAPES = {"mini_unet": (4, 16, 16), "mini_dit": (1, 32, 32)}
"""(C, H, W) of the latents of one image."""
_CONTEXT_TOKENS = 4
_CONTEXT_DIM = int(ARCHITECTURES["mini_unet"].settings["cross_attention_dim"])


class MiniUNet(nn.Module):
    """`UNet2DConditionModel` with a table of class contexts (11, 4, 48) as its text encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = _unet()
        self.context = nn.Parameter(torch.randn(NUM_CLASSES + 1, _CONTEXT_TOKENS, _CONTEXT_DIM))
        self.scheduler = _scheduler("scaled_linear", 0.00085, 0.012)

    def encode(self, images: Tensor) -> Tensor:
        """(B, 1, 32, 32) -> (B, 4, 16, 16), lossless."""
        return F.pixel_unshuffle(images, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 4, 16, 16) -> (B, 1, 32, 32)."""
        return F.pixel_shuffle(latents, 2)

    def forward(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Predicted noise, shape of `latents`; `timesteps` and `labels` are (B,)."""
        context = self.context[labels]
        output = self.denoiser(latents, timesteps, encoder_hidden_states=context, return_dict=False)
        prediction: Tensor = output[0]
        return prediction


class MiniDiT(nn.Module):
    """`DiTTransformer2DModel` whose class embeddings start at unit scale.

    In training, diffusers drops the class in every block independently.  Classifier-free guidance
    needs one decision per sample, so the dropout of the blocks is off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = _dit()
        for block in self.denoiser.transformer_blocks:
            embedder = block.norm1.emb.class_embedder
            embedder.dropout_prob = 0.0
            nn.init.normal_(embedder.embedding_table.weight, std=1.0)
            nn.init.zeros_(block.norm1.linear.weight)
            nn.init.zeros_(block.norm1.linear.bias)
        nn.init.zeros_(self.denoiser.proj_out_2.weight)
        nn.init.zeros_(self.denoiser.proj_out_2.bias)
        self.scheduler = _scheduler("linear", 1e-4, 0.02)

    def encode(self, images: Tensor) -> Tensor:
        """The image is its own latent."""
        return images

    def decode(self, latents: Tensor) -> Tensor:
        """The latent is the image."""
        return latents

    def forward(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Predicted noise, shape of `latents`; `timesteps` and `labels` are (B,)."""
        output = self.denoiser(latents, timestep=timesteps, class_labels=labels, return_dict=False)
        prediction: Tensor = output[0]
        return prediction


def build_mini(name: str) -> MiniUNet | MiniDiT:
    """The untrained `mini_unet` or `mini_dit`, initialised from torch's global generator."""
    builders: dict[str, type[MiniUNet] | type[MiniDiT]] = {
        "mini_unet": MiniUNet,
        "mini_dit": MiniDiT,
    }
    return builders[name]()


# diffusers' classes carry no types of their own: beyond this point they are Any.
def _unet() -> Any:
    return UNet2DConditionModel(**ARCHITECTURES["mini_unet"].settings)


def _dit() -> Any:
    return DiTTransformer2DModel(**ARCHITECTURES["mini_dit"].settings)


def _scheduler(betas: str, start: float, end: float) -> Any:
    return DDIMScheduler(beta_schedule=betas, beta_start=start, beta_end=end, clip_sample=False)


_PIXELS = 28
MEAN = 0.2190
STD = 0.3318


def pad_and_standardise(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(n, 28, 28) bytes -> (n, 1, 32, 32) floats of about zero mean and unit variance.

    Two black pixels are added on each side; mean and standard deviation are those of the padded
    training split of Fashion-MNIST.
    """
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    scaled = padded[:, None].astype(np.float32) / 255.0
    return ((scaled - MEAN) / STD).astype(np.float32)


def garment(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An image as Fashion-MNIST has them: its centre square as 28 x 28 bytes of grey.

    Grey images of 28 x 28 stay as they are, and so do the levels of RGB images without colour.

    Args:
        image: Bytes of shape (height, width) or (height, width, 3).

    """
    if image.shape == (_PIXELS, _PIXELS):
        return image
    small = centre_crop_resize(image, _PIXELS)
    return np.asarray(Image.fromarray(small).convert("L"))


def crop_and_quantise(images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(n, 1, 32, 32) standardised floats -> (n, 28, 28) bytes; undoes `pad_and_standardise`.

    The border is cut off; values beyond black and white are clipped.
    """
    bytes_ = np.rint((images[:, 0, 2:-2, 2:-2].astype(np.float64) * STD + MEAN) * 255.0)
    return np.clip(bytes_, 0, 255).astype(np.uint8)


class MiniBackbone(PredictsNoise):
    """A trained mini denoiser behind the `Backbone` protocol."""

    num_classes = NUM_CLASSES
    null_class = NULL_CLASS

    def __init__(self, name: str, weights: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.hashes = {f"{name}/{weights.name}": file_sha256(weights)}
        self.source: dict[str, Any] = {"place": "package"}
        # Four tokens that the model embeds the class in; their projections cost next to nothing.
        self.encoder_hidden_states: Tensor | None = None
        self.latent_shape = LATENT_SHAPES[name]
        model = build_mini(name)
        state = load_file(weights)
        _check_architecture(name, weights, state, model.state_dict())
        model.load_state_dict(state)
        self._model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self._dtype = dtype
        self.denoiser = self._model.denoiser
        betas = self._model.scheduler.betas.double()
        self.schedule = variance_preserving(torch.cumprod(1.0 - betas, dim=0))

    def condition_on(self, classes: Classes) -> None:
        """Nothing to do: the ten classes were learned with the weights."""

    def encode(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """An image -> latents, (1, 4, 16, 16) for the U-Net, (1, 1, 32, 32) for the DiT.

        Of any size, grey or RGB; see `garment`.
        """
        return self._model.encode(torch.from_numpy(pad_and_standardise(garment(image)[None])))

    def decode(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """Latents of one image -> (28, 28) bytes; exact inverse of `encode`."""
        images = crop_and_quantise(self._model.decode(latents.float().cpu()).numpy())
        image: npt.NDArray[np.uint8] = images[0]
        return image

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """eps_theta(x_t, c, t) in fp32; class 10 is the null class."""
        prediction: Tensor = self._model(latents.to(self._dtype), timesteps, classes)
        return prediction.float()


def load_mini(name: str, revision: str, device: torch.device, dtype: torch.dtype) -> MiniBackbone:
    """Load the shipped weights of `name` ("mini_unet" or "mini_dit").

    Raises:
        UserError: the shipped weights are missing or of another revision.

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
