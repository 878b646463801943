from collections import Counter
from collections.abc import Callable

import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.launch.compose import compose_config, compose_configs
from bigain.runs.identity import run_id
from bigain.tables.planner import (
    NONE,
    CellKey,
    Compose,
    Place,
    Plan,
    PlannedRun,
    plan_table,
)
from bigain.tables.render import load_spec

MakePlan = Callable[..., Plan]
FakeRunner = Callable[[RunConfig], None]

CLASSIFIED = Place("mini_unet", "fashion_mnist", "classification")


def works(plan: Plan) -> dict[str, int]:
    return dict(Counter(run.config.task.name for run in plan.distinct()))


@pytest.mark.parametrize(
    ("number", "grid", "runs"),
    [
        (2, "default", 1 + 3 * 3),
        (3, "default", 1 + 3 * 3),
        (4, "default", 1 + 2 * 3),
        (5, "default", 1 + 2 * 3),
        (4, "full", 1 + 2 * 7),
        (3, "full", 1 + 5 * 4),
    ],
)
def test_one_run_per_cell_and_one_without_acceleration(
    make_plan: MakePlan, number: int, grid: str, runs: int
) -> None:
    plan = make_plan(number, "mini", grid)
    datasets = 2 if number in (2, 4) else 1  # mosaics too, which are not generated
    assert works(plan) == {"classification": datasets * runs, "generation": runs}
    assert len(plan.distinct()) == len(plan.runs)
    assert plan.missing() == plan.distinct()


def test_tables_of_one_backbone_share_the_run_without_acceleration(make_plan: MakePlan) -> None:
    first = {number: make_plan(number).distinct()[0] for number in (2, 3, 4, 5)}
    assert {run.config.operator.name for run in first.values()} == {NONE}
    assert first[2].run_id == first[4].run_id != first[3].run_id == first[5].run_id


# The counts of the paper: classification and generation of `shared/paper/tables.md`.  Tables that
# print no baseline (6, 7, 8, 12, 15) need its run on each dataset, which gives sigma_t.

COUNTS = {
    1: (6, 0),  # 8 but for DiP-GO and MosaicDiff, which nobody runs
    2: (66, 30),
    3: (13, 13),
    4: (60 + 28, 60 + 28),  # L-GTM by the rule of the released code, too
    5: (15 + 7, 15 + 7),
    6: (24 + 1, 0),
    7: (84 + 4, 0),
    8: (30 + 1, 0),
    11: (0, 0),
    12: (3 + 1, 0),
    14: (10, 0),
    15: (12 + 1, 0),
    16: (0, 6),
    17: (7, 7),
    18: (0, 0),
}


def check_counts(number: int, compose: Compose) -> dict[str, PlannedRun]:
    plan = plan_table(load_spec(number), "paper", "default", (), compose)
    found = works(plan)
    assert (found.get("classification", 0), found.get("generation", 0)) == COUNTS[number], number
    return {run.run_id: run for run in plan.distinct() if run.config.task.name != "efficiency"}


@pytest.mark.parametrize("number", [1, 6, 8, 11, 12, 14, 15, 16, 17])
def test_runs_of_the_papers_tables(number: int, compose: Compose) -> None:
    check_counts(number, compose)


@pytest.mark.slow
def test_all_tables_of_the_paper_need_459_distinct_runs(compose: Compose) -> None:
    """The paper's 391 but for DiP-GO and MosaicDiff, and 70 of L-GTM by the released rule."""
    runs: dict[str, PlannedRun] = {}
    for number in sorted(COUNTS):
        runs |= check_counts(number, compose)
    assert Counter(run.config.task.name for run in runs.values()) == {
        "classification": 269 + 35,
        "generation": 120 + 35,
    }


def test_cells_that_tables_share_are_one_run(compose: Compose) -> None:
    """None, ToMe 0.7, L-GTM 0.7, ToDo 2x and IE-KVD 2x stand in several tables of Pets."""

    def runs(number: int) -> dict[str, str]:
        plan = plan_table(load_spec(number), "paper", "default", (), compose)
        place = Place("sd20", "pets", "classification")
        return {
            f"{cell.row} {cell.column}".strip(): run.run_id
            for cell, run in plan.runs.items()
            if cell.place == place
        }

    joint, alpha, scopes, scores = runs(17), runs(15), runs(6), runs(8)
    assert alpha["factor2 alpha=0.9"] == joint["ie_kvd"]
    assert alpha["factor2 alpha=1"] == joint["todo"]
    assert scopes["tome_sa ratio=0.7"] == joint["tome"]
    assert scopes["lgtm_sa ratio=0.7"] == scores["laplacian_l1 ratio=0.7"] == joint["lgtm"]
    assert scopes["lgtm_sa+ca ratio=0.7"] != joint["lgtm"]
    assert runs(1)["none"] == joint["none"]


def test_a_cell_is_the_run_that_its_command_makes(make_plan: MakePlan) -> None:
    run = make_plan(4).runs[CellKey(CLASSIFIED, "lgtm", "ratio=0.7")]
    assert run.config.operator.settings()["ratio"] == 0.7
    assert run.config.backbone.name == "mini_unet"
    start = (
        "python -m bigain backbone=mini_unet dataset=fashion_mnist task=classification "
        "operator=lgtm operator.ratio=0.7 dataset.limit=30 paths.results="
    )
    assert run.command.startswith(start)
    assert run_id(compose_config(run.command.split()[3:])) == run.run_id


def test_a_column_may_take_another_operator(make_plan: MakePlan) -> None:
    plan = make_plan(15)
    names = {
        cell.column: run.config.operator.name
        for cell, run in plan.runs.items()
        if cell.row == "factor2"
    }
    assert names == {
        "alpha=0": "avg_pool",
        **dict.fromkeys(("alpha=0.5", "alpha=0.8", "alpha=0.9", "alpha=1.2"), "ie_kvd"),
        "alpha=1": "todo",
    }


def test_no_acceleration_of_a_column_with_other_images(compose: Compose) -> None:
    plan = plan_table(load_spec(14), "mini", "default", (), compose)
    limits = {
        cell.column: run.config.dataset.limit for cell, run in plan.runs.items() if cell.row == NONE
    }
    assert limits == {"": 400, "large": 1000}
    assert plan.baseline(CLASSIFIED, "large") == CellKey(CLASSIFIED, NONE, "large")
    assert plan.baseline(CLASSIFIED, "small") == CellKey(CLASSIFIED, NONE)


def test_columns_that_a_block_lacks_are_not_run(compose: Compose) -> None:
    """FID at factors 2 to 4 alone."""
    spec = load_spec(2)
    block = next(each for each in spec.profile("paper").blocks if each.metric == "fid")
    assert block.columns == (2, 3, 4)
    plan = Plan(spec, "paper", "default", (), {})
    assert [column.id for column in plan.columns_of(block)] == ["factor=2", "factor=3", "factor=4"]


def test_flops_are_counted_on_the_papers_backbone(make_plan: MakePlan) -> None:
    plan = make_plan(18)
    assert {cell.place for cell in plan.runs} == {
        Place("mini_unet", "", "time"),
        Place("sd20", "", "flops"),
    }
    assert works(plan) == {"efficiency": 14}


def test_cost_is_images_times_the_protocol(make_plan: MakePlan) -> None:
    """10 classes, trials [5, 20], kept [5, 1]: 10 x 5 + 5 x 15 = 125 evaluations per image."""
    assert make_plan(12).distinct()[0].evaluations == 30 * 125
    shorter = make_plan(12, extra=["task.trial_list=[2,4]", "task.keep_list=[3,1]"]).distinct()[0]
    assert shorter.evaluations == 30 * (10 * 2 + 3 * 2)
    whole = make_plan(12, extra=["dataset.limit=null"]).distinct()[0]
    assert whole.evaluations == 10_000 * 125


def test_cost_of_generation_is_two_evaluations_per_step(make_plan: MakePlan) -> None:
    """Without guidance it is one."""
    plan = make_plan(16)
    assert {run.evaluations for run in plan.distinct()} == {30 * 25 * 2}
    single = make_plan(16, extra=["task.guidance_scale=1"])
    assert {run.evaluations for run in single.distinct()} == {30 * 25}


def test_cost_of_times_and_counts(make_plan: MakePlan) -> None:
    """The operator is timed beside the model without it; counting evaluates nothing."""
    plan = make_plan(18)
    task = plan.runs[CellKey(Place("mini_unet", "", "time"), NONE)].config.task
    steps = task.warmup + task.repeats * task.steps  # type: ignore[union-attr]
    by_cell = {(cell.place.work, cell.row): run.evaluations for cell, run in plan.runs.items()}
    assert by_cell["time", NONE] == 4 * steps
    assert by_cell["time", "tome"] == 2 * 4 * steps
    assert by_cell["flops", "tome"] == by_cell["flops", NONE] == 0


def test_finished_runs_are_not_missing(make_plan: MakePlan, runner: FakeRunner) -> None:
    cell = CellKey(CLASSIFIED, "todo", "")
    done = make_plan(12).runs[cell]
    runner(done.config)
    plan = make_plan(12)
    assert plan.runs[cell].finished
    assert len(plan.missing()) == len(plan.distinct()) - 1
    assert plan.pending() == plan.missing()
    assert done.run_id not in {run.run_id for run in plan.missing()}
    again = make_plan(12, extra=["force=true"])
    assert len(again.pending()) == len(again.missing()) + 1


PAPER_COSTS = {
    "pets": 3669 * 260,
    "imagenet100": 5000 * 575,
    "imagenet1k": 2000 * 6750,
    "coco2017": 5000 * 475,
}


def test_the_paper_profile_is_planned_at_the_papers_scale(compose: Compose) -> None:
    plan = plan_table(load_spec(7), "paper", "default", (), bare(compose))
    for dataset, cost in PAPER_COSTS.items():
        run = plan.runs[CellKey(Place("sd20", dataset, "classification"), "lgtm", "ratio=0.7")]
        assert run.evaluations == cost
        assert (run.config.backbone.name, run.config.dtype) == ("sd20", "float16")
        assert run.command.startswith(
            f"python -m bigain profile=paper backbone=sd20 dataset={dataset}"
        )


def bare(compose: Compose) -> Compose:
    """Costs do not depend on the operator, and composing takes time."""
    return lambda commands: compose(
        [[o for o in command if not o.startswith("operator")] for command in commands]
    )


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
        plan_table(load_spec(12), "mini", "default", ["dataset.limit=0"], compose_configs)


def test_a_limit_leaves_table_14_two_columns(make_plan: MakePlan) -> None:
    """`make_plan` asks for 30 images of all runs; the second column has its own number."""
    runs = make_plan(14).distinct()
    assert sorted(run.config.dataset.num_images for run in runs) == [30] * 5 + [1000] * 5
