"""What the published backbones have in common: a pipeline folder, its VAE and its schedule."""

import logging
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bigain.backbones.autoencoder import Autoencoder
from bigain.backbones.base import PredictsNoise
from bigain.backbones.cache import TensorCache
from bigain.backbones.loading import load_component, read_settings
from bigain.backbones.noise_schedules import NoiseSchedule
from bigain.backbones.schedules import read_schedule
from bigain.backbones.sources import Source, file_hashes, find_source, fingerprint
from bigain.backbones.weight_files import components_of
from bigain.config import HubBackboneConfig
from bigain.config.architectures import ARCHITECTURES
from bigain.devices import set_attention
from bigain.errors import UserError

__all__ = ["Caches", "Pipeline"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caches:
    """Where a backbone keeps what it computes once: latents of images, embeddings of prompts."""

    latents: TensorCache
    prompts: TensorCache


class Pipeline(PredictsNoise):
    """The denoiser of a published model with its VAE and schedule; the base of its backbone.

    Args:
        config: Which model, from where.
        device: Where it computes.
        dtype: Precision of the denoiser.
        caches: For latents and prompts.

    Raises:
        UserError: there are no weights, or not those that the configuration names.

    """

    def __init__(
        self,
        config: HubBackboneConfig,
        device: torch.device,
        dtype: torch.dtype,
        caches: Caches,
    ) -> None:
        self._config = config
        source = find_source(config)
        self._folder, self._variant = source.folder, config.variant
        self._device, self._dtype = device, dtype
        self._caches = caches
        components = components_of(config.name)
        self.hashes = file_hashes(source.folder, components, config.variant)
        self.source = _describe(config, source, fingerprint(self.hashes))
        self.num_classes = 0
        self.encoder_hidden_states: Tensor | None = None
        part = components[0].folder
        _check_settings(config, source, part, self.source)
        self.schedule: NoiseSchedule = self._read_schedule()
        model = getattr(diffusers, ARCHITECTURES[config.name].model)
        loaded = load_component(model, source.folder, part, variant=config.variant, dtype=dtype)
        self.denoiser: nn.Module = loaded.to(device)
        self.latent_shape = self._shape_of_latents(loaded.config)
        set_attention(self.denoiser, config.attention)
        self._autoencoder = Autoencoder(
            source.folder,
            sample_size=self.latent_shape[1],
            variant=config.variant,
            hashes={name: h for name, h in self.hashes.items() if name.startswith("vae/")},
            device=device,
            cache=caches.latents,
        )

    def _read_schedule(self) -> NoiseSchedule:
        """That of the pipeline's scheduler; raises UserError if it is not the backbone's kind."""
        file = self._folder / "scheduler" / "scheduler_config.json"
        return read_schedule(read_settings(file), self._config.name, str(file))

    def _shape_of_latents(self, settings: Any) -> tuple[int, int, int]:
        """(C, H, W) that the denoiser was made for, by its `config.json`."""
        side = int(settings.sample_size)
        return int(settings.in_channels), side, side

    def encode(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """Latents (1, 4, h, w), fp32, on the CPU, of an image (H, W) or (H, W, 3) of any size."""
        return self._autoencoder.encode(image)

    def decode(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """Bytes (side, side, 3) of latents (1, 4, h, w)."""
        return self._autoencoder.decode(latents)

    @property
    def null_class(self) -> int:
        """Number of the empty condition: the empty prompt, or the model's null class."""
        return self.num_classes


def _describe(config: HubBackboneConfig, source: Source, found: str) -> dict[str, Any]:
    """Where the weights came from; raises if their fingerprint is not the configured one."""
    if config.fingerprint is not None and config.fingerprint != found:
        place = source.repository or source.folder
        raise UserError(
            f"backbone.fingerprint={config.fingerprint}: the weights of {place} have {found}; "
            f"set backbone.fingerprint={found} if you mean them"
        )
    return {**source.describe(), "variant": config.variant, "fingerprint": found}


def _check_settings(
    config: HubBackboneConfig, source: Source, part: str, described: dict[str, Any]
) -> None:
    """Refuse the denoiser of another backbone; warn if its settings are not the published ones."""
    settings = read_settings(source.folder / part / "config.json")
    differ = _differences(config.name, settings)
    for name, architecture in ARCHITECTURES.items():
        same_kind = architecture.model == ARCHITECTURES[config.name].model
        if differ and same_kind and not _differences(name, settings):
            raise UserError(
                f"backbone={config.name}: {source.folder / part} holds the denoiser of "
                f"backbone={name}; allowed: backbone={name}, or another folder"
            )
    described["differs_from_published"] = differ
    if differ:
        shown = ", ".join(f"{key}={value}" for key, value in differ.items())
        _LOG.warning("backbone=%s: is not as published, it has %s", config.name, shown)


def _differences(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that differ from those of the published denoiser, with the values found."""
    published = ARCHITECTURES[name].settings
    found = {key: settings[key] for key in published if key in settings}
    return {key: value for key, value in found.items() if _plain(value) != _plain(published[key])}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
