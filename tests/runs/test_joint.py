"""Both tasks of one operator meet in one row, whatever order the runs were made in."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.metrics import Metric
from bigain.runs.archive import Archive
from bigain.runs.files import Evaluation
from bigain.runs.identity import run_id
from bigain.runs.joint import JOINT_METRICS, JointRun, JointView, joint_runs, joint_view
from bigain.runs.joint_settings import compared_settings
from bigain.runs.store import RunStore

NONE = {"name": "none", "_target_": "bigain.operators.Identity"}

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


SITES = {"stages": ["encoder", "decoder"], "levels": [0], "blocks": None}
DEFAULTS: dict[str, Any] = {
    "operator": {
        "_target_": "bigain.operators.ToMe",
        "name": "tome",
        "ratio": 0.7,
        "cell": [2, 2],
        "random": True,
        "scope": "self",
    },
    "backbone": {"sites": SITES},
}


def usual(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Defaults that are the same in all tasks."""
    return DEFAULTS if config["operator"]["name"] == "tome" else {}


def view_of(results: Path) -> JointView:
    return joint_view(joint_runs(results, usual))


def finished(results: Path, config: RunConfig, **values: float) -> RunStore:
    """A finished run whose metrics are given."""
    n = config.dataset.limit or 50
    store = RunStore(results, run_id(config))
    metrics = [Metric(name, value, n, value - 1, value + 1, "x") for name, value in values.items()]
    with store.open(config, list(range(n)), {}) as session:
        for image_id in session.todo():
            session.append({"image_id": image_id, "sha256": "0", "frechet_value": 1.0})
        session.finish(lambda records: Evaluation(records, metrics))
    return store


def test_the_tasks_of_an_operator_are_one_row(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    finished(tmp_path, make_config(operator=tome, task=GENERATION), frechet_mini=5.0, recall=0.5)
    make_run(tmp_path, make_config(operator=tome), rise=0.1)
    make_run(tmp_path, make_config())
    finished(tmp_path, make_config(operator=tome, task=EFFICIENCY), flops_g=0.25, speedup=2.0)
    view = view_of(tmp_path)
    bare, merged = view.rows
    assert (view.other_settings, view.other_images) == ([], [])
    assert (bare.operator, merged.operator) == ("none", "tome")
    assert set(bare.metrics) == {"acc1"}
    assert {"acc1", "frechet_mini", "recall", "flops_g"} <= set(merged.metrics)
    assert set(merged.metrics) <= set(JOINT_METRICS)
    assert merged.metrics["frechet_mini"].value == 5.0
    assert merged.metrics["flops_g"].value == 0.25


def test_of_equally_many_the_larger_runs_count(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    for limit, value in ((20, 2.0), (30, 3.0), (10, 1.0)):
        config = make_config(operator=tome, task=GENERATION, dataset__limit=limit)
        finished(tmp_path, config, frechet_mini=value)
    (row,) = view_of(tmp_path).rows
    assert (row.metrics["frechet_mini"].value, row.metrics["frechet_mini"].n) == (3.0, 30)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"operator__ratio": 0.5}])
def test_what_differs_has_a_row_of_its_own(
    tmp_path: Path, make_config: Make, tome: dict[str, Any], changes: dict[str, Any]
) -> None:
    finished(tmp_path, make_config(operator=tome, task=GENERATION), frechet_mini=1.0)
    finished(tmp_path, make_config(operator=tome, task=GENERATION, **changes), frechet_mini=2.0)
    assert len(view_of(tmp_path).rows) == 2


def test_the_settings_that_differ_from_the_defaults_are_named(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    config = make_config(operator={**tome, "ratio": 0.5, "random": False}, task=GENERATION)
    blocks = config.backbone.model_copy(
        update={"sites": config.backbone.sites.model_copy(update={"blocks": (0,)})}
    )
    finished(tmp_path, config, frechet_mini=1.0)
    finished(tmp_path, config.model_copy(update={"backbone": blocks}), frechet_mini=2.0)
    wider = make_config(operator={**tome, "scope": "self+mlp"}, task=GENERATION)
    finished(tmp_path, wider, frechet_mini=3.0)
    schedule: dict[str, Any] = {"name": "ie_kvd", "factor": 2, "alpha": {"start": 0.8, "end": 1.2}}
    schedule |= {"align": "reference", "skip_final_step": False, "scope": "self"}
    schedule |= {"_target_": "bigain.operators.IEKVD"}
    finished(tmp_path, make_config(operator=schedule, task=GENERATION), frechet_mini=4.0)
    schedule |= {"factor": 4, "alpha": 1.0}
    finished(tmp_path, make_config(operator=schedule, task=GENERATION), frechet_mini=4.0)
    names = sorted(row.operator for row in view_of(tmp_path).rows)
    assert names == [
        "ie_kvd factor=2 alpha=0.8->1.2",
        "ie_kvd factor=4 alpha=1.0",
        "tome ratio=0.5 random=false",
        'tome ratio=0.5 random=false sites={"stages":["encoder","decoder"],"levels":[0],'
        '"blocks":[0]}',
        "tome scope=self+mlp",
    ]


def test_batch_sizes_have_rows_of_their_own_if_draws_depend_on_them(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    for draws in ("paired", "per_forward"):
        for size in (16, 32):
            config = make_config(operator={**tome, "draws": draws}, batch_size=size)
            if not RunStore(tmp_path, run_id(config)).is_finished():
                make_run(tmp_path, config)
    names = sorted(row.operator for row in view_of(tmp_path).rows)
    assert [name.replace("draws=paired", "").strip() for name in names] == [
        "tome",
        "tome draws=per_forward batch_size=16",
        "tome draws=per_forward batch_size=32",
    ]


def test_rows_are_of_one_guidance_and_the_others_are_named(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    finished(tmp_path, make_config(task=GENERATION), frechet_mini=9.0)
    other = {**GENERATION, "guidance_scale": 6.0}
    odd = finished(tmp_path, make_config(task=other), frechet_mini=6.0)
    finished(tmp_path, make_config(operator=tome, task=GENERATION), frechet_mini=10.0)
    view = view_of(tmp_path)
    assert [row.metrics["frechet_mini"].value for row in view.rows] == [9.0, 10.0]
    assert (view.other_settings, view.other_images) == ([odd.run_id], [])


def test_rows_are_of_the_number_of_images_that_most_operators_have(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    """A larger run of the baseline alone does not stand above smaller ones of the operators."""
    half = {**tome, "ratio": 0.5}
    for operator, limit in ((NONE, 30), (NONE, 20), (tome, 20), (half, 10)):
        config = make_config(operator=operator, task=GENERATION, dataset__limit=limit)
        last = finished(tmp_path, config, frechet_mini=limit / 10)
    view = view_of(tmp_path)
    assert [row.operator.split()[0] for row in view.rows] == ["none", "tome"]
    assert [row.metrics["frechet_mini"].value for row in view.rows] == [2.0, 2.0]
    assert [row.images for row in view.rows] == [{"generation": 20}] * 2
    assert view.other_images == [last.run_id], "the baseline's other run is of a row that is shown"


def test_a_first_look_at_many_operators_does_not_displace_real_runs(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    first = []
    for ratio in (0.3, 0.4, 0.5, 0.6, 0.7):
        config = make_config(operator={**tome, "ratio": ratio}, task=GENERATION, dataset__limit=2)
        first.append(finished(tmp_path, config, frechet_mini=0.2).run_id)
    for operator in (NONE, tome):
        config = make_config(operator=operator, task=GENERATION, dataset__limit=40)
        finished(tmp_path, config, frechet_mini=4.0)
    view = view_of(tmp_path)
    assert [row.images for row in view.rows] == [{"generation": 40}] * 2
    assert set(view.other_images) < set(first), "ToMe at 0.7 has a row, with its larger run"


def test_defaults_that_depend_on_the_task_share_a_row(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    """0.5 is the default in generation; by hand it is given in classification too."""
    half = {**tome, "ratio": 0.5}
    defaults = {"classification": 0.7, "efficiency": 0.7, "generation": 0.5}

    def by_task(config: Mapping[str, Any]) -> dict[str, Any]:
        ratio = defaults[config["task"]["name"]]
        return {**DEFAULTS, "operator": {**DEFAULTS["operator"], "ratio": ratio}}

    make_run(tmp_path, make_config(operator=tome), rise=0.1)
    finished(tmp_path, make_config(operator=half, task=GENERATION), frechet_mini=5.0)
    finished(tmp_path, make_config(operator=tome, task=EFFICIENCY), flops_g=0.25)
    (row,) = joint_view(joint_runs(tmp_path, by_task)).rows
    assert row.operator == "tome"
    assert {"acc1", "frechet_mini", "flops_g"} <= set(row.metrics)
    make_run(tmp_path, make_config(operator=half))
    row, by_hand = joint_view(joint_runs(tmp_path, by_task)).rows
    assert (row.operator, by_hand.operator) == ("tome", "tome ratio=0.5")
    for each in (by_hand, row):
        assert {"acc1", "frechet_mini"} <= set(each.metrics)
    assert by_hand.metrics["acc1"] != row.metrics["acc1"]
    assert "flops_g" not in by_hand.metrics, "which is of 0.7"


def test_all_metrics_of_a_row_and_task_are_of_one_run(tmp_path: Path, make_config: Make) -> None:
    """Recall counts real images, so its n does not tell a large run from a small one."""
    for limit, value in ((12, 0.6), (6, 0.5)):
        config = make_config(task=GENERATION, dataset__limit=limit)
        finished(tmp_path, config, frechet_mini=value, recall=value)
    (row,) = view_of(tmp_path).rows
    assert (row.metrics["frechet_mini"].value, row.metrics["recall"].value) == (0.6, 0.6)


def test_without_known_defaults_only_what_differs_between_runs_is_shown(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    for ratio in (0.5, 0.7):
        config = make_config(operator={**tome, "ratio": ratio})
        make_run(tmp_path, config, rise=0.1)
        cost = make_config(operator={**tome, "ratio": ratio}, task=EFFICIENCY)
        finished(tmp_path, cost, flops_g=ratio)
    rows = joint_view(joint_runs(tmp_path, lambda _: {})).rows
    assert [row.operator for row in rows] == ["tome ratio=0.5", "tome ratio=0.7"]
    assert [row.metrics["flops_g"].value for row in rows] == [0.5, 0.7]
    (tmp_path / "one").mkdir()
    make_run(tmp_path / "one", make_config(operator=tome), rise=0.1)
    (row,) = joint_view(joint_runs(tmp_path / "one", lambda _: {})).rows
    assert row.operator == "tome"


def test_a_cost_alone_is_no_row(tmp_path: Path, make_config: Make, tome: dict[str, Any]) -> None:
    finished(tmp_path, make_config(operator=tome, task=EFFICIENCY), flops_g=0.25)
    assert view_of(tmp_path) == JointView([], [], [])


def test_unfinished_and_damaged_runs_are_left_out(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    config = make_config()
    with RunStore(tmp_path, run_id(config)).open(config, [1, 2], {}):
        pass
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "manifest.json").write_text("{")
    assert view_of(tmp_path) == JointView([], [], [])


def test_published_runs_are_shown_as_they_were_in_their_folders(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    names = [
        make_run(tmp_path, make_config(operator={**tome, "random": False})).run_id,
        make_run(tmp_path, make_config()).run_id,
    ]
    before = view_of(tmp_path)
    Archive(tmp_path, "mini").publish(names)
    assert view_of(tmp_path) == before, "a run with a folder is read once"
    shutil.rmtree(tmp_path / "runs")
    after = view_of(tmp_path)
    assert [row.metrics for row in after.rows] == [row.metrics for row in before.rows]
    assert [row.operator for row in after.rows] == ["none", "tome random=false"]
    assert [row.images for row in after.rows] == [{"classification": 20}] * 2
    Archive(tmp_path, "mini").published_manifest_path(names[0]).unlink()
    assert [row.operator for row in view_of(tmp_path).rows] == ["none"], "only collected"


def test_races_of_two_operators_are_done_alike() -> None:
    """Each operator has a calibration of its own; another z is another way to do the task."""

    def of(trials: Sequence[int] = (5, 20), **race: object) -> str:
        lists = {"trial_list": trials, "keep_list": [5, 1]}
        task = {"name": "classification", "allocation": "racing", "race": race, **lists}
        return JointRun("a", {"task": task, "dtype": "float32"}, 1, {}, {}).task_settings

    assert of(z=2.54, calibration="a") == of(z=2.54, calibration="b")
    assert of(z=2.54, calibration="a") != of(z=3, calibration="a")
    assert of(z=2.54) == of([10, 20], z=2.54) != of([5, 10], z=2.54)


def test_an_operator_that_acts_in_all_blocks_has_no_sites() -> None:
    calibrated = {"name": "dip_go", "target": 0.1, "calibration": "0"}
    for operator, keys in ((calibrated, {"target", "calibration"}), ({"name": "none"}, set())):
        found = compared_settings({"operator": operator, "backbone": {"sites": SITES}})
        assert set(found) == keys
