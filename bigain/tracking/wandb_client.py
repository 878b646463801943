"""W&B: one W&B run for each run, under the same id (https://docs.wandb.ai)."""

import atexit
import errno
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from pydantic import ValidationError
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from bigain.config import TrackingConfig
from bigain.errors import UserError
from bigain.metrics import HIGHER_IS_BETTER
from bigain.tracking.dashboard import Dashboard
from bigain.tracking.pictures import Media, Table
from bigain.tracking.view import HISTORY, View, summary
from bigain.tracking.wandb_file import is_whole

__all__ = ["WandbClient", "WandbSink"]

_SECONDS_TO_ANSWER = "10"
"""W&B may take this long to answer at the start of a run, and again at its end."""

_SECONDS_BETWEEN_LOOKS = 0.05
"""At a file that W&B still writes."""

_SECONDS_OF_A_REQUEST = "6"
"""W&B may take this long to answer whether a table can be stored."""

_DEFAULTS: Mapping[str, str] = {
    **dict.fromkeys(("WANDB_INIT_TIMEOUT", "WANDB_LOGIN_TIMEOUT"), _SECONDS_TO_ANSWER),
    **{"WANDB_FINISH_TIMEOUT": _SECONDS_TO_ANSWER, "WANDB_FINISH_TIMEOUT_RAISES": "true"},
    "WANDB_HTTP_TIMEOUT": _SECONDS_OF_A_REQUEST,
    **{"WANDB_CONSOLE": "off", "WANDB_SILENT": "true", "WANDB_PROJECT": "bigain"},
    # W&B would record user, host, home folder, command line and environment, and send tracebacks.
    **dict.fromkeys(("WANDB_DISABLE_GIT", "WANDB_DISABLE_JOB_CREATION"), "true"),
    **dict.fromkeys(("WANDB_X_DISABLE_STATS", "WANDB_X_DISABLE_META"), "true"),
    "WANDB_X_DISABLE_MACHINE_INFO": "true",
    **dict.fromkeys(("WANDB_SAVE_CODE", "WANDB_X_SAVE_REQUIREMENTS"), "false"),
    **dict.fromkeys(("WANDB_HOST", "WANDB_USERNAME", "WANDB_USER_EMAIL"), "-"),
    "WANDB_ERROR_REPORTING": "false",
}
"""W&B's environment variables and our defaults; the user's own value wins."""


_SERVICE_IS_GONE = (HandleAbandonedError, MailboxClosedError)
"""What W&B raises if the process that writes its files was killed."""


class WandbClient:
    """The client of W&B; its files are in `<results>/wandb`."""

    name = "wandb"
    refusals: tuple[type[Exception], ...] = (wandb.Error, OSError, *_SERVICE_IS_GONE)
    remedy = "a server that answers and takes your key (wandb login), or --mode offline"
    keeps_steps = True

    def __init__(self) -> None:
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)

    def place(self, tracking: TrackingConfig) -> str:
        """Server, team, project and mode.

        Raises:
            UserError: W&B is disabled, so that nothing would be shown.
            wandb.Error: One of its environment variables has a value that it does not know.

        """
        known = _known_settings()
        mode = tracking.mode or known.mode
        if mode == "disabled":
            raise UserError("WANDB_MODE=disabled: shows nothing; allowed: online, offline")
        places = (tracking.entity or known.entity, tracking.project or known.project)
        return "|".join(map(str, (known.base_url, *places, mode)))

    def open(self, view: View, tracking: TrackingConfig, results: Path, done: int) -> "_WandbPage":
        """The W&B run of `view`; steps that W&B has are left alone.

        Raises:
            wandb.Error: W&B cannot be reached, or refuses the key.
            OSError: Its files cannot be written.

        """
        del done
        words = os.environ.get("WANDB_TAGS", "").split(",")
        _end_quietly()
        run = wandb.init(
            id=view.run_id,
            name=view.name,
            job_type=view.job_type,
            group=view.group,
            tags=tuple(dict.fromkeys([*view.tags, *filter(None, words)])),
            config=dict(view.config),
            project=tracking.project,
            entity=tracking.entity,
            mode=tracking.mode,
            dir=os.environ.get("WANDB_DIR") or results,
            resume="allow",
            reinit="create_new",
        )
        for name, is_higher_better in HIGHER_IS_BETTER.items():
            if name not in HISTORY:
                run.define_metric(name, summary="max" if is_higher_better else "min")
        return _WandbPage(run)


class WandbSink(Dashboard):
    """The tracker `wandb`."""

    def __init__(self) -> None:
        super().__init__(WandbClient())


class _WandbPage:
    def __init__(self, run: Any) -> None:
        self._run = run
        self._known = run.step  # steps below are in W&B already

    def log(self, point: Mapping[str, float], step: int) -> None:
        if step >= self._known:
            self._run.log(dict(point), step=step)

    def show(self, metrics: Sequence[Mapping[str, Any]], media: Media, step: int) -> None:
        self._run.summary.update(summary(metrics))
        shown: dict[str, Any] = {
            **{name: wandb.Image(_plain(each)) for name, each in media.pictures.items()},
            **{name: wandb.Html(_html(each)) for name, each in media.tables.items()},
        }
        if shown:  # a step of its own: a run that is continued may have been killed at `step`
            self._run.log(shown, step=max(step + 1, self._known))

    def finish(self, *, failed: bool = False) -> None:
        self._run.finish(exit_code=int(failed))
        if self._run.offline:
            _wait_until_whole(Path(self._run.settings.sync_file))


def _known_settings() -> wandb.Settings:
    try:
        return wandb.setup().settings
    except ValidationError as error:
        (first, *_) = error.errors()
        name = f"WANDB_{first['loc'][0]}".upper()
        raise wandb.Error(f"{name}={first['input']}: {first['msg']}") from error


def _wait_until_whole(file: Path) -> None:
    """W&B's service answers before it has written the end of the file."""
    latest = time.monotonic() + float(_SECONDS_TO_ANSWER)
    while not is_whole(file):
        if time.monotonic() > latest:
            raise OSError(errno.ENOSPC, "W&B could not write all of it", file.name)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


@cache
def _end_quietly() -> None:
    """W&B's own hook would end the process with a traceback if its service was killed.

    This one runs before it, and takes it away.
    """
    wandb.setup()
    atexit.register(_teardown)
    log = logging.getLogger("wandb")
    if not wandb.env.is_debug():  # its log would name the folders of this machine
        log.setLevel(logging.WARNING)
    add = log.addHandler

    def add_without_complaints(handler: logging.Handler) -> None:
        """A full disk would be a traceback on the terminal for each line of W&B's log of a run."""
        vars(handler)["handleError"] = lambda _record: None
        add(handler)

    vars(log)["addHandler"] = add_without_complaints


def _teardown() -> None:
    with suppress(Exception):
        wandb.teardown()


def _html(table: Table) -> str:
    """The table as a file of the run.

    A W&B table would be an artifact: a copy in the user's home folder, by its absolute path.
    """
    rows = pd.DataFrame(table.rows, columns=list(table.columns))
    return rows.to_html(index=False, border=0)


def _plain(picture: Any) -> Any:
    return str(picture) if isinstance(picture, Path) else picture
