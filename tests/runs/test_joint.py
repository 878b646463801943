"""Both tasks of one operator meet in one row, whatever order the runs were made in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.metrics import Metric
from bigain.runs.identity import run_id
from bigain.runs.joint import joint_rows
from bigain.runs.joint_runs import JOINT_METRICS, finished_runs
from bigain.runs.store import RunStore
from bigain.runs.summary import conclusion_of

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]
GENERATION = {
    "name": "generation",
    "sampler": "ddim",
    "steps": 5,
    "guidance_scale": 2.0,
    "images_per_forward": 8,
    "image_format": "png",
    "extractor": "mini",
    "extractor_weights": None,
    "reference": "split",
}
EFFICIENCY = {"name": "efficiency", "measure": "flops", "steps": 1, "repeats": 1, "warmup": 0}


def judged(results: Path, config: RunConfig, **values: float) -> RunStore:
    """A finished run whose metrics are given."""
    n = config.dataset.limit or 50
    store = RunStore(results, run_id(config))
    metrics = [Metric(name, value, n, value - 1, value + 1, "x") for name, value in values.items()]
    with store.open(config, list(range(n)), {}) as session:
        for image_id in session.todo():
            session.append({"image_id": image_id, "sha256": "0", "frechet_value": 1.0})
        session.finish(conclusion_of(config, results, lambda records: (records, metrics)))
    return store


def test_the_tasks_of_an_operator_are_one_row(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    judged(tmp_path, make_config(operator=tome, task=GENERATION), frechet_mini=5.0, recall=0.5)
    make_run(tmp_path, make_config(operator=tome), rise=0.1)
    make_run(tmp_path, make_config())
    judged(tmp_path, make_config(operator=tome, task=EFFICIENCY), flops_g=0.25, speedup=2.0)
    (bare, merged), left_out = joint_rows(finished_runs(tmp_path))
    assert left_out == []
    assert (bare.operator, merged.operator) == ("none", "tome ratio=0.7 cell=[2,2] random=true")
    assert set(bare.metrics) == {"acc1"}
    assert {"acc1", "frechet_mini", "recall", "flops_g"} <= set(merged.metrics)
    assert set(merged.metrics) <= set(JOINT_METRICS)
    assert merged.metrics["frechet_mini"].value == 5.0
    assert merged.metrics["flops_g"].value == 0.25


def test_the_larger_run_counts(tmp_path: Path, make_config: Make, tome: dict[str, Any]) -> None:
    for limit, value in ((20, 2.0), (30, 3.0), (10, 1.0)):
        config = make_config(operator=tome, task=GENERATION, dataset__limit=limit)
        judged(tmp_path, config, frechet_mini=value)
    ((row,), _) = joint_rows(finished_runs(tmp_path))
    assert (row.metrics["frechet_mini"].value, row.metrics["frechet_mini"].n) == (3.0, 30)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"operator__ratio": 0.5}])
def test_what_differs_has_a_row_of_its_own(
    tmp_path: Path, make_config: Make, tome: dict[str, Any], changes: dict[str, Any]
) -> None:
    judged(tmp_path, make_config(operator=tome, task=GENERATION), frechet_mini=1.0)
    judged(tmp_path, make_config(operator=tome, task=GENERATION, **changes), frechet_mini=2.0)
    assert len(joint_rows(finished_runs(tmp_path))[0]) == 2


def test_rows_are_of_one_guidance_and_the_others_are_named(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    judged(tmp_path, make_config(task=GENERATION), frechet_mini=9.0)
    other = {**GENERATION, "guidance_scale": 6.0}
    odd = judged(tmp_path, make_config(task=other), frechet_mini=6.0)
    judged(tmp_path, make_config(operator=tome, task=GENERATION), frechet_mini=10.0)
    rows, left_out = joint_rows(finished_runs(tmp_path))
    assert [row.metrics["frechet_mini"].value for row in rows] == [9.0, 10.0]
    assert left_out == [odd.run_id]


def test_all_metrics_of_a_row_and_task_are_of_one_run(tmp_path: Path, make_config: Make) -> None:
    """Recall counts real images, so its n does not tell a large run from a small one."""
    for limit, value in ((12, 0.6), (6, 0.5)):
        config = make_config(task=GENERATION, dataset__limit=limit)
        judged(tmp_path, config, frechet_mini=value, recall=value)
    ((row,), _) = joint_rows(finished_runs(tmp_path))
    assert (row.metrics["frechet_mini"].value, row.metrics["recall"].value) == (0.6, 0.6)


def test_a_cost_alone_is_no_row(tmp_path: Path, make_config: Make, tome: dict[str, Any]) -> None:
    judged(tmp_path, make_config(operator=tome, task=EFFICIENCY), flops_g=0.25)
    assert joint_rows(finished_runs(tmp_path)) == ([], [])


def test_unfinished_and_damaged_runs_are_left_out(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    config = make_config()
    with RunStore(tmp_path, run_id(config)).open(config, [1, 2], {}):
        pass
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "manifest.json").write_text("{")
    assert joint_rows(finished_runs(tmp_path)) == ([], [])
