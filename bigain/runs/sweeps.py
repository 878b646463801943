"""The folder of a sweep: what each of its jobs says about itself.

    <results>/sweeps/<time>/
        sweep.json          the engine that carries the jobs out, and the process that launched them
        sweep.beat          fresh while that process waits for its jobs
        tasks.json          of Slurm: position -> name of its task
        ended               there since all jobs have ended
        stop                there since a job failed with on_error=stop: no further job begins
        jobs/0003.json      one job, a run or a shard of one: `Job`
        jobs/0003.beat      fresh while the job is at work

A job is pending, then running, then done or failed.  It is stopped while it waits to be started
again (a preempted task of Slurm), skipped if it never began because of `stop`, and lost if its
process is gone and nothing will start it again.  What engines say about jobs is not needed here.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bigain.files import parse_json, replace_text
from bigain.runs.beats import Beat, file_clock, is_alive, is_same, own_process, read_beat
from bigain.runs.identity import Config, resolved, run_id
from bigain.runs.provenance import now

__all__ = ["OPEN", "Job", "SweepFolder", "sweep_folders"]


OPEN = ("pending", "running", "stopped")
"""The states of a job that may still change."""


@dataclass(frozen=True)
class Job:
    """One job of a sweep, as it is on disk.

    Attributes:
        position: Its place in the sweep, from 0.
        run_id: The run that it makes, or makes a shard of.
        shard: That shard, such as `0of4`.
        overrides: The overrides of the run, as on the command line.
        state: pending, running, stopped, done, failed, skipped or lost.
        begun: How often a process began it.
        error: Why it did not end well, in one line; None if it did.
        is_users: Whether the error is a mistake that the user can correct (`UserError`).
        process: The last process at work on it, see `bigain.runs.beats.own_process`; {} before.
        times: When it was `pending`, and when it last came into its other states.

    """

    position: int
    run_id: str
    shard: str
    overrides: tuple[str, ...]
    state: str = "pending"
    begun: int = 0
    error: str | None = None
    is_users: bool = False
    process: Mapping[str, Any] = field(default_factory=dict)
    times: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, position: int, overrides: Iterable[str]) -> "Job":
        """The job that makes the shard of a run that `config` names."""
        shard = resolved(config)["shard"]
        name = f"{shard['index']}of{shard['count']}"
        return cls(position, run_id(config), name, tuple(overrides))

    def into(self, state: str, error: str | None = None, *, is_users: bool = False) -> "Job":
        """The job in another state, from now on."""
        times = {**self.times, state: now()}
        return replace(self, state=state, error=error, is_users=is_users, times=times)

    def begin(self) -> "Job":
        """The job in the hands of this process."""
        return replace(self.into("running"), begun=self.begun + 1, process=own_process())

    @property
    def title(self) -> str:
        """Run, shard and overrides, for messages."""
        shard = "" if self.shard == "0of1" else f" shard {self.shard.replace('of', ' of ')}"
        return f"{self.run_id}{shard}  {' '.join(self.overrides)}".rstrip()


class SweepFolder:
    """The files of one sweep; any process of it may use this."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, engine: str, jobs: Iterable[Job]) -> None:
        """Write what is known before the first job begins."""
        facts = {"engine": engine, "process": own_process(), "started": now()}
        for job in jobs:
            self.write(job.into("pending"))
        replace_text(self.folder / "sweep.json", json.dumps(facts, indent=2) + "\n")

    @property
    def engine(self) -> str | None:
        """The name of the engine; None if this is not a sweep's folder."""
        found = _read(self.folder / "sweep.json")
        return None if found is None else str(found.get("engine"))

    def is_of(self, process: Mapping[str, Any]) -> bool:
        """Whether `process` launched the sweep."""
        found = (_read(self.folder / "sweep.json") or {}).get("process")
        return isinstance(found, dict) and is_same(found, process)

    @property
    def beat(self) -> Path:
        """The beat of the process that launched the sweep."""
        return self.folder / "sweep.beat"

    def beat_of(self, position: int) -> Path:
        """The beat of a job."""
        return self.folder / "jobs" / f"{position:04d}.beat"

    def write(self, job: Job) -> None:
        """Put the state of a job on disk."""
        text = json.dumps(asdict(job), indent=2) + "\n"
        replace_text(self.folder / "jobs" / f"{job.position:04d}.json", text)

    def jobs(self, positions: Iterable[int] | None = None) -> dict[int, Job]:
        """Position -> job, of these positions, or of all that have a readable file."""
        folder = self.folder / "jobs"
        names = sorted(folder.glob("*.json"))
        if positions is not None:
            names = [folder / f"{position:04d}.json" for position in positions]
        found = filter(None, map(_job, names))
        return {job.position: job for job in found}

    def at_work(self, positions: Iterable[int]) -> dict[int, Beat]:
        """Position -> beat, of those jobs that have a process at work on them now."""
        folder = self.folder / "jobs"
        clock = file_clock(folder)
        alive = [each for each in positions if is_alive(self.beat_of(each), clock)]
        beats = {position: read_beat(self.beat_of(position)) for position in alive}
        return {position: beat for position, beat in beats.items() if beat is not None}

    def note_tasks(self, tasks: Mapping[int, str]) -> None:
        """Put on disk which task of a queue each job is."""
        replace_text(self.folder / "tasks.json", json.dumps(tasks) + "\n")

    def tasks(self) -> dict[int, str]:
        """Position -> name of its task in the queue, as far as it is known."""
        found = _read(self.folder / "tasks.json") or {}
        return {int(position): str(name) for position, name in found.items()}

    @property
    def has_ended(self) -> bool:
        """Whether all jobs have ended, and none of them is lost."""
        return (self.folder / "ended").exists()

    def end(self) -> None:
        """Note that all jobs have ended, if so; a lost one may have begun again."""
        if all(job.state in ("done", "failed", "skipped") for job in self.jobs().values()):
            replace_text(self.folder / "ended", f"{now()}\n")

    @property
    def stops(self) -> bool:
        """Whether no further job is to begin."""
        return (self.folder / "stop").exists()

    def stop(self, because: str) -> None:
        """Let no further job begin."""
        replace_text(self.folder / "stop", f"{because}\n")


def sweep_folders(results: Path) -> list[SweepFolder]:
    """The sweeps below `results` that have files of their jobs, the oldest first."""
    found = sorted(path.parent for path in (results / "sweeps").glob("*/sweep.json"))
    return [SweepFolder(folder) for folder in found]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _job(path: Path) -> Job | None:
    found = _read(path) or {}
    try:
        known = {each.name: found[each.name] for each in fields(Job)}
    except KeyError:
        return None
    return Job(**{**known, "overrides": tuple(known["overrides"])})
