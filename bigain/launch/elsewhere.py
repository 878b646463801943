"""Which runs other sweeps have at work or waiting, on this machine, on others or in a queue.

Two sweeps must not make one run: the second one would only say that the run is taken.  A sweep
whose launching process died may have tasks in a queue of Slurm, so their names are on disk.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path

from bigain.launch.engines import ENDED, NoAnswerError, slurm_jobs
from bigain.runs.beats import is_alive, read_beat, whereabouts
from bigain.runs.sweeps import OPEN, SweepFolder, sweep_folders

__all__ = ["jobs_elsewhere"]


def jobs_elsewhere(results: Path) -> dict[tuple[str, str], str]:
    """(run id, shard) -> which sweep below `results` has a job of it at work or waiting now."""
    found: dict[tuple[str, str], str] = {}
    ask = cache(_slurm_jobs_or_none)  # one question for all sweeps
    for sweep in sweep_folders(results):
        if sweep.has_ended:
            continue
        open_ = {at: job for at, job in sweep.jobs().items() if job.state in OPEN}
        for position, where in _places(sweep, open_, ask).items():
            job = open_[position]
            found[job.run_id, job.shard] = f"sweep {sweep.folder.name} {where}"
    return found


def _places(
    sweep: SweepFolder, open_: Collection[int], ask: Callable[[], Mapping[str, str]]
) -> dict[int, str]:
    """Position -> where a process is at work on an open job, or what has it waiting."""
    if not open_:
        return {}
    tasks = sweep.tasks()
    states = ask() if tasks.keys() & open_ else {}
    places = {}
    for position in open_:
        state = states.get(tasks.get(position, ""))
        if state is not None and state not in ENDED:
            places[position] = f"has it as Slurm job {tasks[position]} ({state})"
    launcher = read_beat(sweep.beat) if is_alive(sweep.beat) else None
    if launcher is not None and not tasks:
        places |= dict.fromkeys(open_, f"has it waiting ({whereabouts(launcher)})")
    at_work = sweep.at_work(open_).items()
    return places | {each: f"works on it ({whereabouts(beat)})" for each, beat in at_work}


def _slurm_jobs_or_none() -> dict[str, str]:
    try:
        return slurm_jobs()
    except NoAnswerError as error:
        sys.stderr.write(f"Slurm does not answer: {error}; its queue is taken as empty\n")
        return {}
