import inspect

import pytest
import torch

from bigain.backbones.base import Backbone
from bigain.engine import build
from bigain.launch.compose import compose_config

NAMES = ["mini_unet", "mini_dit"]


@pytest.mark.parametrize("name", NAMES)
def test_every_backbone_offers_the_whole_protocol(name: str) -> None:
    config = compose_config([f"backbone={name}"])
    backbone = build.build_backbone(config.backbone, torch.device("cpu"), "float32")
    for attribute in Backbone.__annotations__:
        assert hasattr(backbone, attribute), attribute
    for method in ("encode", "predict_noise"):
        expected = list(inspect.signature(getattr(Backbone, method)).parameters)[1:]
        assert list(inspect.signature(getattr(backbone, method)).parameters) == expected
    assert isinstance(backbone.denoiser, torch.nn.Module)
    assert not backbone.denoiser.training
    assert all(not p.requires_grad for p in backbone.denoiser.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_encoding_is_deterministic_and_predictions_have_its_shape(name: str) -> None:
    config = compose_config([f"backbone={name}"])
    backbone = build.build_backbone(config.backbone, torch.device("cpu"), "float32")
    image = build.build_dataset(config.dataset)[0].image
    latents = backbone.encode(image)
    assert torch.equal(latents, backbone.encode(image))
    with torch.inference_mode():
        noise = backbone.predict_noise(latents, torch.tensor([500]), torch.tensor([0]))
    assert noise.shape == latents.shape
    assert noise.dtype == torch.float32
