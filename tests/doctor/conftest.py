"""Composed runs, and tiny pipelines and datasets to be examined; nothing is loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.config import RunConfig
from bigain.launch.compose import compose_config
from bigain.testing.backbones import save_tiny_pipeline

Compose = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def tiny_sd20(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny sd20; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("pipelines") / "sd20"
    save_tiny_pipeline("sd20", folder)
    return folder


@pytest.fixture
def compose() -> Compose:
    """The run of a command line."""

    def composed(*overrides: str) -> RunConfig:
        return compose_config(overrides)

    return composed


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and the hub's cache is an empty folder of the test."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache
