"""Tiny published backbones, each with a tiny dataset."""

from collections.abc import Callable
from functools import cache

import pytest

from bigain.config.architectures import ARCHITECTURES
from bigain.testing.backbones import LAYOUTS, save_tiny_pipeline
from bigain.testing.datasets import write_tiny

DATASETS = {name: "imagenet100" if name == "dit_xl2_512" else "pets" for name in LAYOUTS}


@pytest.fixture(scope="session")
def named_backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """What a command line says of a backbone and its images; not to be changed by a test.

    One of a name in `DATASETS` has tiny weights, made at the first call.
    """
    folder = tmp_path_factory.mktemp("tiny")

    @cache
    def named(name: str) -> list[str]:
        if name not in DATASETS:
            return [f"backbone={name}"]
        dataset = DATASETS[name]
        save_tiny_pipeline(name, folder / name)
        if not (folder / dataset).exists():
            write_tiny(dataset, folder / dataset)
        own = [f"backbone={name}", f"backbone.path={folder / name}"]
        if ARCHITECTURES[name].is_flow:
            own.append("backbone.image_side=64")
        return [*own, f"dataset={dataset}", f"dataset.root={folder / dataset}"]

    return named
