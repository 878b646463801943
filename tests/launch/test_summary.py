from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bigain.engine.run import RunOutcome
from bigain.errors import UserError
from bigain.launch.compose import compose_configs
from bigain.launch.plan import PlannedRun
from bigain.launch.summary import list_failures, note_shards, run_report
from bigain.runs.files import METRIC_COLUMNS, Evaluation, write_metrics
from bigain.runs.identity import describing_columns, run_id
from bigain.runs.store import RunStore

COMMANDS = ["operator=tome operator.ratio=0.3", "operator=tome operator.ratio=0.7", "operator=none"]


@pytest.fixture
def planned(tmp_path: Path) -> list[PlannedRun]:
    commands = [(*command.split(), f"paths.results={tmp_path}") for command in COMMANDS]
    configs = compose_configs(commands)
    return [PlannedRun(o, config) for o, config in zip(commands, configs, strict=True)]


@pytest.fixture
def leave() -> Callable[..., str]:
    """Leave a run on disk as done, running or failed."""

    def leave(planned: PlannedRun, status: str, error: Exception | None = None) -> str:
        store = RunStore(planned.config.paths.results, run_id(planned.config))
        record = {"image_id": 1, "label": 0, "prediction": 0, "correct": True}
        with suppress(UserError, RuntimeError), store.open(planned.config, [1], {}) as session:
            if error:
                raise error
            if status == "done":
                session.append(record)
                session.finish(lambda records: Evaluation(records, []))
        assert store.status() == status
        return store.run_id

    return leave


def test_a_sweep_that_is_done_has_no_failures(
    planned: list[PlannedRun], leave: Callable[..., str]
) -> None:
    for run in planned:
        leave(run, "done")
    assert list_failures(planned, {}) == ""


def test_failures_are_read_from_disk_with_their_reason(
    planned: list[PlannedRun], leave: Callable[..., str]
) -> None:
    leave(planned[0], "done")
    failed = leave(planned[1], "failed", RuntimeError("no\nmemory"))
    lines = list_failures(planned, {}).splitlines()
    assert lines[0] == "2 of 3 runs failed:"
    assert lines[1].split("  ")[1] == failed
    assert "operator=tome operator.ratio=0.7" in lines[1]
    assert lines[1].endswith("  RuntimeError: no memory")
    assert lines[2].endswith("  is absent")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("status", "error", "listed"),
    [
        ("failed", UserError("device=cuda: not here"), "device=cuda: not here"),
        ("running", None, "is running"),  # killed
    ],
)
def test_the_reason_of_a_failure_is_read_from_disk(
    planned: list[PlannedRun],
    leave: Callable[..., str],
    status: str,
    error: Exception | None,
    listed: str,
) -> None:
    leave(planned[0], status, error)
    assert list_failures(planned[:1], {}).endswith(f"  {listed}\n")


def test_what_happened_in_this_process_outweighs_an_old_success(
    planned: list[PlannedRun], leave: Callable[..., str]
) -> None:
    leave(planned[0], "done")
    problems = {0: "UserError: dataset.root=x: is empty"}
    assert list_failures(planned[:1], problems).endswith("  dataset.root=x: is empty\n")
    problems = {0: "ValueError: bug"}
    assert list_failures(planned[:1], problems).endswith("  ValueError: bug\n")
    twice = [planned[0], planned[0]]
    assert list_failures(twice, {1: "ValueError: bug"}).startswith("1 of 2 runs failed"), "one id"


def test_a_damaged_manifest_is_a_failure_that_names_the_file(
    planned: list[PlannedRun], leave: Callable[..., str]
) -> None:
    name = leave(planned[0], "done")
    manifest = planned[0].config.paths.results / "runs" / name / "manifest.json"
    manifest.write_text("{}")
    assert f"{manifest}: is damaged; delete it" in list_failures(planned[:1], {})


@pytest.mark.parametrize(("indices", "failed"), [([0], False), ([0, 1], True)])
def test_a_shard_may_wait_for_shards_elsewhere(
    tmp_path: Path, leave: Callable[..., str], indices: list[int], failed: bool
) -> None:
    commands = [(f"shard.index={i}", "shard.count=2", f"paths.results={tmp_path}") for i in indices]
    configs = compose_configs(commands)
    shards = [PlannedRun(o, config) for o, config in zip(commands, configs, strict=True)]
    leave(shards[0], "running")
    assert bool(list_failures(shards, {})) == failed


@pytest.mark.parametrize(("indices", "noted"), [([0, 1, 2, 3], ""), ([0, 2], "shard.index=1,3")])
def test_of_a_run_in_shards_the_failed_and_the_missing_ones_are_named(
    tmp_path: Path, leave: Callable[..., str], indices: list[int], noted: str
) -> None:
    """The run is not done, but the shards that ended well are no failures."""
    commands = [(f"shard.index={i}", "shard.count=4", f"paths.results={tmp_path}") for i in indices]
    configs = compose_configs(commands)
    shards = [PlannedRun(o, config) for o, config in zip(commands, configs, strict=True)]
    leave(shards[-1], "failed", RuntimeError("no memory"))
    last = len(indices) - 1
    listed = list_failures(shards, {last: "RuntimeError: no memory"})
    assert listed.startswith(f"1 of {len(indices)} runs failed:\n")
    assert f"shard.index={indices[-1]} " in listed
    assert noted in note_shards(shards)
    assert bool(note_shards(shards)) == bool(noted)


def test_the_report_of_a_run_has_its_metrics(planned: list[PlannedRun], tmp_path: Path) -> None:
    config = planned[1].config
    known: dict[str, object] = dict.fromkeys(METRIC_COLUMNS) | describing_columns(config)
    accuracy = {"metric": "acc1", "value": 84.25, "n": 400, "unit": "percent"}
    accuracy |= {"ci_low": 80.36, "ci_high": 87.51}
    error = {"metric": "eps_error", "value": 0.123456, "n": 400}
    flops = {"metric": "flops_g", "value": 1049.16743, "n": 1, "unit": "GFLOPs"}
    write_metrics(tmp_path, [{**known, **each} for each in (accuracy, error, flops)])
    lines = run_report(config, RunOutcome("0123", tmp_path, "done", 400)).splitlines()
    assert lines[0] == f"0123  done  mini_dit tome ratio=0.7  {tmp_path}"
    assert lines[1].split() == ["acc1", "84.25", "percent", "[80.36,", "87.51]", "n=400"]
    assert lines[2].split() == ["eps_error", "0.1235", "n=400"]
    assert lines[3].split() == ["flops_g", "1049.17", "GFLOPs", "n=1"]


def test_the_report_without_metrics_is_one_line(planned: list[PlannedRun], tmp_path: Path) -> None:
    config = planned[2].config
    line = f"mini_dit none  {tmp_path}"
    report = run_report(config, RunOutcome("0123", tmp_path, "running", 1))
    assert report == f"0123  running  {line}\n", "other shards are at work"
    write_metrics(tmp_path, [])
    report = run_report(config, RunOutcome("0123", tmp_path, "done", 0))
    assert report == f"0123  done  {line}  (nothing was left to compute)\n"
