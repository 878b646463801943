from typing import Any

import pytest

from bigain.launch.compose import compose_config
from bigain.launch.task_defaults import shared_operator
from bigain.runs.identity import resolved


def shared(*overrides: str) -> dict[str, Any]:
    return shared_operator(resolved(compose_config(overrides)))


@pytest.mark.parametrize("model", [["backbone=mini_unet"], ["backbone=sd20", "dataset=pets"]])
def test_defaults_of_all_tasks_are_one_operator(model: list[str]) -> None:
    tasks = ("classification", "generation", "efficiency")
    first, *others = (shared(*model, f"task={task}", "operator=ie_kvd") for task in tasks)
    assert first["alpha"] == "0.9 | 0.8->1.2"
    assert others == [first] * 2


def test_the_other_settings_stay_what_they_are() -> None:
    found = shared("backbone=mini_unet", "operator=ie_kvd", "operator.factor=3")
    assert (found["factor"], found["alpha"]) == (3, "0.9 | 0.8->1.2")


@pytest.mark.parametrize(
    "overrides",
    [
        ["operator=ie_kvd", "backbone=mini_unet", "operator.alpha=0.5"],
        ["operator=ie_kvd", "backbone=mini_unet", "task=generation", "operator.alpha=0.9"],
        ["operator=ie_kvd", "backbone=mini_dit", "task=generation"],
        ["operator=lgtm", "operator.ratio=0.7"],
        ["operator=none"],
    ],
)
def test_what_is_no_default_of_its_task_or_the_same_in_all_stays(overrides: list[str]) -> None:
    config = resolved(compose_config(overrides))
    assert shared_operator(config) == config["operator"]


@pytest.mark.parametrize("group", ["backbone", "operator"])
def test_of_what_cannot_be_composed_nothing_is_known(group: str) -> None:
    config = resolved(compose_config(["backbone=mini_unet", "operator=ie_kvd"]))
    config[group]["name"] = "of_the_future"
    assert shared_operator(config) == config["operator"]
