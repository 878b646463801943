"""Tiny pipelines in the hub's layout, made once per session, and settings that point to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from bigain.backbones.cache import TensorCache
from bigain.backbones.pipeline import Caches
from bigain.config import BackboneConfig, HubBackboneConfig
from bigain.locations import CONFIGS
from bigain.testing.backbones import LAYOUTS, save_tiny_pipeline

MakeConfig = Callable[..., HubBackboneConfig]


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Backbone name -> folder of its tiny pipeline; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("pipelines")
    for name in LAYOUTS:
        save_tiny_pipeline(name, folder / name)
    return {name: folder / name for name in LAYOUTS}


@pytest.fixture
def hub_config(pipelines: dict[str, Path]) -> MakeConfig:
    """The settings of configs/backbone/<name>.yaml with the tiny pipeline as its path."""

    def make(name: str, **changes: Any) -> HubBackboneConfig:
        plain: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / "backbone" / f"{name}.yaml"))
        settings = {**plain, "path": pipelines[name], **changes}
        config: HubBackboneConfig = TypeAdapter[Any](BackboneConfig).validate_python(settings)
        return config

    return make


@pytest.fixture
def caches() -> Caches:
    """Nothing is kept."""
    return Caches(TensorCache(None, 0), TensorCache(None, 0))
