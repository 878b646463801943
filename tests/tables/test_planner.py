from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.compose import compose_config, compose_configs
from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.identity import run_id
from bigain.tables.planner import NONE, Plan, plan_table, setting_name
from bigain.tables.spec import load_spec

MakePlan = Callable[..., Plan]
FakeRunner = Callable[[RunConfig], None]

DATASET = "fashion_mnist"


@pytest.mark.parametrize(
    ("number", "grid", "runs"),
    [
        (2, "default", 1 + 3 * 3),
        (3, "default", 1 + 3 * 3),
        (4, "default", 1 + 2 * 3),
        (5, "default", 1 + 2 * 3),
        (2, "full", 1 + 3 * 7),
        (3, "full", 1 + 5 * 4),
        (4, "full", 1 + 2 * 7),
        (5, "full", 1 + 2 * 7),
    ],
)
def test_one_run_per_cell_and_one_without_acceleration(
    make_plan: MakePlan, number: int, grid: str, runs: int
) -> None:
    plan = make_plan(number, "mini", grid)
    assert len(plan.distinct()) == len({run.run_id for run in plan.runs.values()}) == runs
    assert plan.missing() == plan.distinct()


def test_tables_of_one_backbone_share_the_run_without_acceleration(make_plan: MakePlan) -> None:
    first = {number: make_plan(number).distinct()[0] for number in (2, 3, 4, 5)}
    assert {run.config.operator.name for run in first.values()} == {NONE}
    assert first[2].run_id == first[4].run_id != first[3].run_id == first[5].run_id


def test_a_cell_is_the_run_that_its_command_makes(make_plan: MakePlan) -> None:
    plan = make_plan(4)
    run = plan.runs[DATASET, "lgtm", "ratio=0.7"]
    assert run.config.operator.settings()["ratio"] == 0.7
    assert run.config.backbone.name == "mini_unet"
    start = (
        "python -m bigain backbone=mini_unet dataset=fashion_mnist task=classification "
        "operator=lgtm operator.ratio=0.7 dataset.limit=30 paths.results="
    )
    assert run.command.startswith(start)
    assert run_id(compose_config(run.command.split()[3:])) == run.run_id


@pytest.mark.parametrize(("number", "alpha"), [(2, 0.9), (3, 0.0)])
def test_alpha_of_ie_kvd(make_plan: MakePlan, number: int, alpha: float) -> None:
    run = make_plan(number).runs[DATASET, "ie_kvd", "factor=3"]
    assert run.config.operator.settings()["alpha"] == alpha
    assert f"operator.alpha={alpha}" in run.overrides


def test_cost_is_images_times_the_protocol(make_plan: MakePlan) -> None:
    """10 classes, trials [5, 20], kept [5, 1]: 10 x 5 + 5 x 15 = 125 evaluations per image."""
    run = make_plan(4).distinct()[0]
    assert run.evaluations_per_image == 125
    assert run.evaluations == 30 * 125
    shorter = make_plan(4, extra=["task.trial_list=[2,4]", "task.keep_list=[3,1]"]).distinct()[0]
    assert shorter.evaluations_per_image == 10 * 2 + 3 * 2
    whole = make_plan(4, extra=["dataset.limit=null"]).distinct()[0]
    assert whole.evaluations == 10_000 * 125


def test_finished_runs_are_not_missing(make_plan: MakePlan, runner: FakeRunner) -> None:
    done = make_plan(4).runs[DATASET, "tome", "ratio=0.5"]
    runner(done.config)
    plan = make_plan(4)
    assert plan.runs[DATASET, "tome", "ratio=0.5"].finished
    assert len(plan.missing()) == 6
    assert plan.pending() == plan.missing()
    assert done.run_id not in {run.run_id for run in plan.missing()}


def test_force_makes_all_of_them_again(make_plan: MakePlan, runner: FakeRunner) -> None:
    runner(make_plan(4).distinct()[0].config)
    plan = make_plan(4, extra=["force=true"])
    assert len(plan.pending()) == 7
    assert len(plan.missing()) == 6


PAPER_COSTS = {
    "pets": 3669 * 260,
    "imagenet100": 5000 * 575,
    "imagenet1k": 2000 * 6750,
    "coco2017": 5000 * 475,
}


@pytest.mark.parametrize(
    ("number", "backbone", "datasets"),
    [
        (2, "sd20", ["pets", "imagenet100", "coco2017"]),
        (3, "dit_xl2_512", ["imagenet100"]),
        (4, "sd20", list(PAPER_COSTS)),
        (5, "dit_xl2_512", ["imagenet100"]),
    ],
)
def test_the_paper_profile_is_planned_at_the_papers_scale(
    number: int, backbone: str, datasets: list[str], tmp_path: Path
) -> None:
    extra = [f"paths.results={tmp_path}"]
    plan = plan_table(load_spec(number), "paper", "default", extra, compose_configs)
    cells = {dataset: plan.runs[dataset, NONE, ""] for dataset in datasets}
    assert {cell[0] for cell in plan.runs} == set(datasets)
    for dataset, run in cells.items():
        assert run.evaluations == PAPER_COSTS[dataset]
        assert (run.config.backbone.name, run.config.dtype) == (backbone, "float16")
        assert run.command.startswith(f"python -m bigain profile=paper backbone={backbone} ")
        assert compose_configs([run.overrides]) == [run.config]
    per_dataset = len(plan.spec.rows_of("default")) * len(plan.settings) + 1
    assert len(plan.distinct()) == per_dataset * len(datasets)


def test_the_command_that_fills_the_table() -> None:
    extra = ("dataset.limit=20", "seed=1")
    assert Plan(load_spec(4), "mini", "full", extra, {}).command == (
        "python -m bigain table 4 --profile mini --grid full dataset.limit=20 seed=1"
    )
    listed = Plan(load_spec(4), "mini", "default", ("task.keep_list=[3,1]",), {})
    assert listed.command.endswith(" 'task.keep_list=[3,1]'"), "a shell would read the brackets"
    plain = Plan(load_spec(3), "mini", "default", (), {})
    assert plain.command == "python -m bigain table 3 --profile mini"


@pytest.mark.parametrize(
    "override",
    [
        "operator.ratio=0.9",
        "operator=none",
        "+operator.scope=self",
        "backbone=mini_dit",
        "dataset=fashion_mnist",
        "task=classification",
        "profile=paper",
        "experiment=merging_sweep",
    ],
)
def test_what_the_table_sets_cannot_be_overridden(override: str) -> None:
    with pytest.raises(UserError, match=r"Table 4 sets \S+ itself; allowed: .*dataset.limit=20"):
        plan_table(load_spec(4), "mini", "default", [override], compose_configs)


def test_a_run_that_is_not_allowed_stops_the_plan() -> None:
    with pytest.raises(UserError, match=r"dataset\.limit=0: allowed"):
        plan_table(load_spec(4), "mini", "default", ["dataset.limit=0"], compose_configs)


@pytest.mark.parametrize("profile", ["mini", "paper"])
def test_the_results_folder_follows_the_overrides(profile: str, tmp_path: Path) -> None:
    own = [f"paths.results={tmp_path}"]
    assert plan_table(load_spec(5), profile, "default", own, compose_configs).results == tmp_path


def test_names_of_settings() -> None:
    assert [setting_name("ratio", 0.3), setting_name("factor", 2)] == ["ratio=0.3", "factor=2"]
