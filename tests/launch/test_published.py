from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.launch.compose import compose_config
from bigain.launch.published import published_config, whole_config
from bigain.runs.identity import describing_columns, resolved, run_id
from bigain.runs.manifests import portable

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize(
    ("overrides", "sizes"),
    [
        (["backbone=mini_unet", "dataset.limit=40"], [40]),
        (["operator=tome", "operator.ratio=0.7", "dataset.limit=1000"], [1000]),
        (["operator=lgtm", "operator.ratio=0.3", "dataset.limit=7", "seed=3"], [9, 7]),
        (["operator=ie_kvd", "operator.factor=3", "dataset.limit=null"], []),
        (["task=generation", "dataset.limit=50"], [1000, 50]),
        (["task=generation", "operator=ie_kvd", "backbone=mini_unet"], [1000]),
        (["task=efficiency", "task.measure=flops", "operator=todo"], [1]),
        (["profile=paper", "backbone=sd20", "dataset=pets"], [3669]),
    ],
)
def test_a_run_of_defaults_is_known_by_its_name(overrides: list[str], sizes: list[int]) -> None:
    config = compose_config(overrides)
    found = published_config(describing_columns(config), sizes)
    assert found is not None
    assert run_id(found) == run_id(config)
    assert found["task"] == resolved(config)["task"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["task.trial_list=[1,2]", "task.keep_list=[2,1]"],
        ["task=generation", "task.guidance_scale=3"],
        ["operator=tome", "operator.ratio=0.7", "operator.random=false"],
        ["dataset.limit=8"],
    ],
)
def test_a_run_of_other_settings_is_not_taken_for_one(overrides: list[str]) -> None:
    assert published_config(describing_columns(compose_config(overrides)), [7]) is None


def test_what_cannot_be_composed_is_not_recognised() -> None:
    columns: dict[str, Any] = describing_columns(compose_config())
    assert published_config({**columns, "backbone": "of_the_future"}, [7]) is None


@pytest.mark.parametrize("model", [["backbone=mini_unet"], ["backbone=sd20", "dataset=pets"]])
def test_a_published_manifest_becomes_a_configuration_again(model: list[str]) -> None:
    groups = [*model, "task=generation", "operator=ie_kvd", "operator.factor=3"]
    config = compose_config([*groups, "task.steps=7", "dataset.limit=9"])
    published = portable({"config": resolved(config)})["config"]
    assert "paths" not in published
    assert RunConfig.model_validate(whole_config(published)) == config
