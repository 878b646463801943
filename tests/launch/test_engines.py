import importlib.util
import signal
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from bigain.errors import UserError
from bigain.launch import engines, resolvers
from bigain.launch.compose import config_loader, hydra_settings
from bigain.launch.elsewhere import jobs_elsewhere
from bigain.launch.engines import (
    SILENCE,
    NoAnswerError,
    Processes,
    Slurm,
    check_installed,
    engine_of,
    slurm_jobs,
)
from bigain.launch.jobs import hydra_context, job
from bigain.launch.overrides import parse_overrides
from bigain.launch.plan import plan_runs
from bigain.launch.sweep import _with_hydra
from bigain.locations import CONFIGS
from bigain.machine import usable_cores
from bigain.runs.beats import _birth, own_process
from bigain.runs.sweeps import Job, SweepFolder, sweep_folders

INSTALLED = ["joblib", "submitit_local", "submitit_slurm"]


def settings(*overrides: str) -> DictConfig:
    """Hydra's settings, as a launcher gets them."""
    with config_loader() as loader:
        hydra = hydra_settings(loader, parse_overrides(loader, overrides))
    run = plan_runs([each for each in overrides if not each.startswith("hydra")]).runs[0]
    composed: DictConfig = _with_hydra(run.config, hydra).hydra
    return composed


def resolved(hydra: DictConfig) -> dict[str, Any]:
    return plain(hydra.launcher, resolve=True)


def plain(node: Any, *, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(node, resolve=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


@pytest.mark.parametrize("name", INSTALLED)
def test_a_preset_has_what_its_launcher_takes_and_replaces_what_the_plugin_stores(
    name: str,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hydra = settings(f"hydra/launcher={name}")
    stored = ConfigStore.instance().repo["hydra"]["launcher"][f"{name}.yaml"].node
    file = OmegaConf.load(CONFIGS / "hydra" / "launcher" / f"{name}.yaml")
    ours = plain(file, resolve=False)
    assert ours.keys() <= stored.keys()
    assert ours["_target_"] == stored._target_
    shown = resolved(hydra)
    fixed = {key: str(value) for key, value in ours.items() if "${" not in str(value)}
    assert {key: str(shown[key]) for key in fixed} == fixed
    made = Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context(hydra),
        task_function=job,
        config=OmegaConf.create({"hydra": hydra}),
    )
    assert type(made).__name__ == ours["_target_"].rpartition(".")[2]


@pytest.mark.parametrize("is_here", [True, False])
def test_a_task_gets_one_gpu_unless_the_run_computes_on_the_cpu(
    is_here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With device=auto this machine tells, but not what nodes of Slurm have."""
    monkeypatch.setattr(resolvers, "has_gpu", lambda: is_here)
    auto = 1 if is_here else -1
    for device, gpus, jobs in (("cpu", None, -1), ("cuda", 1, 1), ("auto", 1, auto)):
        slurm = resolved(settings("hydra/launcher=submitit_slurm", f"device={device}"))
        pool = resolved(settings("hydra/launcher=joblib", f"device={device}"))
        assert (slurm["gpus_per_node"], pool["n_jobs"]) == (gpus, jobs)
    assert (slurm["tasks_per_node"], slurm["nodes"]) == (1, 1)
    file = OmegaConf.load(CONFIGS / "hydra" / "launcher" / "ray.yaml")
    ray = OmegaConf.create({"device": "auto", "launcher": file})
    assert ray.launcher.ray.remote.num_gpus == int(is_here)


def test_slurm_tasks_go_on_after_their_time_and_after_preemption() -> None:
    """submitit counts every preemption as the end of the time if the limit is under 10 minutes."""
    preset = resolved(settings("hydra/launcher=submitit_slurm"))
    assert preset["timeout_min"] >= 60
    assert preset["max_num_timeout"] >= 10
    assert preset["additional_parameters"] == {"requeue": True}
    assert 60 <= preset["signal_delay_s"] < 60 * preset["timeout_min"]


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("submitit_local", "slurm"),
        ("submitit_slurm", "slurm"),
        ("joblib", "joblib"),
        ("ray", "ray"),
    ],
)
def test_without_its_plugin_a_launcher_names_the_extra(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"^hydra/launcher={name}: .*'bigain\[{extra}\]'"):
        plan_runs([f"hydra/launcher={name}", "seed=0,1"], multirun=True)


def test_slurm_is_refused_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="hydra/launcher=submitit_slurm: there is no sbatch"):
        plan_runs(["hydra/launcher=submitit_slurm", "seed=0,1"], multirun=True)


def test_an_unknown_launcher_of_somebody_elses_is_named_by_its_package(tmp_path: Path) -> None:
    folder = tmp_path / "hydra" / "launcher"
    folder.mkdir(parents=True)
    (folder / "theirs.yaml").write_text("_target_: not_here.launcher.Theirs\n")
    words = [f"hydra.searchpath=[file://{tmp_path}]", "hydra/launcher=theirs"]
    with config_loader() as loader:
        hydra = hydra_settings(loader, parse_overrides(loader, words))
    with pytest.raises(UserError, match="hydra/launcher=theirs: needs not_here"):
        check_installed(hydra)


def test_the_engine_belongs_to_the_launcher(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path)
    assert engine_of(settings(), sweep) is None
    slurm = engine_of(settings("hydra/launcher=submitit_slurm", "hydra.sweep.dir=/a"), sweep)
    assert isinstance(slurm, Slurm)
    assert slurm.folder == Path("/a/.submitit")
    pool = engine_of(settings("hydra/launcher=joblib"), sweep)
    assert (type(pool), pool and pool.batch) == (Processes, None)
    local = engine_of(settings("hydra/launcher=submitit_local", "device=cuda"), sweep)
    assert local is not None
    assert local.batch == 1, "the launcher itself would start all at once, on the same GPU"
    cores = engine_of(settings("hydra/launcher=submitit_local", "device=cpu"), sweep)
    assert cores is not None
    assert cores.batch == usable_cores().usable
    assert "go on" in cores.farewell()


class Call:
    def __init__(self, is_alive: bool) -> None:
        self.is_alive = is_alive


@pytest.mark.parametrize(
    ("is_alive", "at_work", "held"),
    [(True, False, True), (False, True, True), (False, False, False)],
)
def test_silent_jobs_live_as_long_as_their_launcher_or_their_neighbours(
    is_alive: bool, at_work: bool, held: bool
) -> None:
    assert bool(Processes().holds({1, 2}, Call(is_alive), at_work)) == held


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that a program `squeue` prints; without it the program fails."""
    answer, programs = tmp_path / "queue.txt", tmp_path / "bin"
    programs.mkdir()
    (programs / "squeue").write_text(f"#!/bin/sh\nexec /bin/cat '{answer}'\n")
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    return answer


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(SweepFolder(tmp_path / "sweep"), tmp_path / "submitit")


def submit(slurm: Slurm, *names: str) -> None:
    for name in names:
        (slurm.folder / name).mkdir(parents=True)
        (slurm.folder / name / f"{name}_submitted.pkl").touch()


def test_slurm_is_asked_for_the_state_of_each_task(slurm: Slurm, queue: Path) -> None:
    submit(slurm, "3_0")  # of an earlier launch
    slurm.launching([4, 7, 9])
    submit(slurm, "12_0", "12_1", "12_2")
    queue.write_text("12_0 PENDING\n12_1 CANCELLED\n3_0 RUNNING\n")
    assert slurm.holds({4, 7, 9}, Call(True), False) == [4]
    assert slurm.says(4) == "Slurm job 12_0: PENDING"
    assert "12_1: CANCELLED" in slurm.says(7)
    assert "12_2: no longer known" in slurm.says(9)
    assert slurm.sweep.tasks() == {4: "12_0", 7: "12_1", 9: "12_2"}
    assert "scancel 3,12" in slurm.farewell()


def test_tasks_are_in_the_order_of_their_numbers(slurm: Slurm, queue: Path) -> None:
    slurm.launching(range(12))
    submit(slurm, *(f"5_{n}" for n in range(12)))
    queue.write_text("5_10 RUNNING\n")
    assert slurm.holds({2, 10}, Call(False), False) == [10]


def test_a_single_job_is_no_array(slurm: Slurm, queue: Path) -> None:
    slurm.launching([0])
    submit(slurm, "8")
    queue.write_text("8 RUNNING\n")
    assert slurm.holds({0}, Call(False), False) == [0]


def test_while_tasks_are_being_submitted_they_are_not_lost(slurm: Slurm, queue: Path) -> None:
    slurm.launching([0, 1])
    queue.write_text("")
    assert set(slurm.holds({0, 1}, Call(True), False) or ()) == {0, 1}
    assert slurm.holds({0, 1}, Call(False), False) == (), "the submission failed"
    assert slurm.says(0) == "Slurm has no job of it"


def test_a_slurm_that_does_not_answer_says_nothing_about_jobs(slurm: Slurm, queue: Path) -> None:
    slurm.launching([0])
    submit(slurm, "8")
    assert slurm.holds({0}, Call(False), False) is None
    with pytest.raises(NoAnswerError, match="No such file"):
        slurm_jobs()


def test_a_slurm_that_is_silent_for_too_long_has_no_job(
    slurm: Slurm,
    queue: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    clock = [50.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    slurm.launching([0])
    submit(slurm, "8")
    for seconds in (0, SILENCE / 2):
        clock[0] += seconds
        assert slurm.holds({0}, Call(False), False) is None
    assert capfd.readouterr().err.lower().count("no such file") == 1, "said once, as squeue does"
    clock[0] += SILENCE / 2
    assert slurm.holds({0}, Call(False), False) == ()
    assert "no answer" in slurm.says(0)


def test_tasks_are_on_disk_as_soon_as_they_are_submitted(slurm: Slurm) -> None:
    """Without a question to Slurm: the launching process may end before one."""
    slurm.launching([3, 5])
    assert not slurm.note()
    submit(slurm, "12_0")
    assert not slurm.note()
    assert slurm.sweep.tasks() == {3: "12_0"}
    submit(slurm, "12_1")
    assert slurm.note()
    assert slurm.sweep.tasks() == {3: "12_0", 5: "12_1"}


def test_slurm_is_asked_once_for_all_sweeps_and_not_for_ended_ones(
    tmp_path: Path, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    squeue = queue.parent / "bin" / "squeue"
    squeue.write_text(f"#!/bin/sh\necho x >> '{asked}'\nexec /bin/cat '{queue}'\n")
    queue.write_text("12_0 PENDING\n")
    run = plan_runs([f"paths.results={tmp_path}"]).runs[0]
    own = Job.of(run.config, 0, run.overrides)
    for name in ("a", "b"):
        sweep = SweepFolder(tmp_path / "sweeps" / name)
        sweep.create("submitit_slurm", [own])
        sweep.note_tasks({0: "12_0"})
        sweep.end()
        assert not sweep.has_ended
    assert len(jobs_elsewhere(tmp_path)) == 1
    assert asked.read_text() == "x\n"
    for sweep in sweep_folders(tmp_path):
        sweep.write(own.into("done"))
        sweep.end()
        assert sweep.has_ended
    assert jobs_elsewhere(tmp_path) == {}
    assert asked.read_text() == "x\n"


def test_what_a_sweep_has_in_the_queue_is_known_after_its_launcher_ended(
    tmp_path: Path, queue: Path
) -> None:
    run = plan_runs([f"paths.results={tmp_path}"]).runs[0]
    sweep = SweepFolder(tmp_path / "sweeps" / "before")
    own = Job.of(run.config, 0, run.overrides)
    sweep.create("submitit_slurm", [own])
    sweep.note_tasks({0: "12_0"})
    queue.write_text("12_0 PENDING\n")
    found = {(own.run_id, "0of1"): "sweep before has it as Slurm job 12_0 (PENDING)"}
    assert jobs_elsewhere(tmp_path) == found
    queue.write_text("12_0 CANCELLED\n")
    assert jobs_elsewhere(tmp_path) == {}


def test_all_states_that_end_a_task_are_those_of_slurms_manual() -> None:
    assert "TIMEOUT" in engines.ENDED
    assert {"PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "COMPLETING"}.isdisjoint(engines.ENDED)


def test_processes_of_a_pool_are_told_that_sigterm_ended_the_launching_one() -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as child:
        beat = {**own_process(), "pid": child.pid, "birth": _birth(child.pid)}
        Processes().stop([own_process(), {**beat, "host": "another"}])
        assert child.poll() is None
        Processes().stop([beat])
        assert child.wait(60) == -signal.SIGTERM
