"""From a table to its runs: one per cell, none twice, and which of them are done.

Overrides that a user adds go to the runs that have such a setting.

A *cell* is a place (backbone, dataset, kind of work), a row and a column.  The baseline is one cell
per place, or one per column where columns differ in more than the operator.
"""

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bigain.config import ClassificationConfig, EfficiencyConfig, GenerationConfig, RunConfig
from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.runs.identity import run_id
from bigain.tables.quantities import QUANTITIES
from bigain.tables.spec import Block, Column, Delta, Row, TableSpec
from bigain.tasks.protocol import StagedProtocol

__all__ = [
    "BASELINE",
    "DEFAULT_PROFILE",
    "NONE",
    "CellKey",
    "Compose",
    "Place",
    "Plan",
    "PlannedRun",
    "adding",
    "commands_of",
    "concerning",
    "has_setting",
    "pending",
    "place_of",
    "plan_cells",
    "plan_table",
    "refuse_fixed_keys",
    "remembering",
    "yielding",
]

Compose = Callable[[Sequence[Sequence[str]]], list[RunConfig]]
"""Overrides of several runs -> their configurations (`bigain.launch.compose.compose_configs`)."""

DEFAULT_PROFILE = "mini"
NONE = "none"
"""Row id and operator id of the baseline."""
BASELINE = Row(id=NONE, method=NONE, label="baseline")

_WORK = {
    "classification": ("task=classification",),
    "generation": ("task=generation",),
    "flops": ("task=efficiency", "task.measure=flops"),
    "time": ("task=efficiency", "task.measure=time"),
}

_SETTINGS = {
    "classification": ClassificationConfig.model_fields.keys(),
    "generation": GenerationConfig.model_fields.keys(),
    "flops": EfficiencyConfig.model_fields.keys(),
    "time": EfficiencyConfig.model_fields.keys(),
}
"""Kind of work -> the settings of its task."""

_FIXED_KEYS = ("backbone", "dataset", "dataset.name", "operator", "task", "profile", "experiment")


class Place(NamedTuple):
    """Where something is measured; the dataset of what reads none is empty, as is any device."""

    backbone: str
    dataset: str
    work: str
    device: str = ""


class CellKey(NamedTuple):
    """One cell; the column of the baseline is empty unless it differs by column."""

    place: Place
    row: str
    column: str = ""


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan.

    Attributes:
        overrides: What `python -m bigain` needs to make it.
        config: The validated configuration.
        run_id: Its name in the run store.
        finished: Whether its records are available.
        evaluations: Denoiser evaluations of one sample that it takes in all.
        on_request: Whether a table leaves it to its own command: it needs a device of its own.

    """

    overrides: tuple[str, ...]
    config: RunConfig
    run_id: str
    finished: bool
    evaluations: int
    on_request: bool = False

    @property
    def command(self) -> str:
        """The command line that makes this run."""
        return shlex.join(("python", "-m", "bigain", *self.overrides))


@dataclass(frozen=True)
class Plan:
    """What a table needs in one profile and grid.

    `extra` are the overrides of all its runs; `baselines` the cell of the baseline of each cell.
    """

    spec: TableSpec
    profile: str
    grid: str
    extra: tuple[str, ...]
    runs: Mapping[CellKey, PlannedRun]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns after the one of the baseline."""
        return self.spec.columns(self.profile, self.grid)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows."""
        return self.spec.rows_of(self.profile, self.grid)

    @property
    def deltas(self) -> tuple[Delta, ...]:
        """The comparisons."""
        return self.spec.deltas_of(self.profile, self.grid)

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

    def place(self, block: Block) -> Place:
        """Where a block is measured."""
        return place_of(self.spec, self.profile, block)

    def columns_of(self, block: Block) -> tuple[Column, ...]:
        """The columns that a block has."""
        return tuple(column for column in self.columns if _has(self.spec, block, column))

    def baseline(self, place: Place, column: str) -> CellKey:
        """The cell of the baseline that stands beside a column."""
        own = CellKey(place, NONE, column)
        return own if own in self.runs else CellKey(place, NONE)

    def distinct(self) -> list[PlannedRun]:
        """Each run once, in the order of the table."""
        return list({run.run_id: run for run in self.runs.values()}.values())

    def missing(self) -> list[PlannedRun]:
        """The distinct runs without records."""
        return [run for run in self.distinct() if not run.finished]

    def pending(self) -> list[PlannedRun]:
        """The distinct runs to make: the missing ones, or with `force=true` all."""
        return pending(self.distinct())


def pending(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Those to make: missing or forced, and not left to their own command."""
    return [run for run in runs if (run.config.force or not run.finished) and not run.on_request]


def place_of(spec: TableSpec, profile: str, block: Block) -> Place:
    """Where a block is measured."""
    backbone = block.backbone or spec.profile(profile).backbone
    return Place(backbone, block.dataset, QUANTITIES[block.metric].work, block.device)


def plan_table(
    spec: TableSpec, profile: str, grid: str, extra: Sequence[str], compose: Compose
) -> Plan:
    """The runs of a table.

    Args:
        spec: The table.
        profile: `mini` or `paper`.
        grid: `default` or `full`.
        extra: Overrides of every run, such as `dataset.limit=20` or `paths.results=...`.
        compose: Makes configurations of overrides.

    Raises:
        UserError: An override sets what the table sets, or a run is not allowed, as a race.

    """
    spec.columns(profile, grid)
    refuse_fixed_keys(spec.number, extra)
    return plan_cells(spec, profile, grid, extra, commands_of(spec, profile, grid, extra), compose)


def commands_of(
    spec: TableSpec, profile: str, grid: str, extra: Sequence[str]
) -> dict[CellKey, tuple[str, ...]]:
    """The overrides of the run of every cell; nothing is composed."""
    # The default profile need not be named in what a reader may copy.
    size = () if profile == DEFAULT_PROFILE else (f"profile={profile}",)
    works = {place.work for place in _places(spec, profile)}
    own = spec.profile(profile).backbone
    return {
        cell: (
            *(*size, *overrides),
            *yielding(
                concerning(extra, cell.place.work, works, cell.place.backbone == own), overrides
            ),
        )
        for cell, overrides in _cells(spec, profile, grid)
    }


def plan_cells(
    spec: TableSpec,
    profile: str,
    grid: str,
    extra: Sequence[str],
    commands: Mapping[CellKey, tuple[str, ...]],
    compose: Compose,
) -> Plan:
    """The plan of those cells of a table that have `commands`; UserError as `plan_table`."""
    configs = compose(list(commands.values()))
    if any(isinstance(each.task, ClassificationConfig) and each.task.is_race for each in configs):
        raise UserError(
            "task.allocation=racing: a race has no noise errors and margins, which tables show; "
            "allowed: staged"
        )
    classes = {name: each.classes for name, each in spec.profile(profile).datasets.items()}
    runs = {
        cell: _planned(command, config, classes.get(cell.place.dataset, 0), cell.place.device)
        for (cell, command), config in zip(commands.items(), configs, strict=True)
    }
    return Plan(spec, profile, grid, tuple(extra), runs)


def _cells(spec: TableSpec, profile: str, grid: str) -> Iterator[tuple[CellKey, tuple[str, ...]]]:
    chosen = spec.profile(profile)
    for place, blocks in _places(spec, profile).items():
        dataset = (f"dataset={place.dataset}",) if place.dataset else ()
        device = (f"device={place.device}",) if place.device else ()
        common = (f"backbone={place.backbone}", *dataset, *_WORK[place.work], *device)
        columns = [
            column
            for column in spec.columns(profile, grid)
            if any(_has(spec, block, column) for block in blocks)
        ]
        for column in columns if _needs_none(spec, blocks) else []:
            key = CellKey(place, NONE, column.id if column.of_run else "")
            yield key, (*common, f"operator={NONE}", *column.of_run, *chosen.set)
        for row in spec.rows_of(profile, grid):
            runs = row.run and row.method != NONE and row.does(place.work)
            for column in columns if runs else []:
                own = row.overrides(place.backbone, column.id)
                if own is not None:
                    method = (f"operator={column.method or row.method}",)
                    overrides = (*common, *method, *column.set, *own, *chosen.set)
                    yield CellKey(place, row.id, column.id), overrides


def _places(spec: TableSpec, profile: str) -> dict[Place, list[Block]]:
    places: dict[Place, list[Block]] = {}
    for block in spec.profile(profile).blocks:
        places.setdefault(place_of(spec, profile, block), []).append(block)
    return places


def _has(spec: TableSpec, block: Block, column: Column) -> bool:
    if block.columns is None:
        return True
    named = (each if isinstance(each, str) else spec.column_at(each).id for each in block.columns)
    return column.id in named


def _needs_none(spec: TableSpec, blocks: Iterable[Block]) -> bool:
    needed = (QUANTITIES[block.metric] for block in blocks)
    return spec.baseline != "absent" or any(each.needs_none or each.scaled for each in needed)


def _planned(
    overrides: tuple[str, ...], config: RunConfig, classes: int, device: str
) -> PlannedRun:
    name = run_id(config)
    finished = Archive(config.paths.results, config.profile).is_available(name)
    evaluations = _evaluations(config, classes)
    return PlannedRun(overrides, config, name, finished, evaluations, bool(device))


def _evaluations(config: RunConfig, classes: int) -> int:
    """Denoiser evaluations of one sample; guidance takes two for each step and image."""
    task = config.task
    if isinstance(task, ClassificationConfig):
        protocol = StagedProtocol(task.trial_list, task.keep_list)
        return config.dataset.num_images * protocol.evaluations(classes)
    if isinstance(task, GenerationConfig):
        per_step = 1 if task.guidance_scale == 1 else 2
        return config.dataset.num_images * task.steps * per_step
    return _timed(task, config)


def _timed(task: EfficiencyConfig, config: RunConfig) -> int:
    if "time" not in task.measures:
        return 0
    ways = 1 if config.operator.name == NONE else 2
    return ways * config.named_batch_size * (task.warmup + task.repeats * task.steps)


def concerning(
    extra: Sequence[str], work: str, works: Collection[str], is_own_backbone: bool
) -> Iterator[str]:
    """The overrides that are meant for the runs of one kind of work.

    A setting of another task of the table goes to the runs that have it, and one of the backbone to
    those of the profile's own backbone.  A setting that none has goes to all, to be refused.

    Args:
        extra: What the user added.
        work: Of the runs in question.
        works: All kinds of work in the table.
        is_own_backbone: Whether the runs are of the profile's backbone.

    """
    for override in extra:
        group, _, key = _key(override).partition(".")
        has_it = [each for each in works if has_setting(each, key)]
        if group == "task" and has_it and work not in has_it:
            continue
        if group != "backbone" or is_own_backbone:
            yield override


def has_setting(work: str, key: str) -> bool:
    """Whether the task of a kind of work has `task.KEY`."""
    return key in _SETTINGS[work]


def yielding(extra: Iterable[str], own: Iterable[str]) -> Iterator[str]:
    """Those of `extra` whose keys a cell does not set itself, as Table 14 sets the images."""
    taken = {_key(override) for override in own}
    return (override for override in extra if _key(override) not in taken)


def refuse_fixed_keys(number: int, extra: Sequence[str]) -> None:
    """Raise UserError for an override of what the table sets itself."""
    for override in extra:
        key = _key(override)
        if key in _FIXED_KEYS or key.startswith("operator."):
            raise UserError(
                f"{override}: Table {number} sets {key} itself; allowed: settings of all its "
                "runs, such as dataset.limit=20, seed=1, batch_size=64, paths.results=FOLDER"
            )


def adding(compose: Compose, extra: Sequence[str]) -> Compose:
    """`compose` that adds the same overrides to all."""
    return lambda commands: compose([(*command, *extra) for command in commands])


def remembering(compose: Compose) -> Compose:
    """`compose` that makes no configuration twice: tables share many runs."""
    known: dict[tuple[str, ...], RunConfig] = {}

    def composed(commands: Sequence[Sequence[str]]) -> list[RunConfig]:
        wanted = [tuple(command) for command in commands]
        fresh = [command for command in dict.fromkeys(wanted) if command not in known]
        known.update(zip(fresh, compose(fresh), strict=True))
        return [known[command] for command in wanted]

    return composed


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
