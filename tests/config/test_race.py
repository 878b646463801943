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
    assert RunConfig.model_validate(plain).model_dump(mode="json") == plain


@pytest.mark.parametrize(
    "override", ["task.race.rule=t_test", "task.race.z=4", "task.race.minimum=25", "task.race=null"]
)
def test_the_staged_protocol_refuses_settings_of_a_race(override: str) -> None:
    for own in ([override], ["task.allocation=staged", override], [override, "seed=1"]):
        with pytest.raises(UserError, match=rf"^{override}: .*allowed: with task.alloc.*=racing"):
            compose_config(own)


def test_a_race_survives_json_with_an_infinite_threshold_too() -> None:
    config = compose_config([RACING, "task.race.z=inf"])
    again = RunConfig.model_validate_json(config.model_dump_json())
    assert again.task_as(ClassificationConfig).of_race.threshold == float("inf")
    assert run_id(again) == run_id(config)


def test_the_defaults_of_a_race() -> None:
    race = compose_config([RACING]).task_as(ClassificationConfig).of_race
    assert (race.rule, race.weighing) == ("gaussian", "ones")
    assert (race.threshold, race.minimum, race.looks, race.audit) == (2.54, 2, None, 0.02)


def test_the_defaults_of_the_published_rules() -> None:
    found = {}
    for rule in ("t_test", "halving"):
        race = compose_config([RACING, f"task.race.rule={rule}"]).task_as(ClassificationConfig)
        plain = race.of_race.model_dump()
        found[rule] = {key: value for key, value in plain.items() if value is not None}
    shared = {"images": 150, "classes": 10, "audit": 0.02}
    assert found["t_test"] == {"rule": "t_test", "p": 0.05, "minimum": 5, **shared}
    stages = ((3, 5), (6, 3), (12, 2))
    assert found["halving"] == {"rule": "halving", "stages": stages, "audit": 0.02}


@pytest.mark.parametrize(
    ("rule", "overrides"),
    [
        ("gaussian", ["p=0.1", "stages=[[3,2]]"]),
        ("t_test", ["z=3", "looks=[1,3]", "weights=spread", "stages=[[3,2]]"]),
        (
            "halving",
            ["z=2.54", "p=0.1", "minimum=3", "looks=[5]", "weights=ones", "images=20", "classes=4"],
        ),
    ],
)
def test_a_setting_of_another_rule_is_refused_by_its_name(rule: str, overrides: list[str]) -> None:
    for override in overrides:
        line = complaint(f"task.race.rule={rule}", f"task.race.{override}")
        allowed = f"allowed: null with task.race.rule={rule}; it is a setting of "
        assert line.startswith(f"task.race.{override}: {allowed}")


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("task.race.stages=[[3,5],[3,3]]", "pairs of increasing integers from 1 to 19"),
        ("task.race.stages=[[3,5],[6,5]]", "pairs of increasing integers from 1 to 19"),
        ("task.race.stages=[[3,5],[6,1]]", "pairs of increasing integers from 1 to 19"),
        ("task.race.stages=[]", "pairs of increasing integers from 1 to 19"),
        ("task.race.stages=[[3,11]]", "at most 9 classes kept, fewer than the 10 of dataset=fas"),
        ("task.race.stages=[[3,10],[6,3]]", "at most 9 classes kept, fewer than the 10"),
    ],
)
def test_stages_that_cannot_be_are_refused(override: str, allowed: str) -> None:
    line = complaint("task.race.rule=halving", override)
    assert line.startswith(override)
    assert f"allowed: {allowed}" in line


@pytest.mark.parametrize(
    ("override", "grid", "stages", "example"),
    [
        ("task.trial_list=[5]", "[5]", "[[3,5],[6,3],[12,2]]", "[[2,5]]"),
        ("task.trial_list=[2,6]", "[2,6]", "[[3,5],[6,3],[12,2]]", "[[3,5]]"),
        ("task.race.stages=[[20,4]]", "[5, 20]", "[[20,4]]", "[[10,4]]"),
    ],
)
def test_stages_beyond_the_grid_name_it_and_stages_that_fit(
    override: str, grid: str, stages: str, example: str
) -> None:
    keep = ["task.keep_list=[1]"] if grid == "[5]" else []
    line = complaint("task.race.rule=halving", override, *keep)
    assert line.startswith(f"task.trial_list={grid}: ")
    assert f"task.race.stages={stages}," in line
    assert line.endswith(f"such as task.race.stages={example}")
    fitting = f"task.race.stages={example}"
    assert compose_config([RACING, "task.race.rule=halving", override, *keep, fitting])


@pytest.mark.parametrize(("rule", "least"), [("t_test", 2), ("halving", 2)])
def test_a_grid_that_is_too_short_for_the_rule_is_named(rule: str, least: int) -> None:
    line = complaint(f"task.race.rule={rule}", "task.trial_list=[1]", "task.keep_list=[1]")
    assert line.startswith(f"task.trial_list=[1]: allowed: a last number of at least {least} ")


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("task.race.z=3", False),
        ("task.race.audit=0.1", False),
        ("task.race.weights=spread", False),
        ("task.race.rule=t_test", False),
        ("task.race.rule=halving", False),
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
        ("task.race.looks=[2,2]", "task.race.looks=[2,2]: allowed: null or increasing"),
        ("task.race.looks=[1,5]", "task.race.looks=[1,5]: allowed: null or increasing"),
        ("task.race.looks=[2,20]", "task.race.looks=[2,20]: allowed: null or increasing"),
        ("task.race.looks=[]", "task.race.looks=[]: allowed: null or increasing"),
        ("task.race.audit=2", "task.race.audit=2: allowed: a number from 0 to 1"),
        ("task.race.images=9", "task.race.images=9: allowed: an integer >= 10"),
        ("task.race.classes=1", "task.race.classes=1: allowed: an integer >= 2"),
        ("task.race.calibration=abc", "task.race.calibration=abc: allowed: null"),
        ("task.race.y=1", "task.race.y=1: no such key; allowed: task.race.rule, task.race.z"),
        ("task.race.rule=best", "task.race.rule=best: allowed: gaussian, t_test or halving"),
        ("task.race.weights=sum", "task.race.weights=sum: allowed: ones or spread"),
        ("task.race.z=null", "task.race.z=null: allowed: a number > 0"),
        ("task.allocation=fast", "task.allocation=fast: allowed: staged or racing"),
        ("task.race=null", "task.race=null: allowed: its settings"),
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
