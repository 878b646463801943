"""Settings of `task.allocation=racing`, and what the staged protocol keeps of them: nothing."""

from typing import Any

import pytest

from bigain.config import ClassificationConfig, RunConfig
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id

RACING = "task.allocation=racing"


def complaint(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        compose_config([RACING, *overrides])
    return str(caught.value)


def test_the_staged_protocol_has_nothing_of_a_race() -> None:
    plain = compose_config().model_dump(mode="json")
    assert list(plain["task"]) == ["name", "trial_list", "keep_list", "loss"]
    assert run_id(compose_config()) == run_id(compose_config(["task.race.z=3"]))
    assert RunConfig.model_validate(plain).model_dump(mode="json") == plain


def test_a_race_survives_json_with_an_infinite_threshold_too() -> None:
    config = compose_config([RACING, "task.race.z=inf"])
    again = RunConfig.model_validate_json(config.model_dump_json())
    assert again.task_as(ClassificationConfig).of_race.threshold == float("inf")
    assert run_id(again) == run_id(config)


def test_the_defaults_of_a_race() -> None:
    race = compose_config([RACING]).task_as(ClassificationConfig).of_race
    assert (race.threshold, race.minimum, race.looks, race.audit) == (2.54, 2, None, 0.02)


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("task.race.z=3", False),
        ("task.race.audit=0.1", False),
        ("task.trial_list=[5,10]", False),
        ("task.trial_list=[10,20]", True),
        ("task.keep_list=[4,1]", True),
        ("batch_size=7", True),
    ],
)
def test_the_name_of_a_race_has_what_changes_it(override: str, same: bool) -> None:
    plain, other = compose_config([RACING]), compose_config([RACING, override])
    assert (run_id(plain) == run_id(other)) is same


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("task.race.z=0", "task.race.z=0: allowed: a number > 0, or inf"),
        ("task.race.minimum=0", "task.race.minimum=0: allowed: an integer from 1"),
        ("task.race.minimum=21", "task.race.minimum=21: allowed: 1 to 20"),
        ("task.race.looks=[2,2]", "task.race.looks=[2, 2]: allowed: null or increasing"),
        ("task.race.looks=[1,5]", "task.race.looks=[1, 5]: allowed: null or increasing"),
        ("task.race.looks=[2,20]", "task.race.looks=[2, 20]: allowed: null or increasing"),
        ("task.race.looks=[]", "task.race.looks=[]: allowed: null or increasing"),
        ("task.race.audit=2", "task.race.audit=2: allowed: a number from 0 to 1"),
        ("task.race.images=9", "task.race.images=9: allowed: an integer >= 10"),
        ("task.race.classes=1", "task.race.classes=1: allowed: an integer >= 2"),
        ("task.race.calibration=abc", "task.race.calibration=abc: allowed: null"),
        ("task.race.y=1", "task.race.y=1: no such key; allowed: task.race.z"),
        ("task.allocation=fast", "task.allocation=fast: allowed: staged or racing"),
        ("task.race=null", "task.race=None: allowed: its settings"),
    ],
)
def test_a_mistake_is_one_line(override: str, line: str) -> None:
    message = complaint(override)
    assert message.startswith(line)
    assert "\n" not in message


def test_the_stages_before_the_last_name_no_race() -> None:
    """The first stage of [5,20] is no part of the race, nor is a stage more."""
    lists = ["task.trial_list=[20]", "task.keep_list=[1]"]
    assert run_id(compose_config([RACING, *lists])) == run_id(compose_config([RACING]))
    assert run_id(compose_config(lists)) != run_id(compose_config())


def test_a_race_is_not_compiled() -> None:
    line = "compile=true: allowed: false or task.allocation=staged, because a race has batches"
    assert complaint("compile=true").startswith(line)


def test_a_race_does_not_share_draws() -> None:
    settings: list[Any] = ["operator=tome", "operator.draws=per_forward"]
    assert complaint(*settings).startswith("task.allocation=racing: allowed: staged, because")
