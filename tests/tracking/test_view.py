from pathlib import Path
from typing import Any

import pytest

from bigain.launch.compose import compose_config
from bigain.metrics import HIGHER_IS_BETTER, wilson
from bigain.runs.archive import Archive
from bigain.runs.flops import keep_flops, known_flops
from bigain.runs.identity import resolved, run_id
from bigain.tracking.view import Progress, View, history, summary, with_flops

RESULTS = Path(__file__).parents[2] / "results"


def test_a_view_names_the_run_and_no_place(tmp_path: Path) -> None:
    settings = ["operator=lgtm", "operator.ratio=0.7", f"paths.results={tmp_path}"]
    config = compose_config([*settings, f"paths.cache={tmp_path}", f"dataset.root={tmp_path}"])
    view = View.of(run_id(config), resolved(config), "a sweep", ["mine", "lgtm"])
    assert view.run_id == run_id(config)
    assert (view.name, view.job_type, view.group) == (config.title, "classification", "a sweep")
    assert view.tags == ("mini_dit", "fashion_mnist", "lgtm", "mine")
    assert view.config["operator"]["ratio"] == 0.7
    assert str(tmp_path) not in str(view)


def test_every_published_run_has_a_view() -> None:
    archive = Archive(RESULTS, "mini")
    for name in archive.run_ids():
        manifest = archive.manifest(name)
        assert manifest is not None
        view = View.of(name, manifest["config"])
        assert view.name.startswith(f"{manifest['columns']['backbone']} ")


def test_metrics_are_shown_with_interval_and_n() -> None:
    row: dict[str, Any] = {"metric": "acc1", "value": 80.0, "n": 400, "ci_low": 75.8}
    rows = [{**row, "ci_high": 83.6}, {**row, "metric": "flops_g", "ci_low": None, "ci_high": None}]
    assert summary(rows) == {
        **{"acc1": 80.0, "acc1_low": 75.8, "acc1_high": 83.6, "acc1_n": 400},
        **{"flops_g": 80.0, "flops_g_n": 400},
    }


def test_flops_are_those_of_one_evaluation_and_a_measured_count_stays(tmp_path: Path) -> None:
    config = compose_config(["operator=lgtm", "operator.ratio=0.7", f"paths.cache={tmp_path}"])
    accuracy = {"metric": "acc1", "value": 80.0}
    (same, row) = with_flops([accuracy], resolved(config))
    assert same == accuracy
    assert row["value"] == pytest.approx(known_flops(config) / 1e9)  # type: ignore[operator]
    measured = {"metric": "flops_g", "value": 1.0}
    assert with_flops([measured], resolved(config)) == [measured]
    other = compose_config(["operator=lgtm", "operator.ratio=0.41", f"paths.cache={tmp_path}"])
    assert with_flops([accuracy], resolved(other)) == [accuracy]
    keep_flops(other, tmp_path, 5 * 10**9)
    assert with_flops([accuracy], resolved(other))[1]["value"] == 5


def test_the_running_accuracy_is_that_of_all_records_so_far() -> None:
    before: list[dict[str, Any]] = [{"correct": True}, {"correct": False}, {"correct": False}]
    progress = Progress("classification", before)
    point = progress.add({"correct": True})
    low, high = wilson(2, 4)
    assert point == pytest.approx(
        {"running_acc1": 50, "running_acc1_low": 100 * low, "running_acc1_high": 100 * high}
    )
    assert progress.add({"correct": False})["running_acc1"] == pytest.approx(40)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 1), (199, 199), (200, 200), (201, 101), (399, 200), (1001, 167)]
)
def test_a_history_has_at_most_so_many_points(count: int, expected: int) -> None:
    steps = [step for step, _ in history([{"correct": True}] * count, "classification", 200)]
    assert (len(steps), steps[-1]) == (expected, count)


def test_a_history_ends_with_the_whole_run_and_no_step_is_there_twice() -> None:
    records = [{"correct": at % 3 == 0} for at in range(1001)]
    points = history(records, "classification", points=50)
    steps = [step for step, _ in points]
    assert steps == sorted(set(steps))
    step, last = points[-1]
    assert step == 1001
    assert last["running_acc1"] == pytest.approx(100 * 334 / 1001)


def test_the_task_alone_says_what_a_history_counts() -> None:
    """Evaluated records of generated mini images have `correct` too: whether the class agrees."""
    agreed: dict[str, Any] = {"correct": True, "label": 1, "prediction": 1}
    assert history([agreed] * 2, "generation") == [(1, {"generated": 1}), (2, {"generated": 2})]
    assert history([{"measure": "flops"}] * 2, "efficiency") == []


def test_throughput_is_that_of_computing_alone_and_unknown_without_times() -> None:
    progress = Progress("classification", [{"correct": True, "seconds": 100.0}])
    progress.add({"correct": True})
    assert progress.rate() == {}
    progress = Progress("classification", [{"correct": True, "seconds": 100.0}])
    progress.add({"correct": True, "seconds": 0.5})
    progress.add({"correct": True, "seconds": 1.5})
    assert progress.rate() == {"images_per_s": pytest.approx(1.0)}


def test_a_metric_and_its_opposite_have_opposite_directions() -> None:
    assert HIGHER_IS_BETTER["acc1"]
    assert not HIGHER_IS_BETTER["eps_error"]
    assert not HIGHER_IS_BETTER["fid"]
