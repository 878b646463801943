from collections.abc import Sequence

import pytest

from bigain.config import RunConfig
from bigain.launch.compose import compose_configs
from bigain.tables.planner import adding, concerning, remembering, yielding

WORKS = ("classification", "generation", "flops")


@pytest.mark.parametrize(
    ("override", "work", "own", "kept"),
    [
        ("task.trial_list=[2,4]", "classification", True, True),
        ("task.trial_list=[2,4]", "generation", True, False),
        ("task.steps=2", "generation", True, True),
        ("task.steps=2", "classification", True, False),
        ("+task.steps=2", "flops", True, True),
        ("task.stepz=2", "classification", True, True),
        ("dataset.limit=6", "generation", True, True),
        ("backbone.path=/models", "classification", True, True),
        ("backbone.path=/models", "flops", False, False),
        ("seed=1", "flops", False, True),
    ],
)
def test_an_addition_goes_to_the_runs_that_it_is_meant_for(
    override: str, work: str, own: bool, kept: bool
) -> None:
    """One that no task has goes to all, where composing refuses it."""
    assert list(concerning([override], work, WORKS, own)) == [override] * kept


def test_settings_of_tasks_that_the_table_does_not_have_are_refused_by_composing() -> None:
    assert list(concerning(["task.steps=2"], "classification", ("classification",), True))


def test_nothing_is_composed_twice() -> None:
    asked: list[Sequence[str]] = []

    def compose(commands: Sequence[Sequence[str]]) -> list[RunConfig]:
        asked.extend(commands)
        return compose_configs(commands)

    remembered = remembering(compose)
    first = remembered([("seed=1",), ("seed=2",), ("seed=1",)])
    again = remembered([["seed=2"], ["seed=3"]])
    assert [config.seed for config in (*first, *again)] == [1, 2, 1, 2, 3]
    assert [list(command) for command in asked] == [["seed=1"], ["seed=2"], ["seed=3"]]


def test_additions_reach_every_configuration() -> None:
    configs = adding(compose_configs, ["dataset.limit=7"])([["seed=1"], ["seed=2"]])
    assert [(each.seed, each.dataset.limit) for each in configs] == [(1, 7), (2, 7)]


def test_what_a_cell_sets_itself_is_not_changed_for_it() -> None:
    extra = ["dataset.limit=20", "seed=1"]
    assert list(yielding(extra, ["operator=none", "dataset.limit=1000"])) == ["seed=1"]
    assert list(yielding(extra, ["operator=none"])) == extra
