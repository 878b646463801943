"""What carries the jobs of a sweep out, and how to ask it whether it still has a job.

Hydra's launcher plugins start the jobs.  What they return is not used: the one for Slurm waits for
ever for a cancelled task where the cluster keeps no accounts, and raises at the first lost job
although others work on.  So the jobs are read from disk, and an engine is asked about silent ones.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from omegaconf import DictConfig

from bigain.errors import UserError
from bigain.machine import usable_cores
from bigain.runs.beats import Beat, lives_here
from bigain.runs.sweeps import SweepFolder

__all__ = ["ENDED", "SILENCE", "Engine", "Launched", "NoAnswerError", "Processes", "Slurm"]
__all__ += ["check_installed", "engine_of", "is_elsewhere", "slurm_jobs"]

_EXTRAS = {
    "hydra_plugins.hydra_submitit_launcher": "slurm",
    "hydra_plugins.hydra_joblib_launcher": "joblib",
    "hydra_plugins.hydra_ray_launcher": "ray",
}
"""Plugin -> the extra of this package that has it."""

_SLURM = ".SlurmLauncher"
_IN_PROCESS = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"

SILENCE = 600.0
"""Seconds without an answer of Slurm after which silent jobs count as lost."""

ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
)
"""States of a Slurm job that will not be started again; a requeued one is PENDING."""


class NoAnswerError(Exception):
    """Slurm did not answer; the message says why, in one line."""


class Launched(Protocol):
    """A call of a launcher that may still be at work."""

    @property
    def is_alive(self) -> bool: ...  # noqa: D102


class Engine(Protocol):
    """Where jobs are, as far as it can be asked."""

    batch: int | None
    """The most jobs to launch at once; None if the engine has a queue of its own."""

    pause: float
    """Seconds between two questions."""

    def launching(self, positions: Sequence[int]) -> None:
        """Take note that these jobs are about to be launched, in this order."""

    def note(self) -> bool:
        """Put on disk which tasks the jobs became; whether all that were launched are known."""

    def holds(
        self, silent: Collection[int], launched: Launched, at_work: bool
    ) -> Collection[int] | None:
        """Those jobs of `silent` that may still begin or go on; None if it does not answer now.

        Args:
            silent: Jobs that have no process that gives a sign of life.
            launched: The launcher's call.
            at_work: Whether another job of the same call is at work.

        """

    def says(self, position: int) -> str:
        """What the engine last said about a job, for messages; empty if nothing."""

    def stop(self, at_work: Iterable[Beat]) -> None:
        """Tell processes of this machine that SIGTERM ended this one, if they would go on."""

    def farewell(self) -> str:
        """What becomes of jobs if the launching process ends now, and how to see to them."""


@dataclass
class Processes:
    """An engine that cannot be asked: a job that is silent lives as long as its launcher's call.

    The call may have raised because of one lost job while others are at work: then jobs that wait
    may still begin.
    """

    batch: int | None = None
    pause: float = 3.0
    afterwards: str = "jobs that this process started end with it"

    def launching(self, positions: Sequence[int]) -> None:
        """Nothing to note."""

    def note(self) -> bool:
        """Nothing to note."""
        return True

    def holds(
        self, silent: Collection[int], launched: Launched, at_work: bool
    ) -> Collection[int] | None:
        """All, while the launcher's call lasts or others are at work."""
        return silent if launched.is_alive or at_work else ()

    def says(self, position: int) -> str:  # noqa: ARG002
        """Nothing."""
        return ""

    def stop(self, at_work: Iterable[Beat]) -> None:
        """End them: a pool would make this process wait until their runs are done."""
        for beat in at_work:
            if beat["pid"] != os.getpid() and lives_here(beat):
                os.kill(beat["pid"], signal.SIGTERM)

    def farewell(self) -> str:
        """What the launcher does with them."""
        return self.afterwards


@dataclass
class Slurm:
    """Slurm behind submitit, which makes a folder for each task that it submits.

    Attributes:
        sweep: The sweep, which keeps the names of its tasks.
        folder: The parent of these folders; a task is named `ARRAY_TASK`, or `JOB`.
        tasks: Position -> name of its task, once it is submitted.

    """

    sweep: SweepFolder
    folder: Path
    batch: int | None = None
    pause: float = 10.0  # each one is a request to the controller that all users share
    tasks: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._launching: list[int] = []
        self._before: set[str] = set()
        self._states: Mapping[str, str] = {}
        self._is_noted = True
        self._silent_since: float | None = None

    def launching(self, positions: Sequence[int]) -> None:
        """Note which tasks there were before."""
        self._launching, self._before = list(positions), set(self._submitted())
        self._is_noted = False

    def note(self) -> bool:
        """Put the names of new tasks on disk: this process may end before they begin."""
        if not self._is_noted:
            new = [name for name in self._submitted() if name not in self._before]
            named = dict(zip(self._launching, new, strict=False))
            if not named.items() <= self.tasks.items():
                self.tasks |= named
                self.sweep.note_tasks(self.tasks)
            self._is_noted = len(new) >= len(self._launching)
        return self._is_noted

    def holds(
        self,
        silent: Collection[int],
        launched: Launched,
        at_work: bool,  # noqa: ARG002
    ) -> Collection[int] | None:
        """Those in the queue; all, while they are being submitted."""
        if not self.note() and launched.is_alive:
            return silent
        if not any(each in self.tasks for each in silent):
            return ()
        try:
            self._states = slurm_jobs()
        except NoAnswerError as error:
            return self._unanswered(str(error))
        self._silent_since = None
        return [each for each in silent if self._state(each) not in {*ENDED, ""}]

    def _unanswered(self, why: str) -> Collection[int] | None:
        """None; nothing is held once there was no answer for too long."""
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
            sys.stderr.write(f"Slurm does not answer: {why}; asking again\n")
        if now - self._silent_since < SILENCE:
            return None
        self._states = dict.fromkeys(self.tasks.values(), f"no answer from Slurm ({why})")
        return ()

    def says(self, position: int) -> str:
        """The task's name and state."""
        name = self.tasks.get(position)
        state = self._state(position) or "no longer known"
        return f"Slurm job {name}: {state}" if name else "Slurm has no job of it"

    def stop(self, at_work: Iterable[Beat]) -> None:
        """They go on."""

    def farewell(self) -> str:
        """Submitted tasks go on."""
        arrays = sorted({name.partition("_")[0] for name in self._submitted()}, key=int)
        if not arrays:
            return "nothing was submitted to Slurm"
        names = ",".join(arrays)
        return f"submitted jobs go on: squeue -j {names} shows them, scancel {names} ends them"

    def _state(self, position: int) -> str:
        return self._states.get(self.tasks.get(position, ""), "")

    def _submitted(self) -> list[str]:
        """Names of all submitted tasks, in the order of their submission."""
        names = [path.parent.name for path in self.folder.glob("*/*_submitted.pkl")]
        numbers = {name: tuple(map(int, name.split("_"))) for name in names if _is_task(name)}
        return sorted(numbers, key=lambda name: numbers[name])


def engine_of(hydra: DictConfig, sweep: SweepFolder) -> Engine | None:
    """The engine that Hydra's settings choose; None for jobs in this process, one by one."""
    target = _target(hydra)
    if target == _IN_PROCESS:
        return None
    if target.endswith(_SLURM):
        # submitit replaces %j by the name of a task
        return Slurm(sweep, Path(str(hydra.launcher.submitit_folder).partition("%j")[0]))
    if target.endswith(".LocalLauncher"):  # it starts all at the same time, on the same GPU
        cores = 1 if hydra.launcher.get("gpus_per_node") else usable_cores().usable
        text = "jobs at work go on unless SIGTERM ended this; `bigain status` shows them"
        return Processes(batch=cores, afterwards=text)
    # Ray starts a process for each task, which takes a while on a busy machine.
    return Processes(pause=20.0) if target.endswith(".RayLauncher") else Processes()


def is_elsewhere(hydra: DictConfig) -> bool:
    """Whether jobs run on other machines than this one."""
    return _target(hydra).endswith(_SLURM)


def check_installed(hydra: DictConfig) -> None:
    """Raise UserError if the chosen launcher's plugin, or Slurm, is not installed."""
    target, name = _target(hydra), hydra.runtime.choices.get("hydra/launcher")
    plugin = ".".join(target.split(".")[:2])
    try:
        found = importlib.util.find_spec(plugin)
    except ModuleNotFoundError:
        found = None
    if found is None:
        extra = _EXTRAS.get(plugin)
        remedy = f"needs the extra: pip install 'bigain[{extra}]'" if extra else f"needs {plugin}"
        raise UserError(f"hydra/launcher={name}: {remedy}; allowed without it: basic")
    if target.endswith(_SLURM) and shutil.which("sbatch") is None:
        raise UserError(
            f"hydra/launcher={name}: there is no sbatch on PATH; allowed: a machine that submits "
            "to Slurm, or another launcher"
        )


def slurm_jobs() -> dict[str, str]:
    """Task -> state, of all jobs of this user that Slurm still remembers.

    Raises:
        NoAnswerError: Slurm is silent.

    """
    command = ["squeue", "--me", "--array", "--noheader", "--states=all", "--format=%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except subprocess.CalledProcessError as error:
        raise NoAnswerError(" ".join(error.stderr.split()) or "squeue failed") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise NoAnswerError(" ".join(str(error).split())) from None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line.strip())


def _is_task(name: str) -> bool:
    return name.replace("_", "", 1).isdecimal()


def _target(hydra: DictConfig) -> str:
    return str(hydra.launcher.get("_target_"))
