from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.session import Conclusion
from bigain.runs.store import RunStore
from bigain.tables.execute import execute
from bigain.tables.planner import Plan

MakePlan = Callable[..., Plan]
FakeRunner = Callable[[RunConfig], None]


def test_all_runs_in_order(make_plan: MakePlan, runner: FakeRunner) -> None:
    runs, said = make_plan(12).distinct(), list[str]()
    assert execute(runs, runner, said.append) == []
    assert [line.split()[0] for line in said] == [
        f"[{n}/{len(runs)}]" for n in range(1, len(runs) + 1)
    ]
    assert [line.split()[1] for line in said] == [run.run_id for run in runs]
    assert "operator=kv_select operator.strategy=high_frequency" in said[-1]
    assert make_plan(12).missing() == []


def test_a_failing_run_does_not_stop_the_others(
    make_plan: MakePlan, runner: FakeRunner, tmp_path: Path
) -> None:
    def sometimes(config: RunConfig) -> None:
        if config.operator.name == "kv_select":
            raise ValueError("two\nlines")
        runner(config)

    failures = execute(make_plan(12).distinct(), sometimes, lambda _: None)
    assert [failure.reason for failure in failures] == ["ValueError: two lines"] * 2
    assert {f.run.config.operator.name for f in failures} == {"kv_select"}
    missing = make_plan(12).missing()
    assert [run.run_id for run in missing] == [failure.run.run_id for failure in failures]


def test_a_users_mistake_in_one_run_is_a_failure_too(make_plan: MakePlan) -> None:
    def refuse(config: RunConfig) -> None:
        raise UserError("no weights")

    (failure,) = execute(make_plan(12).distinct()[:1], refuse, lambda _: None)
    assert failure.reason == "UserError: no weights"


def test_a_run_that_other_shards_have_to_complete_is_not_done(make_plan: MakePlan) -> None:
    run = make_plan(12).distinct()[0]

    def half(config: RunConfig) -> None:
        with RunStore(config.paths.results, run.run_id).open(config, [1, 2], {}) as session:
            session.finish(lambda records: Conclusion(records, []))

    (failure,) = execute([run], half, lambda _: None)
    assert failure.reason == "ended with status running"


def test_an_interruption_is_not_swallowed(make_plan: MakePlan) -> None:
    def interrupted(config: RunConfig) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(make_plan(12).distinct(), interrupted, lambda _: None)
