import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain.errors import UserError
from bigain.tasks.protocol import StagedProtocol

PAPER = StagedProtocol((5, 20, 100), (50, 10, 1))
MINI = StagedProtocol((5, 20), (5, 1))


def test_two_stages_take_the_timesteps_of_the_specification() -> None:
    first, second = MINI.stages()
    assert first == [125, 325, 525, 725, 925]
    assert sorted(first + second) == list(range(25, 1000, 50))


def test_three_stages_take_the_timesteps_of_the_specification() -> None:
    first, second, third = PAPER.stages()
    assert first == [105, 305, 505, 705, 905]
    assert second == list(range(25, 1000, 50))
    assert sorted(first + second + third) == list(range(5, 1000, 10))


@pytest.mark.parametrize(
    ("protocol", "classes", "evaluations"),
    [(MINI, 10, 125), (MINI, 37, 260), (MINI, 80, 475), (MINI, 100, 575), (PAPER, 1000, 6750)],
)
def test_evaluations_per_image(protocol: StagedProtocol, classes: int, evaluations: int) -> None:
    assert protocol.evaluations(classes) == evaluations


@given(st.lists(st.integers(1, 200), min_size=1, max_size=4, unique=True))
def test_no_timestep_is_taken_twice_and_all_are_in_range(trials: list[int]) -> None:
    trial_list = tuple(sorted(trials))
    stages = StagedProtocol(trial_list, tuple(range(len(trials), 0, -1))).stages()
    taken = [t for stage in stages for t in stage]
    assert len(taken) == len(set(taken))
    assert all(0 <= t < 1000 for t in taken)
    assert len(stages[0]) == trial_list[0]
    assert len(taken) >= trial_list[-1]


@pytest.mark.parametrize(
    ("trial_list", "keep_list", "named"),
    [
        ((), (), "task.trial_list=[]"),
        ((5, 5), (5, 1), "task.trial_list=[5, 5]"),
        ((20, 5), (5, 1), "task.trial_list=[20, 5]"),
        ((0, 5), (5, 1), "task.trial_list=[0, 5]"),
        ((5, 1001), (5, 1), "task.trial_list=[5, 1001]"),
        ((5, 20), (1,), "task.keep_list=[1]"),
        ((5, 20), (5, 2), "task.keep_list=[5, 2]"),
        ((5, 20), (1, 1), "task.keep_list=[1, 1]"),
    ],
)
def test_bad_lists_are_named(
    trial_list: tuple[int, ...], keep_list: tuple[int, ...], named: str
) -> None:
    with pytest.raises(UserError, match="task") as caught:
        StagedProtocol(trial_list, keep_list)
    assert str(caught.value).startswith(named)
