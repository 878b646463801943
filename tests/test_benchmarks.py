"""The arithmetic of the benchmarks: time by part, rates of workers, ratios, columns of files."""

import csv
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import harness
import pandas as pd
import pytest
import racing
import timing
import torch
import workers

from bigain.tasks.packing import Packed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> harness.Clock:
    """A clock that is read at these moments: of the processor, on the wall."""
    moments: Iterator[tuple[float, float]] = iter([(0, 0), (1, 2), (3, 8), (4, 16), (9, 32)])
    monkeypatch.setattr(harness.Clock, "_now", lambda _self: next(moments))
    return harness.Clock()


def test_time_belongs_to_the_innermost_part(clock: harness.Clock) -> None:
    with clock.part("run"):
        assert clock.timed("denoiser", abs)(-3) == 3
    assert clock.costs() == {"run": (2000 + 5000, 6000 + 16000), "denoiser": (1000, 8000)}


def test_all_parts_that_are_timed_exist() -> None:
    with harness._timers(harness.Clock()):
        assert Packed.take.__name__ == "timed"
    assert Packed.take.__name__ == "take"


def test_time_of_a_generator_is_that_in_which_it_makes_its_items(clock: harness.Clock) -> None:
    """Not that of its caller between two items."""
    items = clock.each("items", lambda: iter([7]))()
    assert next(items) == 7
    assert list(items) == []
    assert clock.costs() == {"items": (2000 + 5000, 6000 + 16000)}


def test_the_rate_of_workers_is_the_sum_while_all_are_at_work() -> None:
    steady = [float(second) for second in range(11)]
    assert workers.rate([steady]) == pytest.approx(1.0)
    half = [2.5, 4.5, 6.5, 8.5]
    assert workers.rate([steady, half]) == pytest.approx(1.0 + 0.5)
    faster_alone = [*steady, *(10 + n / 10 for n in range(1, 11))]
    assert workers.rate([faster_alone, steady]) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="not at work at the same time"):
        workers.rate([[0.0, 1.0], [5.0, 6.0]])


def test_the_rate_does_not_depend_on_records_that_come_at_once() -> None:
    """Four images every eight seconds are half an image per second."""
    bursts = [float(8 * burst) for burst in range(5) for _ in range(4)]
    assert workers.rate([bursts]) == pytest.approx(0.5)


def test_spread_and_ratios() -> None:
    assert timing.spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert str(timing.spread([0.5])) == "0.500 (0.500-0.500)"
    assert timing.ratios([2.0, 6.0], [4.0, 3.0]) == [0.5, 2.0]


def test_every_second_round_goes_backwards_and_the_first_does_not_count() -> None:
    ticks, calls = iter(range(100)), list[str]()
    tasks = {name: lambda name=name: calls.append(name) for name in "ab"}
    found = timing.interleaved(tasks, 2, clock=lambda: float(next(ticks)))
    assert calls == ["b", "a", "a", "b", "b", "a"]
    assert found == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_a_task_apart_has_its_own_process_and_keeps_its_state() -> None:
    with closing(timing.Apart(partial, os.getpid)) as apart:
        assert len({apart(), apart(), os.getpid()}) == 2
    with closing(timing.Apart(partial, random.Random(3).random)) as apart:
        mine = random.Random(3)
        assert [apart() for _ in range(3)] == [mine.random() for _ in range(3)]


def test_the_instructions_are_named_with_and_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "cpu_model", lambda: "chip")
    kind = torch.backends.cpu.get_cpu_capability()
    assert timing.conditions()["device"] == f"chip, {kind}"
    monkeypatch.delitem(sys.modules, "torch")
    found = timing.conditions()
    assert (found["device"], found["threads"]) == (f"chip, {kind}", 1)
    assert "torch" not in sys.modules


def test_a_file_of_rows_is_whole_after_each_row_and_says_where_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    file = timing.RowFile(path, timing.conditions("a card"))
    for value in (1, 2):
        file.add(value=value)
        rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
        assert [row["value"] for row in rows] == [str(n + 1) for n in range(value)]
    assert list(rows[0]) == ["value", *timing.CONDITIONS]
    assert rows[0]["device"] == "a card"
    assert rows[0]["made"].startswith(time.strftime("%Y-", time.gmtime()))


def test_a_fresh_process_is_another_one() -> None:
    assert timing.in_fresh_process(os.getpid) != os.getpid()


def test_a_race_is_counted_beside_the_staged_run_of_its_images() -> None:
    ids = [7, 3, 9, 5]
    race = pd.DataFrame(
        {"image_id": ids, "prediction": [1, 1, 2, 4], "evaluations": [20, 30, 40, 35]}
    )
    race = race.assign(correct=[True, False, True, False], rounds=[2, 3, 4, 3], spent=0.01)
    staged = pd.DataFrame({"image_id": [3, 5, 7, 9, 8], "prediction": [2, 4, 1, 2, 0]})
    staged = staged.assign(correct=[True, False, True, True, True])
    found = racing.row(race, staged)
    assert (found["n"], found["evaluations"], found["share"]) == (4, 31.25, 0.25)
    assert (found["gained"], found["lost"], found["same_decision"]) == (0, 1, 75.0)
    assert (found["acc1"], found["staged_acc1"], found["difference"]) == (50.0, 75.0, -25.0)
    with pytest.raises(ValueError, match="lacks an image"):
        racing.row(race, staged[:2])
