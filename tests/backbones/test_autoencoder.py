from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from bigain.backbones import autoencoder
from bigain.backbones.autoencoder import Autoencoder
from bigain.backbones.cache import TensorCache
from bigain.errors import UserError

CPU = torch.device("cpu")


def make(folder: Path, cache: TensorCache, vae_hash: str = "0") -> Autoencoder:
    return Autoencoder(
        folder,
        sample_size=8,
        variant=None,
        hashes={"vae/x": vae_hash},
        device=CPU,
        cache=cache,
    )


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def plain(folder: Path, image: npt.NDArray[np.uint8]) -> Tensor:
    """The protocol step by step, with diffusers' VAE."""
    vae: Any = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae")
    opened = Image.fromarray(image)
    scale = 16 / min(opened.size)
    opened = opened.resize(
        (int(opened.width * scale), int(opened.height * scale)), Image.Resampling.BICUBIC
    )
    left, top = round((opened.width - 16) / 2), round((opened.height - 16) / 2)
    square = np.array(opened.crop((left, top, left + 16, top + 16)))
    pixels = torch.from_numpy(square).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        mean: Tensor = vae.encode(pixels).latent_dist.mode()
    return mean * 0.18215


@pytest.mark.parametrize("size", [(16, 16), (40, 30), (20, 64), (9, 9)])
def test_latents_are_the_scaled_mean_of_the_central_square(
    pipelines: dict[str, Path], size: tuple[int, int]
) -> None:
    vae = make(pipelines["sd20"], TensorCache(None, 0))
    latents = vae.encode(picture(*size))
    assert vae.side == 16
    assert latents.shape == (1, 4, 8, 8)
    assert latents.dtype == torch.float32
    assert torch.allclose(latents, plain(pipelines["sd20"], picture(*size)), atol=1e-6)


def test_grey_images_are_taken_as_grey_in_colour(pipelines: dict[str, Path]) -> None:
    encode = make(pipelines["sd20"], TensorCache(None, 0)).encode
    grey = picture(16, 16)[:, :, 0]
    assert torch.equal(encode(grey), encode(np.stack([grey] * 3, axis=-1)))


def test_a_kept_latent_is_the_computed_one_and_the_vae_is_not_asked_again(
    tmp_path: Path, pipelines: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(pipelines["sd20"], TensorCache(tmp_path, 1))
    latents = first.encode(picture(16, 16))
    second = make(pipelines["sd20"], TensorCache(tmp_path, 1))
    monkeypatch.setattr(second, "_encode", None)
    assert torch.equal(second.encode(picture(16, 16)), latents)


def test_anything_that_changes_latents_changes_their_name(
    tmp_path: Path, pipelines: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = TensorCache(tmp_path, 1)
    make(pipelines["sd20"], cache).encode(picture(16, 16))
    make(pipelines["sd20"], cache).encode(picture(16, 16, seed=1))
    make(pipelines["sd20"], cache, vae_hash="1").encode(picture(16, 16))
    monkeypatch.setattr(autoencoder, "PREPROCESSING", "version 2")
    make(pipelines["sd20"], cache).encode(picture(16, 16))
    assert (cache.hits, cache.misses) == (0, 4)


def test_images_that_look_the_same_to_the_model_share_their_latents(
    tmp_path: Path, pipelines: dict[str, Path]
) -> None:
    """Whatever lies outside of the central square is not seen."""
    cache = TensorCache(tmp_path, 1)
    encode = make(pipelines["sd20"], cache).encode
    image = picture(16, 20)
    other = image.copy()
    other[:, [0, 1, -1]] = 0
    assert torch.equal(encode(image), encode(other))
    assert (cache.hits, cache.misses) == (1, 1)


def test_an_image_is_what_the_vae_of_diffusers_decodes(pipelines: dict[str, Path]) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    decoded = make(pipelines["sd20"], TensorCache(None, 0)).decode(latents)
    vae: Any = diffusers.AutoencoderKL.from_pretrained(pipelines["sd20"], subfolder="vae")
    with torch.no_grad():
        pixels = vae.decode(latents / 0.18215).sample
    expected = diffusers.image_processor.VaeImageProcessor().postprocess(pixels, "np")[0] * 255
    assert decoded.shape == (16, 16, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded - expected).max() <= 0.51


def test_an_image_that_is_not_finite_is_refused(pipelines: dict[str, Path]) -> None:
    latents = torch.full((1, 4, 8, 8), torch.nan)
    with pytest.raises(UserError, match="not finite"):
        make(pipelines["sd20"], TensorCache(None, 0)).decode(latents)
