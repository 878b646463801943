"""The jobs that Hydra's launchers carry out: what they receive, and what they say of themselves.

A job receives its checked configuration as JSON.  So a run is composed once, and a file that
changes while jobs wait in a queue changes no job.  A job never raises because its run failed: Hydra
would print a traceback and drop the rest of the sweep.  Its state is in the folder of the sweep.
"""

import copy
import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from bigain.config import RunConfig, format_validation_error
from bigain.engine import run as engine
from bigain.errors import FaultError, UserError
from bigain.launch.summary import Failure, run_report
from bigain.machine import keep_freed_memory, wait_passively
from bigain.runs.beats import Heartbeat
from bigain.runs.identity import run_id
from bigain.runs.sweeps import Job, SweepFolder

__all__ = ["NOT_BEGUN", "hydra_context", "job", "job_overrides"]

NOT_BEGUN = "did not begin, because of on_error=stop"
"""Why a job was skipped after another one failed."""

_RUN = "hydra.run_as_json="
"""Start of the last override of a job.  Launchers log a job's overrides, but not those of Hydra."""

_PLACE = "job_of_sweep"
"""The key beside the settings of a run that says which job of which sweep it is."""


def job_overrides(config: RunConfig, sweep: Path, described: Job) -> list[str]:
    """What a launcher gets for a job: the overrides of the run, and the run itself as JSON."""
    overrides = described.overrides
    place = {"folder": str(sweep), "position": described.position, "overrides": list(overrides)}
    # The launcher has a forced run start over, once.  A job may begin several times.
    carried = {**config.model_dump(mode="json"), "force": False, _PLACE: place}
    return [*overrides, _RUN + json.dumps(carried)]


def hydra_context(hydra: DictConfig) -> HydraContext:
    """What a launcher needs of a Hydra application."""
    settings = OmegaConf.create({"hydra": hydra})
    return HydraContext(cast(ConfigLoader, _ComposedRuns()), Callbacks(settings))


def job(composed: DictConfig) -> Failure | None:
    """Make one run and print its report or its error; returns its failure.

    Hydra's launchers call this; those that use other processes send its name, not its code.
    """
    wait_passively()
    keep_freed_memory()
    plain = cast(dict[str, Any], OmegaConf.to_container(composed))
    place = plain.pop(_PLACE, None)
    if place is None:
        return _attempt(plain)
    sweep, position = SweepFolder(Path(place["folder"])), place["position"]
    own = sweep.jobs([position]).get(position) or Job.of(plain, position, place["overrides"])
    return _in_sweep(sweep, own, plain)


def _in_sweep(sweep: SweepFolder, own: Job, plain: Mapping[str, Any]) -> Failure | None:
    """Make the run of a sweep's job.  Its state is on disk before, and after, whatever ends it."""
    stops = plain["on_error"] == "stop"
    if stops and own.begun == 0 and sweep.stops:
        _write(sweep, own.into("skipped", NOT_BEGUN))
        return None
    own = own.begin()
    _write(sweep, own)
    with _sign_of_life(sweep, own):
        try:
            failure = _attempt(plain, shows_progress=sweep.is_of(own.process) or not _on_terminal())
        except BaseException as stopped:  # a signal: of the user, of a preempting queue
            _write(sweep, own.into("stopped", f"{type(stopped).__name__} {stopped}".strip()))
            raise
        if failure is None:
            _write(sweep, own.into("done"))
            return None
        line = " ".join(failure.error.split())
        _write(sweep, own.into("failed", line, is_users=failure.is_users))
        if stops:
            with suppress(OSError):
                sweep.stop(f"{own.title}: {line}")
        return failure


@contextmanager
def _sign_of_life(sweep: SweepFolder, own: Job) -> Iterator[None]:
    beat = Heartbeat(sweep.beat_of(own.position), lambda: {"run_id": own.run_id})
    with ExitStack() as held:
        try:
            held.enter_context(beat)
        except OSError as error:
            sys.stderr.write(f"{sweep.folder}: cannot write a sign of life: {error}\n")
        yield


def _on_terminal() -> bool:
    """Whether bars of several processes would overwrite each other; the launcher has a line."""
    return sys.stderr.isatty()


def _attempt(plain: Mapping[str, Any], *, shows_progress: bool = True) -> Failure | None:
    try:
        config = _checked(plain)
        outcome = engine.run(config, progress=shows_progress)
    except Exception as error:
        is_users = isinstance(error, UserError)
        if isinstance(error, UserError | FaultError):
            sys.stderr.write(f"{' '.join(str(error).split())}\n")
        else:
            traceback.print_exc()
        text = f"{type(error).__name__}: {error}".strip(": ")
        return Failure(run_id(plain), text, is_users)
    sys.stdout.write(run_report(config, outcome))
    return None


def _checked(plain: Mapping[str, Any]) -> RunConfig:
    """The run of a job; raises UserError if images of the user's own changed while it waited."""
    try:
        return RunConfig.model_validate(plain)
    except ValidationError as error:
        raise UserError(format_validation_error(error)) from error


def _write(sweep: SweepFolder, job: Job) -> None:
    """A full disk must not end a run before its own files do: the run store has the last word."""
    try:
        sweep.write(job)
    except OSError as error:
        sys.stderr.write(f"{sweep.folder}: cannot write the state of a job: {error}\n")


class _ComposedRuns:
    """Stands in for Hydra's `ConfigLoader`; launchers call this method only."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> Any:
        """The configuration of a job, from the JSON in its last override."""
        *overrides, composed = sweep_overrides
        run, hydra = json.loads(composed.removeprefix(_RUN)), copy.deepcopy(master_config.hydra)
        hydra.overrides.task = overrides
        config = OmegaConf.create({**run, "hydra": hydra})
        OmegaConf.copy_cache(from_config=master_config, to_config=config)  # one time stamp for all
        return config
