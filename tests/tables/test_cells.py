import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.metrics import Metric, classification_metrics, paired_accuracy, wilson
from bigain.runs.collect import refresh
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore
from bigain.tables.cells import cell_pairs, measure, run_metrics
from bigain.tables.planner import NONE, CellKey, Place, Plan, PlannedRun
from bigain.tables.quantities import TO_NONE
from bigain.tables.render import load_spec
from bigain.tables.sources import Sources

MakePlan = Callable[..., Plan]
FakeRunner = Callable[[RunConfig], None]

PLACE = Place("mini_unet", "fashion_mnist", "classification")
SAMPLES = PLACE._replace(work="generation")


def frame(correct: list[int], errors: list[float], first: int = 0) -> pd.DataFrame:
    n = len(correct)
    return pd.DataFrame(
        {
            "position": range(n),
            "image_id": range(first, first + n),
            "correct": [bool(c) for c in correct],
            "true_errors": [[e, e + 0.2] for e in errors],
            "margin_mean": np.linspace(0.01, 0.03, n),
            "margin_variance": np.linspace(0.1, 0.2, n),
        }
    )


ALONE = {"acc1", "eps_error"}
NONE_RUN = frame([1, 1, 1, 0], [0.1, 0.2, 0.3, 0.4])
TOME = frame([1, 0, 1, 0], [0.2, 0.4, 0.3, 0.5])


def metrics_of(run: pd.DataFrame, none: pd.DataFrame | None = None) -> dict[str, Metric]:
    stated = {each.metric: each for each in classification_metrics(run)}
    return run_metrics("classification", (run, stated), None if none is None else (none, {}))


def test_accuracy_has_a_wilson_interval_and_n() -> None:
    acc1 = metrics_of(NONE_RUN)["acc1"]
    low, high = wilson(3, 4)
    assert (acc1.value, acc1.n) == (75.0, 4)
    assert (acc1.ci_low, acc1.ci_high) == pytest.approx((100 * low, 100 * high))


def test_without_a_baseline_nothing_is_compared() -> None:
    assert set(metrics_of(TOME)) == ALONE


def test_the_difference_to_the_baseline_is_in_points_and_the_loss_its_mirror_image() -> None:
    metrics = metrics_of(TOME, NONE_RUN)
    difference, drop = metrics[TO_NONE], metrics["acc1_drop"]
    expected = paired_accuracy(*(f.set_index("image_id")["correct"] for f in (TOME, NONE_RUN)))
    assert (difference.value, difference.n, difference.unit) == (-25.0, 4, "points")
    assert difference.ci_low == pytest.approx(100 * expected.ci_low)
    assert (drop.value, drop.ci_low, drop.ci_high) == pytest.approx(
        (25.0, -difference.ci_high, -difference.ci_low)
    )


def test_the_rise_is_relative_to_the_mean_error_without_acceleration() -> None:
    rise = metrics_of(TOME, NONE_RUN)["eps_error_rise"]
    assert rise.value == pytest.approx(100 * (0.35 - 0.25) / 0.35)
    assert rise.ci_low < rise.value < rise.ci_high


def test_margins_over_all_wrong_classes_are_not_taken() -> None:
    stated = {each.metric for each in classification_metrics(TOME)}
    assert {"margin_mean", "margin_variance"} <= stated
    assert not [name for name in metrics_of(TOME, NONE_RUN) if "margin" in name]


def test_what_other_tasks_state_is_taken_as_it_is() -> None:
    fid = Metric("fid", 30.0, 100, 29.0, 31.0, "feature^2")
    samples = pd.DataFrame({"image_id": [0, 1], "frechet_value": [1.0, 2.0]})
    found = run_metrics("generation", (samples, {"fid": fid}), (samples, {"fid": fid}))
    assert found == {"fid": fid}


def test_the_share_of_time_that_is_saved_follows_from_the_speed_up() -> None:
    speedup = Metric("speedup", 1.25, 5, 1.0, 2.0, "ratio")
    saved = run_metrics("time", (pd.DataFrame(), {"speedup": speedup}), None)[
        "acceleration_percent"
    ]
    assert (saved.value, saved.ci_low, saved.ci_high) == pytest.approx((20.0, 0.0, 50.0))
    assert (saved.n, saved.unit) == (5, "percent")
    nothing = Metric("time_ms_per_step", 8.0, 5, 7.0, 9.0, "ms")
    assert set(run_metrics("time", (pd.DataFrame(), {nothing.metric: nothing}), None)) == {
        "time_ms_per_step"
    }


def test_nothing_measured(make_plan: MakePlan, tmp_path: Path) -> None:
    measured = measure(make_plan(12), tmp_path)
    assert not measured.runs
    assert not measured.deltas


def test_cells_of_a_table(make_plan: MakePlan, runner: FakeRunner, tmp_path: Path) -> None:
    """A cell without a run is absent; a comparison needs both of its rows."""
    wanted = {("none", ""), ("tome", "ratio=0.3"), ("tome", "ratio=0.7"), ("lgtm", "ratio=0.7")}
    for cell, run in make_plan(4).runs.items():
        if cell.place == PLACE and (cell.row, cell.column) in wanted:
            runner(run.config)
    measured = measure(make_plan(4), tmp_path)
    assert {cell[1:] for cell in measured.runs} == wanted
    tome, lgtm = (CellKey(PLACE, row, "ratio=0.7") for row in ("tome", "lgtm"))
    assert set(measured.deltas) == {(tome, lgtm), (lgtm, tome)}
    one, other = (measured.deltas[pair]["acc1"].metric for pair in ((lgtm, tome), (tome, lgtm)))
    assert one.value == -other.value
    values = [measured.runs[cell]["acc1"].value for cell in (lgtm, tome)]
    assert one.value == pytest.approx(values[0] - values[1])
    assert not math.isnan(measured.deltas[lgtm, tome]["acc1"].p)
    assert math.isnan(measured.deltas[lgtm, tome]["eps_error"].p), "nothing is paired here"
    assert TO_NONE not in measured.runs[CellKey(PLACE, NONE)]
    assert "eps_error_rise" not in measured.runs[CellKey(PLACE, NONE)]


def test_without_the_baseline_only_values(
    make_plan: MakePlan, runner: FakeRunner, tmp_path: Path
) -> None:
    runner(make_plan(4).runs[CellKey(PLACE, "tome", "ratio=0.3")].config)
    (metrics,) = measure(make_plan(4), tmp_path).runs.values()
    assert set(metrics) == ALONE


def test_every_work_has_its_own_numbers(make_sources: Callable[..., Sources]) -> None:
    generated = make_sources(16).measured
    assert {name for metrics in generated.runs.values() for name in metrics} == {
        "frechet_mini",
        "class_agreement",
    }
    rising, todo = (CellKey(SAMPLES, row, "") for row in ("rising", "todo"))
    found = generated.deltas[rising, todo]
    assert not math.isnan(found["frechet_mini"].p)
    assert not math.isnan(found["class_agreement"].p)
    assert found["frechet_mini"].metric.value == pytest.approx(
        generated.runs[rising]["frechet_mini"].value - generated.runs[todo]["frechet_mini"].value
    )
    timed = make_sources(18).measured
    flops = timed.runs[CellKey(Place("sd20", "", "flops"), "tome")]
    assert set(flops) == {"flops_g", "flops_saved_percent"}
    times = timed.runs[CellKey(Place("mini_unet", "", "time"), "tome")]
    assert {"time_ms_per_step", "speedup", "acceleration_percent"} <= set(times)


def test_which_cells_are_compared() -> None:
    """Rows of a column; where the table compares columns, the columns of a row."""

    def pairs(number: int, keys: list[CellKey]) -> set[tuple[CellKey, CellKey]]:
        runs = dict.fromkeys(keys)
        plan = Plan(load_spec(number), "mini", "default", (), runs)  # type: ignore[arg-type]
        return set(cell_pairs(plan, runs))

    a, b = (CellKey(PLACE, row, "ratio=0.3") for row in ("tome", "lgtm"))
    other = CellKey(PLACE, "tome", "ratio=0.5")
    assert pairs(4, [a, b, other]) == {(a, b), (b, a)}
    a, b = (CellKey(PLACE, "factor2", column) for column in ("alpha=0", "alpha=0.9"))
    other = CellKey(PLACE, "factor4", "alpha=0")
    assert pairs(15, [a, b, other]) == {(a, b), (b, a)}


def shorten(results: Path, run_id: str) -> None:
    path = results / "runs" / run_id / "samples.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def accelerated(plan: Plan) -> list[PlannedRun]:
    return [run for run in plan.distinct() if run.config.operator.name != "none"]


def test_runs_over_other_images_are_not_compared(
    make_plan: MakePlan, runner: FakeRunner, tmp_path: Path
) -> None:
    """The message names both files, and how many images each has."""
    first, second = accelerated(make_plan(12))[:2]
    for run in (first, second):
        runner(run.config)
    shorten(tmp_path, second.run_id)
    refresh(RunStore(tmp_path, second.run_id), tmp_path)
    one, other = (rf"{run.run_id}/samples\.csv \({n}\)" for run, n in ((first, 30), (second, 29)))
    with pytest.raises(
        UserError, match=rf"{one} and .*{other}: do not cover the same images of fashion_m"
    ):
        measure(make_plan(12), tmp_path)


def test_columns_of_other_images_are_each_compared_with_their_own(
    make_plan: MakePlan, runner: FakeRunner, tmp_path: Path
) -> None:
    """Table 14 has two numbers of images; here 30 and 40."""
    plan = make_plan(14, extra=[])
    runs = {}
    for cell, run in plan.runs.items():
        limit = 40 if cell.column == "large" else 30
        dataset = run.config.dataset.model_copy(update={"limit": limit})
        config = run.config.model_copy(update={"dataset": dataset})
        runs[cell] = replace(run, config=config, run_id=rerun(config, runner))
    measured = measure(replace(plan, runs=runs), tmp_path)
    counts = {(cell.row, cell.column): each["acc1"].n for cell, each in measured.runs.items()}
    assert counts["tome", "small"] == counts["none", ""] == 30
    assert counts["tome", "large"] == counts["none", "large"] == 40
    assert measured.runs[CellKey(PLACE, "tome", "large")][TO_NONE].n == 40
    assert all(pair[0].column == pair[1].column for pair in measured.deltas)


def rerun(config: RunConfig, runner: FakeRunner) -> str:
    if not (config.paths.results / "runs" / run_id(config)).exists():
        runner(config)
    return run_id(config)
