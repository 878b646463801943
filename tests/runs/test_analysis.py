"""Appendix A of finished runs: pairing, weightings, verdicts, and what is left out."""

import math
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.launch.compose import compose_config
from bigain.metrics import Metric
from bigain.metrics.intervals import holm
from bigain.metrics.margins import Estimate, criterion, margin_parts
from bigain.runs.analysis import (
    COLUMNS,
    MarginRow,
    analyse,
    groups_of,
    markdown,
    table,
    tidy,
    with_holm,
)
from bigain.runs.archive import Archive
from bigain.runs.errors import ERRORS, packed
from bigain.runs.files import METRIC_COLUMNS, Evaluation, write_metrics
from bigain.runs.identity import baseline_id, run_id
from bigain.runs.pairing import FinishedRun, read_finished
from bigain.runs.store import RunStore
from bigain.runs.trials import read_trials, scale_of

Make = Callable[..., RunConfig]
MakeRecord = Callable[..., dict[str, Any]]
IDS = list(range(40))


def finished(
    results: Path, config: RunConfig, make_record: MakeRecord, noise: float, trials: int = 4
) -> FinishedRun:
    """A run whose true class leads by 0.2 on average, with more or less noise."""
    with RunStore(results, run_id(config)).open(config, IDS, {}) as session:
        for image_id in IDS:
            record = make_record(image_id)
            draw = np.random.default_rng(image_id)
            errors = 0.5 + noise * draw.normal(size=(trials, 10))
            errors[:, record["label"]] -= 0.2 + 1.6 * noise
            table = errors.astype(np.float32)
            true_errors = table[:, record["label"]].astype(float).tolist()
            steps = list(range(100, 1000, 200))[:trials]
            session.append(
                {**record, "true_errors": true_errors, "first_stage": packed(steps, table)}
            )
        assert session.finish(lambda records: Evaluation(records, []))
    return read_finished(results, run_id(config))


@pytest.fixture
def runs(
    tmp_path: Path, make_config: Make, make_record: MakeRecord, tome: dict[str, Any]
) -> list[FinishedRun]:
    """More noise than the baseline, less of it, and the baseline."""
    louder, quieter = (make_config(operator={**tome, "ratio": ratio}) for ratio in (0.7, 0.5))
    return [
        finished(tmp_path, config, make_record, noise)
        for config, noise in ((louder, 0.12), (quieter, 0.03), (make_config(), 0.06))
    ]


def test_rows_have_the_parts_and_the_criterion_of_both_weightings(
    runs: list[FinishedRun],
) -> None:
    rows, reasons = analyse(runs)
    assert reasons == []
    assert [(row.run, row.weighting) for row in rows] == [
        (run.run_id, weighting) for run in runs for weighting in ("equal", "raw")
    ]
    own, base = read_trials(runs[0]), read_trials(runs[-1])
    by = scale_of(runs[-1])
    assert own is not None
    assert base is not None
    assert by is not None
    for row, spread in zip(rows[:2], (by.scale.spread, None), strict=True):
        left, right = (each.margins(spread).to_numpy() for each in (own, base))
        assert row.found == {**margin_parts(left), **criterion(left, right)}
        assert (row.reference, row.n, row.timesteps) == (runs[-1].run_id, 40, (100, 300, 500, 700))
    assert rows[0].found["mean"].value > 1 > rows[1].found["mean"].value > 0
    assert set(rows[-1].found) == set(margin_parts(np.ones((3, 2)))), "of the reference the parts"


def test_the_verdict_is_that_of_the_ratio(runs: list[FinishedRun]) -> None:
    louder, _, quieter, _, reference, _ = analyse(runs)[0]
    assert (louder.verdict(), quieter.verdict(), reference.verdict()) == ("fails", "holds", "")
    assert louder.found["ratio"].value > reference.found["ratio"].value
    assert quieter.found["ratio"].value < reference.found["ratio"].value
    assert quieter.verdict("_within") == "holds"


ABOVE, BELOW, AROUND = (Estimate(0.1, low, low + 0.2, 0.01) for low in (0.01, -0.3, -0.1))


@pytest.mark.parametrize(
    ("change", "premise", "verdict"),
    [
        (ABOVE, ABOVE, "holds"),
        (ABOVE, AROUND, "not decided"),
        (AROUND, ABOVE, "not decided"),
        (BELOW, ABOVE, "fails"),
        (BELOW, AROUND, "fails"),
    ],
)
def test_a_verdict_needs_the_premise_to_hold_but_not_to_fail(
    change: Estimate, premise: Estimate, verdict: str
) -> None:
    found = {"snr_change": change, "baseline_mean": premise}
    row = MarginRow("a", "b", {}, "tome", "raw", (100, 300), 10, found)
    assert row.verdict() == verdict
    assert row.corrected() == "", "no family"
    assert replace(row, p_holm=0.2).corrected() == "not decided"
    side = replace(row, p_holm=0.01, found=found | {"snr_change": replace(change, value=-1.0)})
    assert side.corrected() == "fails"


def test_all_operators_of_a_weighting_are_a_family(runs: list[FinishedRun]) -> None:
    rows, _ = analyse(runs)
    for weighting in ("equal", "raw"):
        own = [row for row in rows if row.weighting == weighting]
        p_values = [row.found["snr_change"].p for row in own[:-1]]
        assert [row.p_holm for row in own[:-1]] == holm(p_values)
        assert math.isnan(own[-1].p_holm)
    alone = with_holm(rows[:1])
    assert alone[0].p_holm == rows[0].found["snr_change"].p


def test_operators_of_one_title_are_told_apart(
    tmp_path: Path, make_config: Make, make_record: MakeRecord, tome: dict[str, Any]
) -> None:
    scopes = [{**tome, "ratio": 0.7, "scope": scope} for scope in ("self", "self+mlp")]
    configs = [*(make_config(operator=each) for each in scopes), make_config()]
    rows, _ = analyse([finished(tmp_path, config, make_record, 0.1) for config in configs])
    titles = [row.operator for row in rows if row.weighting == "raw"]
    assert titles == ["tome ratio=0.7 scope=self", "tome ratio=0.7 scope=self+mlp", "none"]


def test_an_interval_without_an_end_is_readable(runs: list[FinishedRun]) -> None:
    found = {"ratio": Estimate(9.0, 3.0, math.inf)}
    row = replace(analyse(runs)[0][0], found=found, p_holm=math.nan)
    (record,) = tidy([row])
    assert (record["ci_low"], record["ci_high"], record["p"]) == (3.0, "inf", None)
    assert "| 9 [3, ∞) |" in table([row])


def test_without_errors_a_run_is_left_out_and_said(tmp_path: Path, runs: list[FinishedRun]) -> None:
    (tmp_path / "runs" / runs[0].run_id / ERRORS).unlink()
    rows, reasons = analyse(runs)
    assert {row.run for row in rows} == {run.run_id for run in runs[1:]}
    assert reasons == [f"left out: {runs[0].run_id}: has no errors of all classes"]
    (tmp_path / "runs" / runs[-1].run_id / ERRORS).unlink()
    assert analyse(runs) == ([], [f"left out: {runs[-1].run_id}: has no errors of all classes"])
    rows, reasons = analyse([runs[-1], runs[1]])
    assert {row.weighting for row in rows} == {"raw"}
    scale, left_out = reasons
    assert f"the baseline, run {runs[-1].run_id}, has no errors" in scale
    assert left_out.startswith(f"left out: {runs[-1].run_id}: ")


def test_one_trial_has_no_variance(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    run = finished(tmp_path, make_config(), make_record, 0.1, trials=1)
    assert analyse([run]) == (
        [],
        [f"left out: {run.run_id}: has a single trial, which has no variance"],
    )


def test_all_runs_of_a_profile_are_grouped_by_their_baseline(
    tmp_path: Path,
    runs: list[FinishedRun],
    make_config: Make,
    make_record: MakeRecord,
    tome: dict[str, Any],
    make_generation: Callable[..., RunStore],
    generation: dict[str, Any],
) -> None:
    """Here or published; a run without its baseline, and other tasks, are in no group."""
    lonely = finished(tmp_path, make_config(operator=tome, seed=9), make_record, 0.1)
    make_generation(tmp_path, make_config(task=generation))
    other = finished(tmp_path, make_config(seed=5), make_record, 0.1)
    groups, (left_out,) = groups_of(tmp_path, "mini")
    assert left_out.startswith(f"left out: {lonely.run_id}: ")
    baseline = lonely.manifest["baseline_id"]
    command = left_out.partition(f"the baseline, run {baseline}, was not made; make it: ")[2]
    made = compose_config(shlex.split(command)[3:])
    assert run_id(made) == baseline == baseline_id(lonely.config)
    assert sorted(len(group) for group in groups) == [1, 3]
    (alone,), (*others, last) = sorted(groups, key=len)
    assert (alone.run_id, last.run_id) == (other.run_id, runs[-1].run_id)
    assert {run.run_id for run in others} == {run.run_id for run in runs[:-1]}
    assert groups_of(tmp_path, "paper") == ([], [])
    before = tidy(analyse([*sorted(others, key=lambda run: run.run_id), last])[0])
    for run in (*others, last):
        _publish(tmp_path, run)
    published = next(group for group in groups_of(tmp_path, "mini")[0] if len(group) == 3)
    *others, last = published
    assert tidy(analyse([*sorted(others, key=lambda run: run.run_id), last])[0]) == before


def _publish(results: Path, run: FinishedRun) -> None:
    metric = Metric("acc1", 50.0, 40, 40.0, 60.0, "percent")
    row = {**run.manifest["columns"], **asdict(metric)}
    folder = results / "runs" / run.run_id
    write_metrics(folder, [{name: row[name] for name in METRIC_COLUMNS}])
    Archive(results, "mini").publish([run.run_id])
    shutil.rmtree(folder)


def test_tables_and_records_have_the_same_numbers(runs: list[FinishedRun]) -> None:
    rows, _ = analyse(runs)
    text, records = markdown(rows), tidy(rows)
    assert text.count("| operator |") == 2, "one for each weighting"
    assert all(tuple(record) == COLUMNS for record in records)
    first = records[0]
    assert (first["quantity"], first["weighting"], first["n"]) == ("mean", "equal", 40)
    line = next(line for line in text.splitlines() if line.startswith("| tome ratio=0.7"))
    assert f"| {first['value']:.3g} [{first['ci_low']:.3g}, {first['ci_high']:.3g}] |" in line
    assert line.endswith("| fails | fails | fails |")
    none = next(line for line in text.splitlines() if line.startswith("| none"))
    assert none.endswith("| — | — |  |  |  |  |  |")
