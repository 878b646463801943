"""From a table to its runs: one per cell, none twice, and which of them are done.

A *cell* is (dataset, row id, setting); its setting is empty for no acceleration, else `ratio=0.7`
or `factor=2`.  No acceleration is one cell per dataset, whatever the row.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigain.config import ClassificationConfig, RunConfig
from bigain.errors import UserError
from bigain.runs.identity import run_id
from bigain.tables.samples import has_samples
from bigain.tables.spec import TableSpec
from bigain.tasks.protocol import StagedProtocol

__all__ = [
    "DEFAULT_PROFILE",
    "NONE",
    "CellKey",
    "Compose",
    "Plan",
    "PlannedRun",
    "plan_table",
    "setting_name",
]

DEFAULT_PROFILE = "mini"
NONE = "none"
"""Row id and operator id of no acceleration."""

CellKey = tuple[str, str, str]
"""(dataset, row id, setting)."""

Compose = Callable[[Sequence[Sequence[str]]], list[RunConfig]]
"""Overrides of several runs -> their configurations (`bigain.compose.compose_configs`)."""

_FIXED_KEYS = ("backbone", "dataset", "dataset.name", "operator", "task", "profile", "experiment")


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan.

    Attributes:
        overrides: What `python -m bigain` needs to make it.
        config: The validated configuration.
        run_id: Its name in the run store.
        finished: Whether its per-image records are at hand.
        evaluations_per_image: Denoiser evaluations that one image takes.

    """

    overrides: tuple[str, ...]
    config: RunConfig
    run_id: str
    finished: bool
    evaluations_per_image: int

    @property
    def command(self) -> str:
        """The command line that makes this run."""
        return shlex.join(("python", "-m", "bigain", *self.overrides))

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations of the whole run."""
        return self.config.dataset.num_images * self.evaluations_per_image


@dataclass(frozen=True)
class Plan:
    """What a table needs in one profile and grid.

    `extra` are the overrides of all its runs.
    """

    spec: TableSpec
    profile: str
    grid: str
    extra: tuple[str, ...]
    runs: Mapping[CellKey, PlannedRun]

    @property
    def settings(self) -> list[str]:
        """The names of the columns after the one of no acceleration."""
        columns = self.spec.columns(self.profile, self.grid)
        return [setting_name(self.spec.axis, value) for value in columns]

    @property
    def command(self) -> str:
        """The command line that makes all missing runs and renders the table."""
        grid = () if self.grid == "default" else ("--grid", self.grid)
        start = ("python", "-m", "bigain", "table", str(self.spec.number))
        return shlex.join((*start, "--profile", self.profile, *grid, *self.extra))

    @property
    def results(self) -> Path:
        """`paths.results`, the same of all its runs."""
        return next(iter(self.runs.values())).config.paths.results

    def distinct(self) -> list[PlannedRun]:
        """Each run once, in the order of the table."""
        return list({run.run_id: run for run in self.runs.values()}.values())

    def missing(self) -> list[PlannedRun]:
        """The distinct runs without records."""
        return [run for run in self.distinct() if not run.finished]

    def pending(self) -> list[PlannedRun]:
        """The distinct runs to make: the missing ones, or with `force=true` all."""
        return [run for run in self.distinct() if run.config.force or not run.finished]


def setting_name(axis: str, value: float) -> str:
    """How a column is called in the paper's CSV and ours: `ratio=0.3`, `factor=2`."""
    return f"{axis}={value:g}"


def plan_table(
    spec: TableSpec,
    profile: str,
    grid: str,
    extra: Sequence[str],
    compose: Compose,
) -> Plan:
    """The runs of a table.

    Args:
        spec: The table.
        profile: `mini` or `paper`.
        grid: `default` or `full`.
        extra: Overrides of every run, such as `dataset.limit=20` or `paths.results=...`.
        compose: Makes configurations of overrides.

    Raises:
        UserError: An override sets what the table sets, or a run is not allowed.

    """
    spec.columns(profile, grid)
    _refuse_fixed_keys(spec, extra)
    cells = dict(_cells(spec, profile, grid))
    # The default profile need not be named in what a reader may copy.
    size = () if profile == DEFAULT_PROFILE else (f"profile={profile}",)
    commands = [(*size, *overrides, *extra) for overrides in cells.values()]
    configs = compose(commands)
    classes = {name: each.classes for name, each in spec.profile(profile).datasets.items()}
    runs = {
        cell: _planned(command, config, classes[cell[0]])
        for cell, command, config in zip(cells, commands, configs, strict=True)
    }
    return Plan(spec, profile, grid, tuple(extra), runs)


def _cells(spec: TableSpec, profile: str, grid: str) -> Iterator[tuple[CellKey, tuple[str, ...]]]:
    chosen = spec.profile(profile)
    for dataset in dict.fromkeys(block.dataset for block in chosen.blocks):
        common = (f"backbone={chosen.backbone}", f"dataset={dataset}", f"task={spec.task}")
        yield (dataset, NONE, ""), (*common, f"operator={NONE}")
        for row in spec.rows_of(grid):
            fixed = chosen.settings.get(row.id, ())
            for value in spec.columns(profile, grid):
                setting = setting_name(spec.axis, value)
                operator = (f"operator={row.method}", f"operator.{setting}", *fixed)
                yield (dataset, row.id, setting), (*common, *operator)


def _planned(overrides: tuple[str, ...], config: RunConfig, classes: int) -> PlannedRun:
    name = run_id(config)
    task = config.task_as(ClassificationConfig)
    protocol = StagedProtocol(task.trial_list, task.keep_list)
    finished = has_samples(config.paths.results, config.profile, name)
    return PlannedRun(overrides, config, name, finished, protocol.evaluations(classes))


def _refuse_fixed_keys(spec: TableSpec, extra: Sequence[str]) -> None:
    for override in extra:
        key = override.lstrip("+~").partition("=")[0]
        if key in _FIXED_KEYS or key.startswith("operator."):
            raise UserError(
                f"{override}: Table {spec.number} sets {key} itself; allowed: settings of all its "
                "runs, such as dataset.limit=20, seed=1, batch_size=64, paths.results=FOLDER"
            )
