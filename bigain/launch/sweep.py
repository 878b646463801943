"""Hydra's launchers, and the runs that they carry out: one run, a sweep, or the runs of a table.

What becomes of a sweep's runs is read from its folder (`bigain.runs.sweeps`), whatever the launcher
returns or raises.

Two private modules of Hydra are used: a launcher needs a `HydraContext` with Hydra's `Callbacks`
(`bigain.launch.jobs`), and the one for jobs in this process is known by its name.
"""

import copy
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from omegaconf import DictConfig, OmegaConf

from bigain.config import RunConfig
from bigain.engine.inputs import check_inputs
from bigain.engine.run import RunOutcome
from bigain.engine.stopping import Stopped, Stopping, named_faults
from bigain.errors import UserError
from bigain.launch.compose import CONFIG_NAME, config_loader, hydra_settings
from bigain.launch.elsewhere import jobs_elsewhere
from bigain.launch.engines import Slurm, check_installed, engine_of
from bigain.launch.jobs import NOT_BEGUN, hydra_context, job, job_overrides
from bigain.launch.overrides import parse_overrides
from bigain.launch.plan import Plan, check_operators
from bigain.launch.summary import Failure, Launched, run_report
from bigain.launch.watch import LaunchCall, Progress, Watch
from bigain.locations import absolute_path
from bigain.runs.beats import Heartbeat
from bigain.runs.identity import run_id
from bigain.runs.images import is_complete
from bigain.runs.store import RunStore
from bigain.runs.sweeps import Job, SweepFolder

__all__ = ["launch_one", "launch_runs", "launch_sweep"]

_ATTEMPTS = 2
"""How often a job may begin in one sweep if its launcher loses it."""


def launch_one(plan: Plan) -> Failure | None:
    """Make the single run of `plan` in this process; returns its failure, None if it succeeded."""
    (run,) = plan.runs
    config, context = _with_hydra(run.config, plan.hydra), hydra_context(plan.hydra)
    context.callbacks.on_run_start(config=config, config_name=CONFIG_NAME)
    returned = run_job(job, config, "hydra.run.dir", None, context)
    context.callbacks.on_run_end(config=config, config_name=CONFIG_NAME, job_return=returned)
    return cast(Failure | None, returned.return_value)


def launch_sweep(runs: Sequence[Launched], hydra: DictConfig) -> dict[int, Failure]:
    """Make `runs`, in this order, with the launcher that Hydra's settings choose.

    Runs on which another sweep is at work, or which it has waiting, are left to it.  A run, or a
    shard of one, that is listed several times is made once, and all have its outcome: settings such
    as `batch_size` may differ in the list and are not in the run id.

    Returns:
        Position in `runs` -> what ended the run, or why it did not begin, once all have ended.  It
        is read from the disk, because launchers lose jobs.

    Raises:
        FaultError: The folder of the sweep cannot be written to.
        Stopped: SIGTERM was received.

    """
    config = _with_hydra(runs[0].config, hydra)
    with named_faults(Path(config.hydra.sweep.dir).parent):
        return _launch(runs, hydra, config)


def _launch(runs: Sequence[Launched], hydra: DictConfig, config: DictConfig) -> dict[int, Failure]:
    sweep = SweepFolder(_fresh(Path(config.hydra.sweep.dir)))
    config.hydra.sweep.dir = str(sweep.folder)
    jobs, first = _distinct(runs)
    elsewhere = jobs_elsewhere(runs[0].config.paths.results)
    sweep.create(str(hydra.runtime.choices.get("hydra/launcher")), jobs.values())
    OmegaConf.save(config, sweep.folder / "multirun.yaml")
    with Heartbeat(sweep.beat):
        launching = _Launching(runs, jobs, config, sweep)
        left = [at for at in jobs if launching.is_left(at, runs[at].config, elsewhere)]
        if left and not sweep.stops:
            launching.carry_out(left)
        elif left:
            for at in left:
                sweep.write(jobs[at].into("skipped", NOT_BEGUN))
        sweep.end()
    failures = _failures(runs, jobs, sweep)
    return {at: failures[one] for at, one in enumerate(first) if one in failures}


def _distinct(runs: Sequence[Launched]) -> tuple[dict[int, Job], list[int]]:
    """Position -> job, of each run or shard once; and for each of `runs` where its job is."""
    jobs: dict[tuple[str, str], Job] = {}
    first = []
    for at, run in enumerate(runs):
        own = Job.of(run.config, at, run.overrides)
        made = jobs.setdefault((own.run_id, own.shard), own)
        first.append(made.position)
        if made is not own:
            sys.stderr.write(f"{own.title}: is the same run as {' '.join(made.overrides)}\n")
    return {job.position: job for job in jobs.values()}, first


class _Launching:
    """The launcher of a sweep at work.

    Args:
        runs: All runs of the sweep.
        jobs: Position in `runs` -> its job; only the first of several equal ones.
        config: The first run, with Hydra's settings for all of them.
        sweep: The folder of the sweep.

    """

    def __init__(
        self,
        runs: Sequence[Launched],
        jobs: Mapping[int, Job],
        config: DictConfig,
        sweep: SweepFolder,
    ) -> None:
        self._runs = runs
        self._jobs = jobs
        self._forced: set[str] = set()
        self._config = config
        self._sweep = sweep
        self._engine = engine_of(config.hydra, sweep)
        name = sweep.folder.name
        self._overrides = {
            at: job_overrides(runs[at].config.shown_in(name), sweep.folder, own)
            for at, own in jobs.items()
        }

    def is_left(self, at: int, config: RunConfig, elsewhere: Mapping[tuple[str, str], str]) -> bool:
        """Whether a job is to be launched; if not, its state says why."""
        own = self._jobs[at]
        other = elsewhere.get((own.run_id, own.shard))
        if other is not None:
            sys.stderr.write(f"{own.title}: {other}\n")
            self._sweep.write(own.into("skipped", f"{other}; the same command does the rest later"))
        if other is not None:
            return False
        try:
            if config.force and own.run_id not in self._forced:
                RunStore(config.paths.results, own.run_id).start_over()
                self._forced.add(own.run_id)
            outcome = _finished(config) if self._engine is not None else None
        except UserError as error:
            line = f"UserError: {' '.join(str(error).split())}"
            self._sweep.write(own.into("failed", line, is_users=True))
            if config.on_error == "stop":
                self._sweep.stop(f"{own.title}: {line}")
            return False
        if outcome is not None:
            sys.stdout.write(run_report(config, outcome))
            self._sweep.write(own.into("done"))
        return outcome is None

    def carry_out(self, left: Sequence[int]) -> None:
        """Carry out the jobs at these positions; what becomes of each is on disk."""
        context, config = hydra_context(self._config.hydra), self._config
        finished = {at for at in self._jobs if at not in left or self._is_finished(at)}
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=job, config=config
        )
        context.callbacks.on_multirun_start(config=config, config_name=CONFIG_NAME)
        usual = self._engine.batch if self._engine else None
        size = config.hydra.sweeper.get("max_batch_size") or usual or len(left)
        with Progress(self._sweep, len(self._jobs), finished) as progress:
            for first in range(0, len(left), size):
                self._carry_out(left[first : first + size], progress)
        if self._engine is not None:
            progress.say()
        context.callbacks.on_multirun_end(config=config, config_name=CONFIG_NAME)

    def _carry_out(self, batch: Sequence[int], progress: Progress) -> None:
        if self._engine is None:
            with progress.now_and_then():
                self._launch(batch)
            return
        while batch:
            self._engine.launching(batch)
            call = LaunchCall(self._sweep, partial(self._launch, batch))
            jobs = {at: self._jobs[at] for at in batch}
            try:
                with Stopping():
                    Watch(self._sweep, jobs, call, self._engine, progress).until_end()
            except (KeyboardInterrupt, Stopped, OSError) as end:
                with suppress(OSError):
                    self._engine.note()
                    if isinstance(end, Stopped):
                        self._engine.stop(self._sweep.at_work(batch).values())
                sys.stderr.write(f"{self._engine.farewell()}\n")
                raise
            batch = self._again(batch, call)

    def _is_finished(self, at: int) -> bool:
        config = self._runs[at].config
        return not config.force and RunStore(config.paths.results, run_id(config)).is_finished()

    def _launch(self, batch: Sequence[int]) -> None:
        overrides = [self._overrides[at] for at in batch]
        self._launcher.launch(overrides, initial_job_idx=batch[0])

    def _again(self, batch: Sequence[int], call: LaunchCall) -> list[int]:
        """The jobs that were lost because another one was; those that began before come last.

        A pool of processes ends all its jobs if one process is killed.  A queue does not.
        """
        jobs = self._sweep.jobs(batch)
        lost = [job for job in jobs.values() if job.state == "lost" and job.begun < _ATTEMPTS]
        if isinstance(self._engine, Slurm) or not any(job.begun for job in lost):
            return []
        sys.stderr.write(f"launching {len(lost)} jobs again; the launcher: {call.error}\n")
        for each in lost:
            again = each.into("stopped", "lost with others") if each.begun else each.into("pending")
            self._sweep.write(again)
        return [job.position for job in sorted(lost, key=lambda job: job.begun)]


def launch_runs(runs: Sequence[Launched], settings: Sequence[str] = ()) -> dict[int, str]:
    """Make listed runs as a sweep does.

    Args:
        runs: The runs, in this order.
        settings: Hydra's own overrides, such as `hydra/launcher=submitit_slurm`.

    Returns:
        Position in `runs` -> error, see `launch_sweep`.

    """
    with config_loader() as loader:
        hydra = hydra_settings(loader, parse_overrides(loader, settings))
    check_installed(hydra)
    check_operators(runs)
    return {at: failure.error for at, failure in launch_sweep(runs, hydra).items()}


def _with_hydra(config: RunConfig, hydra: DictConfig) -> DictConfig:
    """The run and Hydra's settings, with the folders of Hydra as absolute as those of the run."""
    composed = OmegaConf.create({**config.model_dump(mode="json"), "hydra": copy.deepcopy(hydra)})
    for mode in ("run", "sweep"):
        folder = str(composed.hydra[mode].dir)
        try:
            composed.hydra[mode].dir = str(absolute_path(folder))
        except ValueError as error:
            raise UserError(f"hydra.{mode}.dir={folder}: {error}; allowed: a folder") from error
    return composed


def _fresh(folder: Path) -> Path:
    """`folder`, or one with a number after its name: two sweeps may begin in the same second."""
    found, number = folder, 1
    while True:
        found.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            (found / "jobs").mkdir()  # only one sweep can make it
            return found
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")


def _finished(config: RunConfig) -> RunOutcome | None:
    """What is said about a finished run; None if something is left to do."""
    store = RunStore(config.paths.results, run_id(config))
    if config.force or not store.is_finished():
        return None
    check_inputs(config, store)
    done = RunOutcome(store.run_id, store.folder, "done", computed=0)
    return done if is_complete(config, store) else None


def _failures(
    runs: Sequence[Launched], jobs: Mapping[int, Job], sweep: SweepFolder
) -> dict[int, Failure]:
    """Position -> failure.  A run that is done is no failure, if only its job did not say so."""
    failures = {}
    found = sweep.jobs(jobs)
    for at, planned in jobs.items():
        config = runs[at].config
        missing = f"its file in {sweep.folder} is damaged or gone"
        own = found.get(at) or planned.into("lost", missing)
        store = RunStore(config.paths.results, own.run_id)
        silent = own.state not in ("done", "failed")
        if own.state == "done" or (silent and not config.force and store.is_finished()):
            continue
        failures[at] = Failure(own.run_id, own.error or f"is {own.state}", own.is_users)
    return failures
