"""Sweeps with launchers that raise, hang, lose jobs or break: what counts is on disk."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

import bigain.engine.run
from bigain.config import RunConfig
from bigain.engine.run import RunOutcome
from bigain.engine.stopping import Stopped
from bigain.errors import FaultError, UserError
from bigain.launch import sweep, watch
from bigain.launch.compose import compose_configs
from bigain.launch.engines import Launched, Processes
from bigain.launch.jobs import job
from bigain.launch.plan import PlannedRun, plan_runs
from bigain.launch.summary import list_failures
from bigain.launch.sweep import launch_sweep
from bigain.runs.beats import Heartbeat
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore
from bigain.runs.sweeps import Job, SweepFolder, sweep_folders

Launch = Callable[[Sequence[Callable[[], object]]], None]
"""What a fake launcher does with its jobs."""

NAMES = {"seed=0": 0, "seed=1": 1, "seed=2": 2, "seed=3": 3}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK", 0.01)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[int, Callable[[], object]]:
    """Seed -> what its run does in place of computing; nothing unless a test says so."""
    does: dict[int, Callable[[], object]] = {}

    def run(config: RunConfig, **_: object) -> RunOutcome:
        does.get(config.seed, dict)()
        return RunOutcome("x", Path("x"), "running", computed=1)

    monkeypatch.setattr(bigain.engine.run, "run", run)
    return does


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[int]]]:
    """Put a launcher of other processes in place; returns the positions of each of its calls."""

    def install(launch: Launch, engine: object = None) -> list[list[int]]:
        calls: list[list[int]] = []

        class Fake:
            def __init__(self, context: Any, config: DictConfig) -> None:
                self.context, self.config = context, config

            def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> None:
                calls.append([NAMES[words[0]] for words in overrides])
                launch([partial(self.carry_out, words) for words in overrides])

            def carry_out(self, words: Sequence[str]) -> None:
                loader = self.context.config_loader
                config = loader.load_sweep_config(self.config, list(words))
                del config["hydra"]
                job(config)

        def instantiate(_: object, hydra_context: Any, config: DictConfig, **__: object) -> Fake:
            return Fake(hydra_context, config)

        monkeypatch.setattr(Plugins, "instantiate_launcher", instantiate)
        monkeypatch.setattr(sweep, "engine_of", lambda *_: engine or Processes(pause=0.01))
        return calls

    return install


def runs(tmp_path: Path, n: int, *words: str) -> list[PlannedRun]:
    commands = [(f"seed={seed}", *words, f"paths.results={tmp_path}") for seed in range(n)]
    configs = compose_configs(commands)
    return [PlannedRun(o, config) for o, config in zip(commands, configs, strict=True)]


def launched(planned: Sequence[PlannedRun]) -> dict[int, str]:
    node = plan_runs([], multirun=True).hydra
    return {at: failure.error for at, failure in launch_sweep(planned, node).items()}


def states(tmp_path: Path) -> list[str]:
    (found,) = sweep_folders(tmp_path)
    return [each.state for _, each in sorted(found.jobs().items())]


def fail() -> None:
    raise UserError("dataset.root=x: is empty")


def in_threads(jobs: Sequence[Callable[[], object]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=each, daemon=True) for each in jobs]
    for thread in threads:
        thread.start()
    return threads


def test_a_launcher_that_raises_at_its_first_job_does_not_end_the_others(
    tmp_path: Path, work: dict[int, Any], launcher: Callable[..., Any]
) -> None:
    begun, ends = threading.Barrier(3), threading.Event()

    def wait() -> None:
        begun.wait(60)
        ends.wait(60)

    work |= {0: fail, 1: wait, 2: wait}

    def raising(jobs: Sequence[Callable[[], object]]) -> None:
        in_threads(jobs)
        begun.wait(60)
        threading.Timer(0.5, ends.set).start()
        raise RuntimeError("job 0 has no result")

    launcher(raising)
    assert launched(runs(tmp_path, 3)) == {0: "UserError: dataset.root=x: is empty"}
    assert states(tmp_path) == ["failed", "done", "done"]
    (folder,) = sweep_folders(tmp_path)
    assert "RuntimeError: job 0 has no result" in (folder.folder / "launcher.log").read_text()


def test_a_launcher_that_hangs_does_not_keep_the_sweep(
    tmp_path: Path, work: dict[int, Any], launcher: Callable[..., Any]
) -> None:
    for_ever = threading.Event()

    def hanging(jobs: Sequence[Callable[[], object]]) -> None:
        in_threads(jobs)
        for_ever.wait(600)

    launcher(hanging)
    assert launched(runs(tmp_path, 2)) == {}
    assert states(tmp_path) == ["done", "done"]
    for_ever.set()


def test_a_job_that_its_launcher_loses_is_named(
    tmp_path: Path, work: dict[int, Any], launcher: Callable[..., Any]
) -> None:
    def losing(jobs: Sequence[Callable[[], object]]) -> None:
        for each in (jobs[0], jobs[2]):
            each()

    launcher(losing)
    planned = runs(tmp_path, 3)
    errors = launched(planned)
    assert list(errors) == [1]
    assert errors[1].startswith("never began")
    assert states(tmp_path) == ["done", "lost", "done"]


def test_the_reason_of_a_launcher_is_the_reason_of_its_jobs(
    tmp_path: Path, work: dict[int, Any], launcher: Callable[..., Any]
) -> None:
    def refusing(_: Sequence[Callable[[], object]]) -> None:
        raise ValueError("no partition gpu\nsecond line")

    calls = launcher(refusing)
    errors = launched(runs(tmp_path, 2))
    assert all("ValueError: no partition gpu;" in error for error in errors.values())
    assert (len(errors), calls) == (2, [[0, 1]]), "nothing began, so nothing is tried again"


def test_jobs_that_a_broken_pool_took_along_are_launched_again(
    tmp_path: Path, work: dict[int, Any], launcher: Callable[..., Any]
) -> None:
    """As if the process of job 0 is killed each time, and the pool with it."""

    def breaking(jobs: Sequence[Callable[[], object]]) -> None:
        (folder,) = sweep_folders(tmp_path)
        for each in jobs[: jobs_before_0.pop(0)]:
            each()
        folder.write(folder.jobs()[0].begin())
        raise RuntimeError("a worker was killed")

    jobs_before_0 = [0, 2]
    calls = launcher(breaking)
    errors = launched(runs(tmp_path, 3))
    assert calls == [[0, 1, 2], [1, 2, 0]], "what began before comes last"
    assert list(errors) == [0]
    assert "its process is gone" in errors[0]


def test_after_the_first_failure_no_further_job_begins_if_asked_for(
    tmp_path: Path, work: dict[int, Any]
) -> None:
    work[1] = fail
    planned = runs(tmp_path, 4, "on_error=stop")
    errors = launched(planned)
    assert states(tmp_path) == ["done", "failed", "skipped", "skipped"]
    assert list(errors) == [1, 2, 3]
    assert "on_error=stop" in errors[2]
    assert list_failures(planned[1:], {at - 1: error for at, error in errors.items()}).startswith(
        "3 of 3 runs failed"
    )


def test_after_a_failure_a_sweep_goes_on(tmp_path: Path, work: dict[int, Any]) -> None:
    work[1] = fail
    assert list(launched(runs(tmp_path, 3))) == [1]
    assert states(tmp_path) == ["done", "failed", "done"]


def test_what_ends_this_process_leaves_the_job_stopped(
    tmp_path: Path, work: dict[int, Any]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    work[1] = interrupted
    with pytest.raises(KeyboardInterrupt):
        launched(runs(tmp_path, 3))
    assert states(tmp_path) == ["done", "stopped", "pending"]


def test_what_another_sweep_works_on_is_left_to_it(
    tmp_path: Path, work: dict[int, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    planned = runs(tmp_path, 2)
    other = SweepFolder(tmp_path / "sweeps" / "before")
    theirs = Job.of(planned[0].config, 5, planned[0].overrides)
    other.create("joblib", [theirs])
    with Heartbeat(other.beat_of(5)):
        errors = launched(planned)
    assert list(errors) == [0]
    assert "sweep before works on it (host " in errors[0]
    assert theirs.run_id in capfd.readouterr().err
    (own,) = (each for each in sweep_folders(tmp_path) if each.folder.name != "before")
    assert [each.state for each in own.jobs().values()] == ["skipped", "done"]


def test_what_another_sweep_has_waiting_is_left_to_it_until_it_ends(
    tmp_path: Path, work: dict[int, Any]
) -> None:
    planned = runs(tmp_path, 1)
    other = SweepFolder(tmp_path / "sweeps" / "before")
    other.create("joblib", [Job.of(planned[0].config, 0, planned[0].overrides)])
    with Heartbeat(other.beat):
        assert "sweep before has it waiting" in launched(planned)[0]
    assert launched(planned) == {}, "it ended without carrying it out"


class Queue:
    """An engine with a queue: it has a job until the test says that it does not."""

    batch = None
    pause = 0.01

    def __init__(self, answers: Mapping[int, Sequence[bool | None]]) -> None:
        self.answers = {at: list(each) for at, each in answers.items()}

    def launching(self, positions: Sequence[int]) -> None: ...

    def note(self) -> bool:
        return True

    def holds(
        self, silent: Collection[int], launched: Launched, at_work: bool
    ) -> Collection[int] | None:
        says = {at: self.answers[at].pop(0) if self.answers[at] else False for at in silent}
        return None if None in says.values() else [at for at, held in says.items() if held]

    def says(self, position: int) -> str:
        return "CANCELLED"

    def stop(self, at_work: object) -> None: ...

    def farewell(self) -> str:
        return "jobs go on"


def test_a_silent_job_is_lost_after_several_absences_in_a_row(
    tmp_path: Path, work: dict[int, Any], launcher: Callable[..., Any]
) -> None:
    """No answer is no absence, and an absence that ends does not count."""
    queue = Queue({0: [True, False, False, True, None, False, None, False, False, True]})
    launcher(lambda _: None, queue)
    error = launched(runs(tmp_path, 1))[0]
    assert queue.answers == {0: [True]}
    assert "CANCELLED" in error


def test_a_job_in_the_queue_again_is_not_lost(
    tmp_path: Path, work: dict[int, Any], launcher: Callable[..., Any]
) -> None:
    """A preempted task: its first process is gone, the queue starts it again later."""
    later: list[Callable[[], object]] = []

    def preempted() -> None:
        work.pop(0)
        raise SystemExit(-1)

    class Requeueing(Queue):
        def holds(self, *_: Any) -> Collection[int]:
            if len(self.answers[0]) > 1:
                self.answers[0].pop()
            elif later:
                in_threads([later.pop()])
            return [0]

    def launch(jobs: Sequence[Callable[[], object]]) -> None:
        later.extend(jobs)
        with pytest.raises(SystemExit):
            jobs[0]()
        raise RuntimeError("hangs or raises, whatever")

    work[0] = preempted
    launcher(launch, Requeueing({0: [True] * 5}))
    assert launched(runs(tmp_path, 1)) == {}
    (folder,) = sweep_folders(tmp_path)
    assert (folder.jobs()[0].state, folder.jobs()[0].begun) == ("done", 2)


@pytest.mark.parametrize("ends", [KeyboardInterrupt, Stopped, OSError])
def test_what_ends_the_launching_process_says_what_becomes_of_submitted_jobs(
    ends: type[BaseException],
    tmp_path: Path,
    work: dict[int, Any],
    launcher: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def end(_: float) -> None:
        if ends is Stopped:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            raise ends(errno.ENOSPC, "No space left on device")

    launcher(lambda _: None, Queue({0: [True]}))
    monkeypatch.setattr(time, "sleep", end)
    with pytest.raises(FaultError if ends is OSError else ends):
        launched(runs(tmp_path, 1))
    assert "jobs go on" in capfd.readouterr().err


def test_sweeps_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    """Each has claimed its folder before it writes anything there."""
    made = [sweep._fresh(tmp_path / "12-00-00") for _ in range(3)]
    assert [each.name for each in made] == ["12-00-00", "12-00-00-2", "12-00-00-3"]


def test_equal_runs_of_a_sweep_are_made_once_and_have_one_outcome(
    tmp_path: Path, work: dict[int, Any], launcher: Callable[..., Any]
) -> None:
    """`batch_size=8,16`: two at work on the same run would be in each other's way."""
    work[1] = fail
    planned = [*runs(tmp_path, 2), *runs(tmp_path, 2, "batch_size=16")]
    calls = launcher(lambda jobs: [each() for each in jobs] and None)
    errors = launched(planned)
    assert calls == [[0, 1]]
    assert errors == dict.fromkeys((1, 3), "UserError: dataset.root=x: is empty")


def test_a_job_that_begins_again_discards_nothing(
    tmp_path: Path, launcher: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def run(config: RunConfig, **_: object) -> RunOutcome:
        seen.append((config.force, run_id(config)))
        if len(seen) == 1:
            raise SystemExit(-1)  # preempted
        return RunOutcome("x", Path("x"), "running", computed=1)

    def requeue(jobs: Sequence[Callable[[], object]]) -> None:
        with pytest.raises(SystemExit):
            jobs[0]()
        jobs[0]()

    monkeypatch.setattr(bigain.engine.run, "run", run)
    launcher(requeue)
    planned = runs(tmp_path, 1, "force=true")
    assert launched(planned) == {}
    name = run_id(planned[0].config)
    assert seen == [(False, name), (False, name)]
    assert (tmp_path / "runs" / name / ".forced").exists(), "whoever opens it first deletes"


def test_a_run_that_a_process_makes_is_not_made_again(
    tmp_path: Path, work: dict[int, Any], launcher: Callable[..., Any]
) -> None:
    calls = launcher(lambda jobs: [each() for each in jobs] and None)
    planned = runs(tmp_path, 2, "force=true")
    folder = tmp_path / "runs" / run_id(planned[0].config)
    folder.mkdir(parents=True)
    with Heartbeat(folder / ".journal-0of1.beat", lambda: {"begun": True}):
        errors = launched(planned)
    assert (list(errors), calls) == ([0], [[1]])
    assert errors[0].startswith("UserError: ")


def test_a_job_has_one_thread_that_writes_its_beat(tmp_path: Path, work: dict[int, Any]) -> None:
    def count() -> None:
        beats.extend(each.name for each in threading.enumerate() if "0000.beat" in each.name)

    beats: list[str] = []
    work[0] = count
    assert launched(runs(tmp_path, 1)) == {}
    assert len(beats) == 1


def test_a_job_whose_file_was_damaged_is_named(
    tmp_path: Path,
    work: dict[int, Any],
    launcher: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def damage(progress: watch.Progress) -> None:
        (progress._sweep.folder / "jobs" / "0001.json").write_text("{")

    launcher(lambda jobs: [each() for each in jobs] and None)
    monkeypatch.setattr(watch.Progress, "say", damage)  # at the end of the sweep
    errors = launched(runs(tmp_path, 2))
    assert list(errors) == [1]
    assert "is damaged or gone" in errors[1]


def test_jobs_do_not_begin_after_a_failure_before_the_launch(
    tmp_path: Path,
    work: dict[int, Any],
    launcher: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other_data(config: RunConfig) -> None:
        if config.seed == 1:
            raise UserError("dataset.root: other images")

    monkeypatch.setattr(sweep, "_finished", other_data)
    calls = launcher(lambda jobs: [each() for each in jobs] and None)
    errors = launched(runs(tmp_path, 3, "on_error=stop"))
    assert (list(errors), calls) == ([0, 1, 2], [])
    assert states(tmp_path) == ["skipped", "failed", "skipped"]


def test_finished_runs_are_no_work_of_a_sweep_in_this_process(
    tmp_path: Path, work: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = runs(tmp_path, 3)
    done = run_id(planned[1].config)
    monkeypatch.setattr(RunStore, "is_finished", lambda store: store.run_id == done)
    seen: list[Collection[int]] = []
    original = watch.Progress.__enter__

    def enter(progress: watch.Progress) -> watch.Progress:
        seen.append(progress._finished)
        return original(progress)

    monkeypatch.setattr(watch.Progress, "__enter__", enter)
    monkeypatch.setattr(watch.Progress, "maybe", lambda _: None)
    assert launched(planned) == {}
    assert seen == [{1}]


@pytest.mark.parametrize("is_here", [True, False])
def test_jobs_of_other_processes_draw_no_bars_over_each_other(
    is_here: bool, tmp_path: Path, launcher: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[bool] = []

    def run(_: RunConfig, *, progress: bool) -> RunOutcome:
        shown.append(progress)
        return RunOutcome("x", Path("x"), "running", computed=1)

    monkeypatch.setattr(bigain.engine.run, "run", run)
    monkeypatch.setattr(SweepFolder, "is_of", lambda *_: is_here)
    for on_terminal in (True, False):
        monkeypatch.setattr("bigain.launch.jobs._on_terminal", lambda it=on_terminal: it)
        assert launched(runs(tmp_path / str(on_terminal), 1)) == {}
    assert shown == [is_here, True]
