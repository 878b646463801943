"""One image, the shipped mini U-Net, and what any operator plans there."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigain import build
from bigain.backbones.base import Backbone
from bigain.compose import compose_config
from bigain.figures.token_maps import TokenMap, token_maps
from bigain.operators import Acceleration
from bigain.site_selection import SiteSelection

Plan = Callable[..., tuple[TokenMap, ...]]


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    config = compose_config(["backbone=mini_unet"]).backbone
    return build.build_backbone(config, torch.device("cpu"), "float32")


@pytest.fixture(scope="session")
def image() -> npt.NDArray[np.uint8]:
    shipped = build.build_dataset(compose_config([]).dataset)[0].image
    return np.pad(shipped, 2)


@pytest.fixture(scope="session")
def latents(backbone: Backbone) -> torch.Tensor:
    return backbone.encode(build.build_dataset(compose_config([]).dataset)[0].image)


@pytest.fixture(scope="session")
def plan(backbone: Backbone, latents: torch.Tensor) -> Plan:
    def run(operator: Acceleration, sites: SiteSelection | None = None) -> tuple[TokenMap, ...]:
        return token_maps(operator, backbone, latents, label=0, timestep=325, sites=sites)

    return run
