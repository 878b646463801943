"""What a calibration measures on a mini, with nothing of the calibration's own code.

Of the package: the backbone, the dataset, and noise by key.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bigain.backbones.base import Backbone
from bigain.backbones.mini import load_mini
from bigain.cli.calibrate import main
from bigain.data.whole import load_whole
from bigain.launch.compose import compose_config
from bigain.tasks.batches import keyed_noise

SEED = 3
"""Of the operators that are calibrated here; their default is 0."""


@dataclass(frozen=True)
class Picture:
    """A calibration image and its clean latents."""

    image_id: int
    label: int
    latents: Tensor


def calibrated(folder: Path, *overrides: str, suffix: str) -> Path:
    """Run the verb; the file that it adds."""
    place = folder / "results" / "calibrations"
    before = set(place.glob("*"))
    paths = [f"paths.results={folder / 'results'}", f"paths.cache={folder / 'cache'}"]
    # Batches of two: three images, or four timesteps, are more than one.
    assert main([*overrides, f"operator.seed={SEED}", "batch_size=2", *paths]) == 0
    (path,) = set(place.glob("*")) - before
    assert path.suffix == suffix
    return path


def backbone_of(name: str) -> Backbone:
    revision = compose_config([f"backbone={name}"]).backbone.revision
    return load_mini(name, revision, torch.device("cpu"), torch.float32)


def last_pictures(backbone: Backbone, count: int) -> list[Picture]:
    """The last images of the dataset's order, of several classes."""
    images = load_whole(compose_config(["backbone=mini_dit"]).dataset)
    found = []
    for place in range(len(images) - count, len(images)):
        sample = images[place]
        assert sample.label
        found.append(Picture(sample.image_id, sample.label, backbone.encode(sample.image)))
    assert len({picture.label for picture in found}) == count
    return found


def noised(backbone: Backbone, picture: Picture, timestep: int) -> tuple[Tensor, Tensor]:
    """x_t and eps, each (1, C, H, W)."""
    key = "classification", picture.image_id, timestep
    noise = keyed_noise(SEED, *key, shape=tuple(picture.latents.shape))
    abar = float(backbone.schedule.alphas_cumprod[timestep])
    return abar**0.5 * picture.latents + (1 - abar) ** 0.5 * noise, noise


def drawn(*key: str | int) -> int:
    """A large number, a function of the seed and `key`."""
    digest = hashlib.sha256(repr((SEED, *key)).encode()).digest()
    return int.from_bytes(digest[:8], "little")


@torch.inference_mode()
def counted(backbone: Backbone) -> tuple[int, Mapping[str, int]]:
    """FLOPs of one evaluation, and those of each module of the denoiser in it."""
    shape = backbone.latent_shape
    # Soft-max attention as two matrix products, which torch counts on every kind of device.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.predict_noise(torch.zeros(1, *shape), torch.tensor([0]), torch.tensor([0]))
    each = {
        name.partition(".denoiser.")[2]: int(sum(own.values()))
        for name, own in counter.get_flop_counts().items()
    }
    return int(counter.get_total_flops()), each
