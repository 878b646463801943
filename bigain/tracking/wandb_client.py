"""W&B: one W&B run for each run, under the same id (https://docs.wandb.ai)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from bigain.config import TrackingConfig
from bigain.metrics import HIGHER_IS_BETTER
from bigain.tracking.dashboard import Dashboard
from bigain.tracking.pictures import Media
from bigain.tracking.view import View, summary

__all__ = ["WandbClient", "WandbSink"]

_SECONDS_TO_ANSWER = 12
"""W&B may take this long to answer at the start of a run, and again at its end."""

_QUICK: Mapping[str, Any] = {
    "console": "off",
    "silent": True,
    **dict.fromkeys(("init_timeout", "login_timeout", "finish_timeout"), _SECONDS_TO_ANSWER),
}

_PRIVATE: Mapping[str, Any] = {
    **dict.fromkeys(("disable_git", "x_disable_stats", "x_disable_meta"), True),
    **dict.fromkeys(("x_disable_machine_info", "disable_job_creation"), True),
    **dict.fromkeys(("save_code", "x_save_requirements"), False),
    **dict.fromkeys(("host", "username", "email"), "-"),
}
"""W&B would record user, host, home folder, command line and environment."""


class WandbClient:
    """The client of W&B; its files are in `<results>/wandb`."""

    refusals: tuple[type[Exception], ...] = (wandb.Error,)
    remedy = "a server that answers and takes your key (wandb login), or --mode offline"

    def open(self, view: View, tracking: TrackingConfig, results: Path, done: int) -> "_WandbPage":
        """The W&B run of `view`; steps that W&B has are left alone.

        Raises:
            wandb.Error: W&B cannot be reached, or refuses the key.

        """
        del done
        run = wandb.init(
            id=view.run_id,
            name=view.name,
            job_type=view.job_type,
            group=view.group,
            tags=view.tags,
            config=dict(view.config),
            project=tracking.project or os.environ.get("WANDB_PROJECT") or "bigain",
            entity=tracking.entity,
            mode=tracking.mode,
            dir=results,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(**_QUICK, **_PRIVATE),
        )
        for name, is_higher_better in HIGHER_IS_BETTER.items():
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
            **{
                name: wandb.Table(columns=[*each.columns], data=[[*row] for row in each.rows])
                for name, each in media.tables.items()
            },
        }
        if shown:
            self._run.log(shown, step=step)

    def finish(self, *, failed: bool = False) -> None:
        self._run.finish(exit_code=int(failed))


def _plain(picture: Any) -> Any:
    return str(picture) if isinstance(picture, Path) else picture
