"""One call of `bigain figures`: its profile, settings and folders."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigain.config import RunConfig
from bigain.config.messages import did_you_mean
from bigain.errors import UserError

__all__ = ["PROFILES", "Compose", "FigureRequest", "TableRun", "TableRuns", "check_overrides"]

PROFILES = ("mini", "paper")

Compose = Callable[[Sequence[Sequence[str]]], list[RunConfig]]
"""Overrides of several runs -> their configurations (`bigain.launch.compose.compose_configs`)."""


@dataclass(frozen=True)
class TableRun:
    """A run that one of the paper's tables plans.

    Attributes:
        place: Its backbone, dataset and task.
        operator: The operator of its row.
        setting: The setting of its column, such as `ratio=0.3`; empty for the baseline.
        config: Its configuration.
        run_id: Its run id.

    """

    place: tuple[str, str, str]
    operator: str
    setting: str
    config: RunConfig
    run_id: str


TableRuns = Callable[[int, str, str, Sequence[str], Compose], list[TableRun]]
"""(number of a table, profile, grid, overrides, compose) -> the runs that it plans."""

_FIXED = ("backbone", "dataset", "operator", "task", "profile", "experiment")


@dataclass(frozen=True)
class FigureRequest:
    """One call of `bigain figures`.

    Attributes:
        profile: `mini` or `paper`.
        backbone: Only this one, or None for all backbones of the profile.
        extra: Overrides for all runs and models, such as `seed=1`.
        results: Folder with runs/ and <profile>/runs.csv.
        folder: Folder for the pictures.
        compose: Turns overrides into configurations.
        table_runs: The runs that a table plans, the only source of the runs of Figure 2.

    """

    profile: str
    backbone: str | None
    extra: tuple[str, ...]
    results: Path
    folder: Path
    compose: Compose
    table_runs: TableRuns

    def configs(self, commands: Sequence[Sequence[str]]) -> list[RunConfig]:
        """Configurations of `commands`, with the profile and the extra overrides."""
        return self.compose([(*self._profile, *command, *self.extra) for command in commands])

    def command(self, *overrides: str, sweep: bool = False) -> str:
        """The command line for these runs, without the profile if it is the default."""
        words = ("python", "-m", "bigain", *(("-m",) if sweep else ()))
        return shlex.join((*words, *self._profile, *overrides, *self.extra))

    @property
    def _profile(self) -> tuple[str, ...]:
        return () if self.profile == PROFILES[0] else (f"profile={self.profile}",)

    def chosen(self, backbones: Sequence[str]) -> list[str]:
        """The requested backbones of a figure.

        Raises:
            UserError: The figure does not have the requested one.

        """
        names = list(dict.fromkeys(backbones))
        if self.backbone is None:
            return names
        if self.backbone not in names:
            hint = did_you_mean(self.backbone, names)
            raise UserError(f"--backbone={self.backbone}: allowed: {', '.join(names)}{hint}")
        return [self.backbone]


def check_overrides(extra: Sequence[str]) -> None:
    """Raise UserError for a word that is not an override, or that overrides a fixed setting."""
    for word in extra:
        key = word.lstrip("+~").partition("=")[0]
        if "=" not in word:
            raise UserError(f"figures: {word}: allowed: figure numbers and key=value")
        if key in _FIXED or key.startswith("operator."):
            raise UserError(
                f"{word}: the figures set {key} themselves; allowed: settings shared by all runs, "
                "such as seed=1, dataset.limit=25, backbone.path=FOLDER with --backbone"
            )
