import pickle
from collections.abc import Sequence
from pathlib import Path

import hydra.core.global_hydra
import pytest
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

import bigain.engine.run
from bigain.cli.main import main
from bigain.config import ClassificationConfig, RunConfig
from bigain.engine.run import RunOutcome
from bigain.errors import UserError
from bigain.launch import sweep
from bigain.launch.compose import compose_configs
from bigain.launch.jobs import hydra_context, job, job_overrides
from bigain.launch.plan import PlannedRun, plan_runs
from bigain.launch.summary import Failure
from bigain.launch.sweep import launch_runs, launch_sweep
from bigain.runs.identity import run_id
from bigain.runs.sweeps import Job


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


def test_ranges_choices_and_globs_are_expanded() -> None:
    runs = settings("seed=range(0,5,2)", "operator=choice(todo,none)", multirun=True)
    assert [seed for _, _, seed in runs] == [0, 0, 2, 2, 4, 4]
    names = [name for name, _, _ in settings("operator=glob([t*,avg*])", multirun=True)]
    assert names == ["avg_pool", "todo", "toma", "tome"]


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


def test_settings_of_hydra_belong_to_the_sweep_as_a_whole() -> None:
    plan = plan_runs(["hydra.verbose=true", "seed=0,1"], multirun=True)
    assert [planned.overrides for planned in plan.runs] == [("seed=0",), ("seed=1",)]
    assert plan.hydra.verbose is True
    assert plan.hydra.overrides.task == ["seed=0,1"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["operator=tome,tomee"], "operator=tomee: allowed: .*did you mean tome"),
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
        (["hydra.searchpath=[file:///nowhere]"], r"searchpath=\[file:///nowhere\]: allowed: "),
        (["seed=range(0,2"], r"seed=range\(0,2: not understood"),
        (["shard.index=0,1,2", "shard.count=2"], "shard.index=2: allowed: an integer from 0 to 1"),
        (["experiment=merging_sweep", "operator=todo"], "operator.ratio=0.3: no such key of"),
        (["hydra/launcher=slurm", "seed=0,1"], "hydra/launcher=slurm: allowed: basic, joblib"),
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


# Launching.  FLOPs need no weights and no data.

COUNT = ("backbone=mini_unet", "task=efficiency", "task.measure=flops")


def hydra_node() -> DictConfig:
    return plan_runs([], multirun=True).hydra


def planned(*commands: Sequence[str]) -> list[PlannedRun]:
    configs = compose_configs(commands)
    return [PlannedRun(tuple(o), config) for o, config in zip(commands, configs, strict=True)]


def test_listed_runs_are_made_by_the_launcher_in_their_order(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = f"paths.results={tmp_path}"
    assert launch_runs(planned((*COUNT, "operator=tome", folder), (*COUNT, folder))) == {}
    shown = capfd.readouterr()
    assert shown.out.index("mini_unet tome") < shown.out.index("mini_unet none")
    assert "Launching 2 jobs" in shown.err
    assert "#0 : backbone=mini_unet" in shown.err
    assert "{" not in shown.err, "the configuration that travels is not logged"
    made = sorted(path.parent.name for path in tmp_path.glob("runs/*/metrics.csv"))
    assert len(made) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "sweeps"}


def test_what_ended_a_run_is_returned_and_the_others_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = f"paths.results={tmp_path}"
    lost = ("backbone=sd20", "dataset=pets", f"paths.data={tmp_path}", folder)
    errors = launch_runs(planned(lost, (*COUNT, folder)))
    assert list(errors) == [0]
    assert "dataset=pets" in str(*errors.values())
    assert len(list(tmp_path.glob("runs/*/metrics.csv"))) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_launched_table_is_the_same_as_a_sweep_of_its_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["dataset.limit=1", f"paths.results={tmp_path}", "hydra/launcher=basic"]
    assert main(["table", "12", *words]) == 0
    made = sorted(path.parent.name for path in tmp_path.glob("runs/*/metrics.csv"))
    assert len(made) == 4
    assert "4 of 4" in capfd.readouterr().out


def test_a_job_gets_the_configuration_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is composed once: a file that changes while jobs wait in a queue does not change them."""
    folder = f"paths.results={tmp_path}"
    alpha = "operator.alpha={start: 0.8, end: 1.2}"
    runs = planned(["operator=ie_kvd", alpha, folder], ["seed=3", folder])
    seen: list[RunConfig] = []

    def stop(config: RunConfig, **_: object) -> RunOutcome:
        seen.append(config)
        raise UserError("stopped")

    def compose_again(*_: object) -> None:
        raise AssertionError("composed again")

    node = hydra_node()
    monkeypatch.setattr(bigain.engine.run, "run", stop)
    monkeypatch.setattr(hydra.core.global_hydra.GlobalHydra, "config_loader", compose_again)
    failures = launch_sweep(runs, node)
    assert seen == [each.config for each in runs]
    stopped = [Failure(run_id(run), "UserError: stopped", True) for run in seen]
    assert failures == dict(enumerate(stopped))


def test_a_sweep_may_be_launched_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = plan_runs(["seed=0,1,2", "hydra.sweeper.max_batch_size=2"], multirun=True)
    names = ("none", "tome", "todo")
    runs = planned(*[[f"operator={name}", *COUNT, f"paths.results={tmp_path}"] for name in names])
    assert launch_sweep(runs, plan.hydra) == {}
    logged = capfd.readouterr().err
    assert ("Launching 2 jobs" in logged, "Launching 1 jobs" in logged) == (True, True)
    assert "#2 : operator=todo" in logged


def test_what_a_launcher_takes_to_another_process_can_be_pickled(tmp_path: Path) -> None:
    (run,) = planned(["operator=tome", f"paths.results={tmp_path}"])
    node = hydra_node()
    sent = pickle.dumps((hydra_context(node), job, sweep._with_hydra(run.config, node)))
    context, task, master = pickle.loads(sent)
    overrides = job_overrides(run.config, tmp_path, Job.of(run.config, 7, run.overrides))
    config = context.config_loader.load_sweep_config(master, overrides)
    assert task is job
    assert config.hydra.overrides.task == list(run.overrides)
    assert config.hydra.sweep.dir == master.hydra.sweep.dir, "one time stamp for all jobs"
    place = config.pop("job_of_sweep")
    assert (place.folder, place.position) == (str(tmp_path), 7)
    del config["hydra"]
    assert RunConfig.model_validate(OmegaConf.to_container(config)) == run.config


def test_a_launcher_that_breaks_leaves_the_last_word_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the queue is gone")

    monkeypatch.setattr(Plugins, "instantiate_launcher", broken)
    assert main(["-m", "seed=0,1", *COUNT, f"paths.results={tmp_path}"]) == 1
    listed = capfd.readouterr().err
    assert "RuntimeError: the queue is gone" in listed
    assert "2 of 2 runs failed" in listed


def test_a_sweep_that_cannot_write_its_files_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweeps").touch()
    assert main(["-m", "seed=0,1", *COUNT, f"paths.results={tmp_path}"]) == 1
    message = capfd.readouterr().err.splitlines()[-1]
    assert message.startswith(f"{tmp_path / 'sweeps'}")
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("backbone", "more", "count"), [("sd3_medium", (), 6), ("flux_dev", ("1,3.5",), 12)]
)
def test_the_experiment_of_velocity_models_is_every_score_under_every_schedule(
    backbone: str, more: tuple[str, ...], count: int
) -> None:
    words = [f"backbone={backbone}", *(f"backbone.guidance={each}" for each in more)]
    configs = [each.config for each in plan_runs(["experiment=velocity", *words]).runs]
    assert len(configs) == count
    assert {(c.task.name, c.dataset.name, c.profile) for c in configs} == {
        ("classification", "pets", "paper")
    }
    scores = {(c.task_as(ClassificationConfig).scored, c.backbone.schedule) for c in configs}  # type: ignore[union-attr]
    assert len(scores) == 6
