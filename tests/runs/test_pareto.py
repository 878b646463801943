"""Fronts against brute force, and groups in which nothing is compared that was made otherwise."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.metrics import HIGHER_IS_BETTER, Metric
from bigain.runs.files import Evaluation
from bigain.runs.identity import run_id
from bigain.runs.joint import JointRun, joint_runs
from bigain.runs.pareto import COSTS, QUALITIES, Group, front, fronts, groups
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
Values = Sequence[tuple[float, float]]


def dominated(values: Values, place: int, higher: tuple[bool, bool]) -> bool:
    """By the definition: another one is nowhere worse, and somewhere better."""
    mine = values[place]
    for other in values:
        gains = [(o - m) if up else (m - o) for o, m, up in zip(other, mine, higher, strict=True)]
        if min(gains) >= 0 and max(gains) > 0:
            return True
    return False


@pytest.mark.parametrize("higher", [(a, b) for a in (True, False) for b in (True, False)])
@pytest.mark.parametrize("steps", [3, 10, 1000])
def test_the_front_are_the_points_that_nothing_dominates(
    higher: tuple[bool, bool], steps: int
) -> None:
    """Coarse steps give ties in one coordinate, and equal points."""
    generator = np.random.default_rng(steps)
    for count in (1, 2, 5, 30):
        drawn = generator.integers(0, steps, (count, 2)) / 7
        values = [(float(x), float(y)) for x, y in drawn]
        expected = {i for i in range(count) if not dominated(values, i, higher)}
        found = front(values, higher)
        assert len(found) == len(set(found))
        assert set(found) == expected
        along = [values[i][0] for i in found]
        assert along == sorted(along, reverse=higher[0])
    assert front([], higher) == []


def test_every_shown_metric_has_a_direction() -> None:
    assert {*QUALITIES, *COSTS} <= set(HIGHER_IS_BETTER)


def finished(results: Path, config: RunConfig, **values: float) -> str:
    n = config.dataset.limit or 50
    store = RunStore(results, run_id(config))
    metrics = [Metric(name, value, n, value - 1, value + 1, "x") for name, value in values.items()]
    with store.open(config, list(range(n)), {}) as session:
        for image_id in session.todo():
            session.append({"image_id": image_id, "sha256": "0", "frechet_value": 1.0})
        session.finish(lambda records: Evaluation(records, metrics))
    return store.run_id


def found_in(results: Path, machine: Callable[[JointRun], str] = lambda _: "here") -> list[Group]:
    return groups(joint_runs(results, lambda _: {}), machine)


def labels(group: Group) -> list[str]:
    return [point.operator for point in group.points]


def test_both_tasks_of_an_operator_are_one_point(
    tmp_path: Path, make_config: Make, tome: dict[str, Any], generation: dict[str, Any]
) -> None:
    ids = {
        "classification": finished(tmp_path, make_config(operator=tome), acc1=70.0),
        "generation": finished(
            tmp_path, make_config(operator=tome, task=generation), frechet_mini=2.0
        ),
    }
    finished(tmp_path, make_config(), acc1=80.0)
    (group,) = found_in(tmp_path)
    assert labels(group) == ["none", "tome"]
    merged = group.points[1]
    assert merged.runs == ids
    assert {name: each.value for name, each in merged.metrics.items()} == {
        "acc1": 70.0,
        "frechet_mini": 2.0,
    }
    assert group.measured() == ["acc1"], "one point alone is not compared"
    assert fronts(group) == {}


def test_a_metric_that_is_no_number_is_not_compared(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    finished(tmp_path, make_config(), acc1=80.0, eps_error_rise=math.nan)
    finished(tmp_path, make_config(operator=tome), acc1=70.0, eps_error_rise=math.nan)
    (group,) = found_in(tmp_path)
    assert [set(point.metrics) for point in group.points] == [{"acc1"}, {"acc1"}]


@pytest.mark.parametrize(
    "changes", [{"dataset__limit": 30}, {"task__trial_list": [1, 2]}, {"seed": 1}]
)
def test_what_was_made_otherwise_is_another_group(
    tmp_path: Path, make_config: Make, tome: dict[str, Any], changes: dict[str, Any]
) -> None:
    finished(tmp_path, make_config(), acc1=80.0)
    finished(tmp_path, make_config(operator=tome), acc1=70.0)
    finished(tmp_path, make_config(operator=tome, **changes), acc1=90.0)
    large, small = found_in(tmp_path)
    assert (labels(large), labels(small)) == (["none", "tome"], ["tome"])
    assert [point.metrics["acc1"].value for point in large.points] == [80.0, 70.0]
    assert (large.tasks, large.seed) != (small.tasks, small.seed)


def test_no_finished_run_is_left_out(
    tmp_path: Path, make_config: Make, tome: dict[str, Any], generation: dict[str, Any]
) -> None:
    made = {
        finished(tmp_path, make_config(operator=operator, task=task, **changes), **{metric: 1.0})
        for operator in (tome, {**tome, "ratio": 0.3})
        for changes in ({}, {"seed": 1}, {"dataset__limit": 30})
        for task, metric in ((generation, "frechet_mini"),)
    }
    made |= {
        finished(tmp_path, make_config(operator=tome, **changes), acc1=1.0)
        for changes in ({}, {"dataset__limit": 30}, {"task__keep_list": [4, 1]})
    }
    shown = {name for group in found_in(tmp_path) for p in group.points for name in p.runs.values()}
    assert shown == made


EFFICIENCY = {"name": "efficiency", "measure": "time", "steps": 1, "repeats": 1, "warmup": 0}


def test_the_baseline_is_as_fast_as_itself(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    finished(tmp_path, make_config(), acc1=80.0)
    finished(tmp_path, make_config(task=EFFICIENCY), time_ms_per_step=5.0)
    finished(tmp_path, make_config(operator=tome), acc1=70.0)
    timed = make_config(operator=tome, task=EFFICIENCY)
    finished(tmp_path, timed, time_ms_per_step=5.0, speedup=0.9)
    (group,) = found_in(tmp_path)
    assert [point.metrics["speedup"].value for point in group.points] == [1.0, 0.9]
    assert fronts(group)["speedup", "acc1"] == [0], "a slower and worse operator is dominated"


def test_without_a_time_the_baseline_has_no_speed_up(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    finished(tmp_path, make_config(), acc1=80.0)
    finished(tmp_path, make_config(operator=tome), acc1=70.0)
    (group,) = found_in(tmp_path)
    assert not any("speedup" in point.metrics for point in group.points)


@pytest.mark.parametrize("name", ["dip_go", "mosaic_diff"])
def test_a_re_creation_is_named_so(name: str, tmp_path: Path, make_config: Make) -> None:
    finished(tmp_path, make_config(), acc1=80.0)
    operator = {"_target_": "bigain.operators.Any", "name": name, "target": 0.1}
    finished(tmp_path, make_config(operator=operator), acc1=70.0)
    (group,) = found_in(tmp_path)
    assert [point.label.split()[:2] for point in group.points][1] == ["after", name]


def test_times_of_one_machine_alone_are_compared(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    timed = {}
    for ratio in (0.3, 0.5, 0.7):
        operator = {**tome, "ratio": ratio}
        finished(tmp_path, make_config(operator=operator), acc1=100 * ratio)
        config = make_config(operator=operator, task=EFFICIENCY)
        timed[finished(tmp_path, config, time_ms_per_step=10 * ratio)] = ratio

    def machine(run: JointRun) -> str:
        return "another" if timed[run.run_id] == 0.5 else "this one"

    (group,) = found_in(tmp_path, machine)
    shown = [p.metrics.get("time_ms_per_step") for p in group.points]
    assert [each and each.value for each in shown] == [3.0, None, 7.0]
    assert fronts(group)["time_ms_per_step", "acc1"] == [0, 2]
