"""What was asked of the figures: which profile, whose runs, and where the pictures go."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigain.config import RunConfig
from bigain.config.messages import did_you_mean
from bigain.errors import UserError

__all__ = ["PROFILES", "Compose", "FigureRequest", "check_overrides"]

PROFILES = ("mini", "paper")

Compose = Callable[[Sequence[Sequence[str]]], list[RunConfig]]
"""Overrides of several runs -> their configurations (`bigain.launch.compose.compose_configs`)."""

_FIXED = ("backbone", "dataset", "operator", "task", "profile", "experiment")


@dataclass(frozen=True)
class FigureRequest:
    """One call of `bigain figures`.

    Attributes:
        profile: `mini` or `paper`.
        backbone: Only this one, or None for all of the profile.
        extra: Overrides of all runs and models, such as `seed=1`.
        results: The folder that holds runs/ and <profile>/runs.csv.
        folder: Where the pictures go.
        compose: Makes configurations of overrides.

    """

    profile: str
    backbone: str | None
    extra: tuple[str, ...]
    results: Path
    folder: Path
    compose: Compose

    def configs(self, commands: Sequence[Sequence[str]]) -> list[RunConfig]:
        """The configurations of `commands` in this profile, with the overrides of all."""
        return self.compose([(*self._profile, *command, *self.extra) for command in commands])

    def command(self, *overrides: str, sweep: bool = False) -> str:
        """The command line that makes these runs."""
        words = ("python", "-m", "bigain", *(("-m",) if sweep else ()))
        return shlex.join((*words, *self._profile, *overrides, *self.extra))

    @property
    def _profile(self) -> tuple[str, ...]:
        """The default profile need not be named in what a reader may copy."""
        return () if self.profile == PROFILES[0] else (f"profile={self.profile}",)

    def chosen(self, backbones: Sequence[str]) -> list[str]:
        """Those of a figure's `backbones` that were asked for.

        Raises:
            UserError: The one that was asked for is not among them.

        """
        if self.backbone is None:
            return list(dict.fromkeys(backbones))
        if self.backbone not in backbones:
            names = list(dict.fromkeys(backbones))
            hint = did_you_mean(self.backbone, names)
            raise UserError(f"--backbone={self.backbone}: allowed: {', '.join(names)}{hint}")
        return [self.backbone]


def check_overrides(extra: Sequence[str]) -> None:
    """Raise UserError for a word that is no override, or sets what the figures set."""
    for word in extra:
        key = word.lstrip("+~").partition("=")[0]
        if "=" not in word:
            raise UserError(f"figures: {word}: allowed: numbers of figures, then key=value")
        if key in _FIXED or key.startswith("operator."):
            raise UserError(
                f"{word}: the figures set {key} themselves; allowed: settings of all their runs, "
                "such as seed=1, dataset.limit=25, backbone.path=FOLDER with --backbone"
            )
