from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from bigain.config import DatasetConfig
from bigain.engine import build
from bigain.launch.compose import compose_config
from bigain.operators import ToMe
from bigain.testing.datasets import TINY, write_tiny


def test_sites_come_from_the_backbone() -> None:
    config = compose_config(["backbone=mini_dit", "backbone.sites.blocks=[1,3]"])
    assert build.build_sites(config).blocks == (1, 3)
    assert build.build_sites(compose_config([])).levels == (0,)


@pytest.mark.parametrize(
    ("operator", "scope"), [("none", "self"), ("lgtm", "self+mlp"), ("todo", "self")]
)
def test_the_scope_comes_from_the_operator(operator: str, scope: str) -> None:
    given = [f"operator.scope={scope}"] if operator == "lgtm" else []
    assert build.build_sites(compose_config([f"operator={operator}", *given])).scope == scope


def test_dataset_and_classifier_follow_the_configuration() -> None:
    config = compose_config(["dataset.limit=7"])
    assert len(build.build_dataset(config.dataset)) == 7
    backbone = build.build_backbone(config.backbone, torch.device("cpu"), "float32")
    classifier = build.build_classifier(config, backbone, torch.device("cpu"))
    result = classifier.classify(0, backbone.encode(build.build_dataset(config.dataset)[0].image))
    assert result.errors.shape == (20, 10)


@pytest.mark.parametrize("name", TINY)
def test_every_dataset_is_built_with_its_limit_and_classes(name: str, tmp_path: Path) -> None:
    write_tiny(name, tmp_path)
    settings = {"name": name, "limit": 7, "root": str(tmp_path)}
    config = TypeAdapter[Any](DatasetConfig).validate_python(settings)
    dataset = build.build_dataset(config)
    assert len(dataset) == 7
    assert len(dataset.class_names) == len(dataset.prompts) == config.num_classes
    assert (dataset.condition_ids is not None) == config.imagenet_classes


def hooks(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


def test_without_an_operator_the_model_is_not_touched(tiny_dit: nn.Module) -> None:
    before = hooks(tiny_dit)
    with build.build_acceleration(compose_config(["operator=none"]), tiny_dit):
        assert hooks(tiny_dit) == before
    with build.build_acceleration(compose_config(["operator=todo"]), tiny_dit):
        assert hooks(tiny_dit) > before
    assert hooks(tiny_dit) == before


def test_the_operator_acts_at_the_configured_sites_with_the_configured_seed(
    tiny_dit: nn.Module,
) -> None:
    config = compose_config(["operator=tome", "backbone.sites.blocks=[1,3]", "seed=5"])
    with build.build_acceleration(config, tiny_dit) as report:
        assert [use.site.index for use in report.sites] == [1, 3]  # type: ignore[attr-defined]
        assert report.operator == ToMe(0.5)  # type: ignore[attr-defined]
