import pytest

from bigain.errors import UserError
from bigain.launch.sweep import plan_runs


def settings(*overrides: str, multirun: bool = False) -> list[tuple[str, object, int]]:
    """(operator, ratio or factor, seed) of every planned run."""
    configs = [planned.config for planned in plan_runs(overrides, multirun).runs]
    columns = [config.operator.settings() for config in configs]
    return [
        (config.operator.name, own["ratio"] or own["factor"], config.seed)
        for config, own in zip(configs, columns, strict=True)
    ]


def test_without_a_sweep_there_is_one_run() -> None:
    plan = plan_runs(["operator=tome", "seed=2"])
    assert not plan.is_sweep
    assert [planned.overrides for planned in plan.runs] == [("operator=tome", "seed=2")]
    assert plan.runs[0].config.seed == 2


def test_a_sweep_is_the_product_of_its_choices_in_order() -> None:
    runs = settings("operator=tome,lgtm", "operator.ratio=0.3,0.7", multirun=True)
    assert runs == [("tome", 0.3, 0), ("tome", 0.7, 0), ("lgtm", 0.3, 0), ("lgtm", 0.7, 0)]


def test_a_sweep_of_one_is_a_sweep() -> None:
    plan = plan_runs(["operator=tome"], multirun=True)
    assert plan.is_sweep
    assert len(plan.runs) == 1


@pytest.mark.parametrize(
    ("override", "seeds"),
    [
        ("seed=range(0,3)", [0, 1, 2]),
        ("seed=choice(4,2)", [4, 2]),
        ("seed=range(0,5,2)", [0, 2, 4]),
    ],
)
def test_ranges_and_choices_are_expanded(override: str, seeds: list[int]) -> None:
    assert [seed for _, _, seed in settings(override, multirun=True)] == seeds


def test_globs_over_options_are_expanded() -> None:
    names = [name for name, _, _ in settings("operator=glob([t*,avg*])", multirun=True)]
    assert names == ["avg_pool", "todo", "tome"]


def test_the_merging_experiment_is_a_sweep_by_itself() -> None:
    plan = plan_runs(["experiment=merging_sweep", "dataset.limit=10"])
    assert plan.is_sweep
    assert {planned.config.dataset.limit for planned in plan.runs} == {10}
    runs = settings("experiment=merging_sweep")
    assert runs == [(name, r, 0) for name in ("tome", "lgtm") for r in (0.3, 0.5, 0.7)]


def test_the_downsampling_experiment_is_a_sweep_by_itself() -> None:
    runs = settings("experiment=downsampling_sweep", "backbone=mini_unet")
    names = ("todo", "avg_pool", "ie_kvd")
    assert runs == [(name, factor, 0) for name in names for factor in (2, 3, 4)]


def test_the_command_line_replaces_and_extends_the_sweep_of_an_experiment() -> None:
    runs = settings("experiment=merging_sweep", "operator=lgtm", "seed=0,1", multirun=True)
    assert runs == [("lgtm", ratio, seed) for ratio in (0.3, 0.5, 0.7) for seed in (0, 1)]


def test_settings_of_hydra_go_to_every_run() -> None:
    plan = plan_runs(["hydra.verbose=true", "seed=0,1"], multirun=True)
    assert [planned.overrides for planned in plan.runs] == [
        ("hydra.verbose=true", "seed=0"),
        ("hydra.verbose=true", "seed=1"),
    ]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["operator=tome,tomee"], "operator=tomee: allowed: .*did you mean tome"),
        (["operator=tome", "operator.ratio=0.5,0.9"], "operator.ratio=0.9: allowed: 0 to 0.75"),
        (
            ["operator=tome,todo", "operator.ratio=0.5"],
            "operator.ratio=0.5: no such key of .*=todo",
        ),
        (["operator.ratoi=0.1,0.2"], "operator.ratoi=0.1: no such key"),
        (["oprator=tome,lgtm"], "oprator=tome: no such key; .*did you mean operator"),
        (
            ["seed=interval(0,1)"],
            r"seed=interval\(0,1\): no such sweep; allowed: values with commas",
        ),
        (
            ["seed=range(1,0)"],
            r"seed=range\(1,0\): a sweep of no runs; allowed: at least one value",
        ),
        (["operator=tome,lgtm", "seed=range(2,2)"], "a sweep of no runs; allowed: at least one"),
        (
            ["backbone=mini_unet,mini_dit", "backbone.sites.levels=[1]"],
            r"backbone.sites.levels=\[1\]: allowed: \[0\], because backbone=mini_dit",
        ),
        (["seed=range(0,2"], r"seed=range\(0,2: not understood"),
        (["shard.index=0,1,2", "shard.count=2"], "shard.index=2: allowed: an integer from 0 to 1"),
        (["experiment=merging_sweep", "operator=todo"], "operator.ratio=0.3: no such key of"),
        (["hydra/launcher=joblib", "seed=0,1"], "hydra/launcher=joblib: allowed: basic"),
    ],
)
def test_one_wrong_run_refuses_the_sweep(overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        plan_runs(overrides, multirun=True)
    assert "\n" not in str(caught.value)


def test_a_sweep_must_be_asked_for() -> None:
    with pytest.raises(
        UserError, match=r"operator=tome,lgtm: several values; .* -m \(--multirun\)"
    ):
        plan_runs(["operator=tome,lgtm"])


def test_a_sweep_may_be_asked_for_in_hydras_own_words() -> None:
    plan = plan_runs(["hydra.mode=MULTIRUN", "operator=tome,todo"])
    assert plan.is_sweep
    assert [planned.config.operator.name for planned in plan.runs] == ["tome", "todo"]


@pytest.mark.parametrize(
    ("overrides", "arguments"),
    [
        (["operator=tome", "operator.ratio=0.3"], ["operator=tome", "operator.ratio=0.3"]),
        (
            ["operator=tome,lgtm", "operator.ratio=0.3", "++operator.cell=[4,4]", "seed=1"],
            [
                *("operator=tome,lgtm", "operator.ratio=choice(0.3)"),
                *("++operator.cell=choice([4,4])", "seed=1"),
            ],
        ),
        (
            ["experiment=merging_sweep", "operator.ratio=0.3", "hydra.verbose=false"],
            ["experiment=merging_sweep", "operator.ratio=choice(0.3)", "hydra.verbose=false"],
        ),
        (
            ["experiment=merging_sweep,downsampling_sweep", "task.keep_list=[3,1]", "seed=1"],
            [
                "experiment=merging_sweep,downsampling_sweep",
                *("task.keep_list=choice([3,1])", "seed=1"),
            ],
        ),
    ],
)
def test_hydra_gets_a_form_it_accepts(overrides: list[str], arguments: list[str]) -> None:
    plan = plan_runs(overrides, multirun=True)
    assert list(plan.arguments) == arguments
    again = plan_runs(plan.arguments, multirun=True)
    assert [planned.config for planned in again.runs] == [planned.config for planned in plan.runs]


def test_a_single_run_goes_to_hydra_as_it_is() -> None:
    assert plan_runs(["operator=tome", "seed=1"]).arguments == ("operator=tome", "seed=1")
