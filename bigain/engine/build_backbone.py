"""Which class a published backbone has.

Each is imported when it is needed, because that takes a second.
"""

from collections.abc import Callable

from bigain.backbones.base import Backbone
from bigain.config import HubBackboneConfig
from bigain.config.architectures import Model
from bigain.config.base import import_target

__all__ = ["published_class"]

_CLASSES: dict[Model, str] = {
    "UNet2DConditionModel": "bigain.backbones.stable_diffusion.StableDiffusion",
    "DiTTransformer2DModel": "bigain.backbones.dit.ClassConditionalDiT",
    "SD3Transformer2DModel": "bigain.backbones.flow.StableDiffusion3",
    "FluxTransformer2DModel": "bigain.backbones.flow.Flux",
}


def published_class(config: HubBackboneConfig) -> Callable[..., Backbone]:
    """The class of a published backbone, by its denoiser.

    It takes the configuration, the device, the precision and the caches.
    """
    found: Callable[..., Backbone] = import_target(_CLASSES[config.architecture.model])
    return found
