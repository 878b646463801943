"""The folder `paths.cache`: what is wrong with it is one line that names the setting.

Latents, prompts, hashes and counts are kept there if that works, and are made again if it does not.
Everything else needs the folder: sizes that are measured once, compiled code, the statistics of
real images, and what calibrations measure.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bigain.config import ClassificationConfig, GenerationConfig, RunConfig
from bigain.engine.stopping import MACHINES
from bigain.errors import FaultError, UserError
from bigain.runs.files import WRITABLE, make_results

__all__ = ["check_cache", "make_cache", "named_cache"]

_KEY = "paths.cache"
_CODE = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that names another folder for compiled code (`bigain.patching.compiling`)."""


def check_cache(config: RunConfig) -> None:
    """Create the folder if the run needs it.

    Raises:
        UserError: That is impossible.

    """
    if _is_needed(config):
        make_cache(config.paths.cache)


def make_cache(cache: Path) -> None:
    """Create the folder `cache` if it does not exist; raises UserError if that is impossible.

    One that exists may be for reading only: it may have all that is needed.
    """
    if not cache.is_dir():
        make_results(cache, _KEY)


def _is_needed(config: RunConfig) -> bool:
    task = config.task
    if config.compile and _CODE not in os.environ:
        return True
    if isinstance(task, GenerationConfig):
        return task.statistics is None or not config.has_name
    return isinstance(task, ClassificationConfig) and config.batch_size == "auto"


@contextmanager
def named_cache(cache: Path, run: Path | None = None) -> Iterator[None]:
    """Turn what goes wrong with files in the folder `cache` into one line with `paths.cache`.

    Args:
        cache: The folder.
        run: The folder of a run.  Errors about its files, and those of the disk that are about no
            file, go on to `bigain.engine.stopping.named_faults`.

    Raises:
        UserError: The folder cannot be used.
        FaultError: Its disk is full or broken.

    """
    try:
        yield
    except OSError as error:
        place = None if error.filename is None else Path(os.fsdecode(error.filename))
        is_disk = error.errno in MACHINES and error.errno != errno.EROFS
        if place is None:
            is_own = is_disk and run is None
        else:
            is_runs = run is not None and place.is_relative_to(run)
            is_own = place.is_relative_to(cache) and not is_runs
        if not is_own:
            raise
        shown = error.strerror if place in (None, cache) else f"{place}: {error.strerror}"
        if is_disk:
            raise FaultError(
                f"{_KEY}={cache}: {shown}; mend this, then the same command goes on"
            ) from error
        raise UserError(f"{_KEY}={cache}: allowed: {WRITABLE} ({shown})") from error
