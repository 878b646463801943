import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from bigain.tables.estimate import Cost
from bigain.tables.listing import LISTINGS, ListedRun, list_csv, list_json, list_text, listed
from bigain.tables.planner import Plan


@pytest.fixture
def runs(make_plan: Callable[..., Plan]) -> list[ListedRun]:
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
    return listed(planned, tables, costs)


def test_every_run_once_in_order(runs: list[ListedRun]) -> None:
    assert [each.tables for each in runs] == [(2, 12), (12,), (12,)]
    assert len({each.run.run_id for each in runs}) == 3


def test_text(runs: list[ListedRun]) -> None:
    first, *lines, last = list_text(runs).splitlines()
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


def test_long_times_are_hours(runs: list[ListedRun]) -> None:
    slow = [replace(runs[1], cost=Cost(1, 1.0, 9 * 3600.0))]
    assert list_text(slow).endswith("about 9.0 h on one process")


def test_csv_and_json_say_the_same(runs: list[ListedRun]) -> None:
    rows = list(csv.DictReader(io.StringIO(list_csv(runs))))
    objects = json.loads(list_json(runs))
    assert [{k: "" if v is None else str(v) for k, v in o.items()} for o in objects] == rows
    assert [row["state"] for row in rows] == ["done", "missing", "missing"]
    assert rows[0]["tables"] == "2 12"
    assert objects[2]["seconds"] is None
    assert objects[1]["command"] == runs[1].run.command
    assert (objects[1]["task"], objects[1]["dataset"]) == ("classification", "fashion_mnist")


def test_runs_that_read_no_dataset_name_none(make_plan: Callable[..., Plan]) -> None:
    run = make_plan(18).distinct()[0]
    (row,) = listed({run.run_id: run}, {run.run_id: [18]}, {run.run_id: Cost(0, 0.0, 0.0)})
    assert row.row["dataset"] == ""


@pytest.mark.parametrize("name", LISTINGS)
def test_nothing_to_list(name: str) -> None:
    text = LISTINGS[name]([])
    assert text
    assert not text.endswith("\n")
