from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from bigain import build
from bigain.compose import compose_config
from bigain.config import DatasetConfig
from bigain.data.tiny import TINY, write_tiny
from bigain.operators import IEKVD, LGTM, AvgPool, ConstantAlpha, Identity, LinearAlpha, ToDo, ToMe

OPERATORS = [
    (["operator=none"], Identity()),
    (["operator=tome", "operator.ratio=0.3"], ToMe(0.3)),
    (["operator=tome", "operator.ratio=0.9", "operator.cell=[4,4]"], ToMe(0.9, cell=(4, 4))),
    (["operator=tome", "operator.ratio=0.3", "operator.random=false"], ToMe(0.3, random=False)),
    (["operator=lgtm", "operator.ratio=0.7"], LGTM(0.7)),
    (["operator=todo", "operator.factor=3"], ToDo(3)),
    (["operator=avg_pool", "operator.factor=4"], AvgPool(4)),
    (["operator=ie_kvd", "operator.alpha=0.5"], IEKVD(2, alpha=ConstantAlpha(0.5))),
    (
        ["operator=ie_kvd", "operator.align=window", "operator.alpha={start: 0.8, end: 1.2}"],
        IEKVD(2, alpha=LinearAlpha(start=0.8, end=1.2), align="window"),
    ),
]


@pytest.mark.parametrize(("overrides", "operator"), OPERATORS, ids=lambda x: str(x)[:40])
def test_settings_become_the_operator_they_name(overrides: list[str], operator: object) -> None:
    assert build.build_operator(compose_config(overrides).operator) == operator


def test_every_operator_of_the_configuration_can_be_built() -> None:
    covered = {overrides[0].partition("=")[2] for overrides, _ in OPERATORS}
    assert covered == {"none", "tome", "lgtm", "todo", "avg_pool", "ie_kvd"}
    assert len(build._OPERATORS) == len(covered)


def test_ie_kvd_takes_the_alpha_of_its_backbone() -> None:
    unet = compose_config(["backbone=mini_unet", "operator=ie_kvd"])
    dit = compose_config(["backbone=mini_dit", "operator=ie_kvd"])
    assert build.build_operator(unet.operator) == IEKVD(2, alpha=ConstantAlpha(0.9))
    assert build.build_operator(dit.operator) == IEKVD(2, alpha=ConstantAlpha(0.0))


def test_sites_come_from_the_backbone() -> None:
    config = compose_config(["backbone=mini_dit", "backbone.sites.blocks=[1,3]"])
    assert build.build_sites(config.backbone).blocks == (1, 3)
    assert build.build_sites(compose_config([]).backbone).levels == (0,)


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


def test_every_dataset_of_the_configuration_can_be_built() -> None:
    models = get_args(get_args(DatasetConfig)[0])
    names = {get_args(model.model_fields["name"].annotation)[0] for model in models}
    assert set(build._DATASETS) == names == {"fashion_mnist", *TINY}


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
        assert [use.index for use in report.sites] == [1, 3]  # type: ignore[attr-defined]
        assert report.operator == ToMe(0.5)  # type: ignore[attr-defined]
