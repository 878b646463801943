import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bigain.config import RunConfig
from bigain.runs.files import read_manifest, write_manifest
from bigain.runs.flops import SHIPPED_FLOPS, flops_name
from bigain.runs.store import RunStore
from bigain.tables.dry_run import (
    PRINTERS,
    Cost,
    CostedRun,
    costed_runs,
    counted_flops,
    estimate,
    kept_flops,
    throughputs,
)
from bigain.tables.planner import Compose, Plan, plan_table
from bigain.tables.render import load_spec, load_table
from bigain.tables.spec import TableSpec

MakePlan = Callable[..., Plan]
GIGA = 10**9


def flops(config: RunConfig) -> int:
    return GIGA if config.operator.name == "todo" else 2 * GIGA


def timed(plan: Plan, seconds: dict[str, float], runner: Callable[[RunConfig], None]) -> None:
    """Finish the runs of some operators in so many seconds."""
    for run in plan.distinct():
        if run.config.operator.name in seconds:
            runner(run.config)
            folder = RunStore(plan.results, run.run_id).folder
            manifest = read_manifest(folder)
            assert manifest is not None
            changed = {"image_seconds": seconds[run.config.operator.name]}
            write_manifest(folder, {**manifest, **changed})


def test_without_a_measurement_time_is_unknown(make_plan: MakePlan) -> None:
    runs = make_plan(12).distinct()
    costs = estimate(runs, flops)
    assert set(costs) == {run.run_id for run in runs}
    by_operator = {run.config.operator.name: costs[run.run_id] for run in runs}
    todo, kept = by_operator["todo"], by_operator["kv_select"]
    assert (todo.evaluations, todo.teraflops, todo.seconds) == (3750, 3.75, None)
    assert kept.teraflops == 7.5


def test_time_follows_from_flops_and_throughput(
    make_plan: MakePlan, runner: Callable[[RunConfig], None]
) -> None:
    """3,750 evaluations of 1 GFLOP in 375 s are 10 GFLOPs per second."""
    timed(make_plan(12), {"todo": 375.0}, runner)
    plan = make_plan(12)
    rates = throughputs([run for run in plan.distinct() if run.finished], flops)
    assert rates == {"mini_unet": pytest.approx(10 * GIGA)}
    costs = estimate(plan.distinct(), flops)
    missing = [costs[run.run_id].seconds for run in plan.missing()]
    assert missing == [pytest.approx(750)] * len(missing)


def test_the_throughput_is_the_median(
    make_plan: MakePlan, runner: Callable[[RunConfig], None]
) -> None:
    """30 images each in 75, 750 and 7,500 s."""
    timed(make_plan(14), {"none": 75.0, "tome": 750.0, "lgtm": 7500.0}, runner)
    runs = [run for run in make_plan(14).distinct() if run.config.dataset.num_images == 30]
    finished = [run for run in runs if run.finished]
    rates = throughputs(finished, lambda _: GIGA)
    assert rates == {"mini_unet": pytest.approx(5 * GIGA)}


def test_a_stated_throughput_goes_before_the_measured_one(
    make_plan: MakePlan, runner: Callable[[RunConfig], None]
) -> None:
    timed(make_plan(12), {"todo": 375.0}, runner)
    costs = estimate(make_plan(12).distinct(), flops, gflops_per_second=100.0)
    found = sorted({cost.seconds or 0 for cost in costs.values()})
    assert found == [pytest.approx(37.5), pytest.approx(75.0)]


def test_flops_are_counted_once_per_backbone_and_operator(make_plan: MakePlan) -> None:
    asked: list[RunConfig] = []

    def counting(config: RunConfig) -> int:
        asked.append(config)
        return GIGA

    runs = make_plan(14).distinct()
    more = make_plan(14, extra=["seed=1"]).distinct()
    estimate([*runs, *more], counting)
    assert len(asked) == len({run.config.operator for run in runs}) == 5


def test_counted_flops_are_those_of_a_forward(make_plan: MakePlan) -> None:
    by_name = {run.config.operator.name: run.config for run in make_plan(14).distinct()}
    bare, tome = counted_flops(by_name["none"]), counted_flops(by_name["tome"])
    assert 0 < tome < bare


def test_counts_are_kept_between_processes_and_a_damaged_file_is_none(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bigain.runs.flops.SHIPPED_FLOPS", tmp_path / "none.json")
    config = make_plan(14).distinct()[0].config
    path = config.paths.cache / "flops.json"
    assert kept_flops(lambda _: 7)(config) == 7
    assert kept_flops(lambda _: 8)(config) == 7, "counted before"
    path.write_text("{")
    assert kept_flops(lambda _: 8)(config) == 8


def test_what_evaluates_nothing_is_not_counted(make_plan: MakePlan) -> None:
    def counting(_: RunConfig) -> int:
        raise AssertionError("FLOPs of a run without evaluations")

    runs = [run for run in make_plan(18).distinct() if not run.evaluations]
    assert runs
    assert {cost.teraflops for cost in estimate(runs, counting).values()} == {0}


@pytest.fixture
def runs(make_plan: Callable[..., Plan]) -> list[CostedRun]:
    """One that is done, one that will take half an hour, one of which nobody knows."""
    planned = {run.run_id: run for run in make_plan(12).distinct()[:3]}
    done, short, unknown = planned
    planned[done] = replace(planned[done], finished=True)
    tables = {done: [2, 12], short: [12], unknown: [12]}
    costs = {
        done: Cost(3750, 1.0, 60.0),
        short: Cost(3750, 2.5, 1800.0),
        unknown: Cost(1000, 4.0, None),
    }
    return costed_runs(planned, tables, costs)


def test_text(runs: list[CostedRun]) -> None:
    first, *lines, last = PRINTERS["text"](runs).splitlines()
    assert first == "3 runs, 1 done, 2 missing"
    assert [line.split()[0] for line in lines] == ["done", "missing", "missing"]
    assert lines[0].endswith("(tables 2,12; 3,750 evaluations, 1 min)")
    assert lines[1].endswith("30 min)")
    assert lines[2].endswith("time unknown)")
    assert runs[1].run.run_id in lines[1]
    assert last == (
        "missing in all: 4,750 evaluations of the denoiser, 6.5 TFLOPs, about 30 min on one "
        "process and 1 runs of backbones that nobody timed yet"
    )


def test_long_times_are_hours(runs: list[CostedRun]) -> None:
    slow = [replace(runs[1], cost=Cost(1, 1.0, 9 * 3600.0))]
    assert PRINTERS["text"](slow).endswith("about 9.0 h on one process")


def test_csv_and_json_say_the_same(runs: list[CostedRun]) -> None:
    rows = list(csv.DictReader(io.StringIO(PRINTERS["csv"](runs))))
    objects = json.loads(PRINTERS["json"](runs))
    assert [{k: "" if v is None else str(v) for k, v in o.items()} for o in objects] == rows
    assert [row["state"] for row in rows] == ["done", "missing", "missing"]
    assert rows[0]["tables"] == "2 12"
    assert objects[2]["seconds"] is None
    assert objects[1]["command"] == runs[1].run.command
    assert (objects[1]["task"], objects[1]["dataset"]) == ("classification", "fashion_mnist")


def test_runs_that_read_no_dataset_name_none(make_plan: Callable[..., Plan]) -> None:
    run = make_plan(18).distinct()[0]
    (row,) = costed_runs({run.run_id: run}, {run.run_id: [18]}, {run.run_id: Cost(0, 0.0, 0.0)})
    assert row.row["dataset"] == ""


@pytest.mark.parametrize("name", PRINTERS)
def test_nothing_to_list(name: str) -> None:
    text = PRINTERS[name]([])
    assert text
    assert not text.endswith("\n")


def test_the_counts_of_the_tables_runs_ship(compose: Compose) -> None:
    """Else `--dry-run` would load torch.  To count new ones: python scripts/count_flops.py."""
    shipped = json.loads(SHIPPED_FLOPS.read_text(encoding="utf-8"))
    for number in (1, 4, 5, 12):
        spec = load_table(number)
        assert isinstance(spec, TableSpec)
        for run in plan_table(spec, "mini", "default", (), compose).distinct():
            assert not run.evaluations or flops_name(run.config) in shipped, run.command
    plan = plan_table(load_spec(12), "mini", "default", (), compose)
    for run in plan.distinct():
        assert shipped[flops_name(run.config)] == counted_flops(run.config)
