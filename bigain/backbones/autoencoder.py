"""Images to latents, x_0 = scaling factor x (mean of the VAE's posterior - shift), and back.

The shift is 0 in Stable Diffusion 1, 2 and XL.

The image is resized so that its shorter side is what the model was made for (bicubic), its centre
square is cut out, and bytes 0..255 become -1..1.  The VAE always computes in full precision: it
runs once per image, its result is cached on disk, and SDXL's VAE overflows in half precision.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bigain.backbones.cache import TensorCache
from bigain.backbones.loading import load_component
from bigain.data.images import centre_crop_resize
from bigain.errors import UserError

__all__ = ["PREPROCESSING", "Autoencoder"]

PREPROCESSING = "bicubic shorter side, centre crop, to -1..1; posterior mean; float32; version 1"
"""Part of the key of cached latents: change it whenever the computation changes."""


class Autoencoder:
    """The VAE of a pipeline, between images and clean latents.

    Args:
        folder: The pipeline.
        sample_size: Side of the latents that the denoiser was made for.
        variant: None or "fp16".
        hashes: sha256 of the weight files of the VAE.
        device: Where it computes.
        cache: Stores the latents.

    """

    def __init__(
        self,
        folder: Path,
        *,
        sample_size: int,
        variant: str | None,
        hashes: Mapping[str, str],
        device: torch.device,
        cache: TensorCache,
    ) -> None:
        vae: Any = load_component(
            diffusers.AutoencoderKL, folder, "vae", variant=variant, dtype=torch.float32
        )
        self._vae = vae.to(device)
        self._device = device
        self._cache = cache
        self._shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
        self._made_by = {
            "vae": dict(hashes),
            "scaling_factor": float(vae.config.scaling_factor),
            "preprocessing": PREPROCESSING,
            **({"shift_factor": self._shift} if self._shift else {}),
        }
        self.side = sample_size * 2 ** (len(vae.config.block_out_channels) - 1)

    def encode(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """Latents (1, 4, h, w), fp32, on the CPU, of an image (H, W) or (H, W, 3) of any size."""
        square = centre_crop_resize(image, self.side)
        key = {"image": hashlib.sha256(square.tobytes()).hexdigest(), "side": self.side}
        kept = self._cache.get({**key, **self._made_by}, lambda: {"latents": self._encode(square)})
        return kept["latents"]

    @torch.inference_mode()
    def _encode(self, square: npt.NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 127.5 - 1
        posterior = self._vae.encode(pixels.to(self._device)).latent_dist
        latents: Tensor = (posterior.mean - self._shift) * self._vae.config.scaling_factor
        return latents.float().cpu()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """Bytes (side, side, 3) of latents (1, 4, h, w); in full precision, like `encode`.

        Raises:
            UserError: the image is not finite.

        """
        scaled = latents.to(self._device).float() / self._vae.config.scaling_factor + self._shift
        pixels: Tensor = self._vae.decode(scaled, return_dict=False)[0][0].float().cpu()
        if not pixels.isfinite().all():
            raise UserError("the autoencoder gave an image that is not finite")
        scaled_up = (pixels.permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255
        decoded: npt.NDArray[np.uint8] = scaled_up.round().to(torch.uint8).numpy()
        return decoded
