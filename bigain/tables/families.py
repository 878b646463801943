"""Holm's correction for the paper's orderings, over those of all tables together.

With many comparisons a small p value becomes likely by chance alone.  A family is all that is
planned, in the profile, of one kind of orderings (`bigain.tables.verdicts`), whatever tables are
rendered: so a table says the same alone and among all.  One that was not measured counts with
p = 1, so no family grows when a run finishes.  Two runs that several tables compare in one metric
are one hypothesis, and count once.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from bigain.config.paper import load_paper
from bigain.metrics import holm
from bigain.runs.archive import Archive
from bigain.runs.identity import describing_columns, run_id
from bigain.runs.store import RunStore, damaged_runs, run_folders
from bigain.tables.cells import measure, named_pairs
from bigain.tables.planner import CellKey, Compose, Plan, commands_of, has_setting, plan_cells
from bigain.tables.quantities import QUANTITIES
from bigain.tables.sources import Hypothesis, Sources
from bigain.tables.spec import TableSpec
from bigain.tables.verdicts import Kind, orderings

__all__ = ["Corrected", "Families", "corrected_of", "holm_of_planned"]

Corrected = Mapping[Hypothesis, float]
"""p values with Holm's correction; 1 of what was planned and not measured."""

_NAMED = ("backbone", "dataset", "task", "operator")
_ALONG = ("ratio", "factor", "scope", "score")


class Families:
    """The corrected p values of a set of tables; computed once for all that are rendered.

    Args:
        tables: Reads all that belong to the families.
        compose: Makes configurations of overrides.

    """

    def __init__(self, tables: Callable[[], Iterable[TableSpec]], compose: Compose) -> None:
        self._tables = tables
        self._compose = compose
        self._known: dict[tuple[object, ...], Corrected] = {}

    def of(self, plan: Plan) -> Corrected:
        """Those of the profile, grid and settings of a plan, from what is finished.

        Raises:
            UserError: Records are damaged, or two runs do not cover the same images.

        """
        key = (plan.results, plan.profile, plan.grid, plan.extra)
        if key not in self._known:
            sources = list(self._sources(plan))
            self._known[key] = corrected_of(sources, self._planned(sources))
        return self._known[key]

    def _planned(self, tables: Sequence[Sources]) -> Mapping[Kind, Collection[Hypothesis]]:
        """What is not measured; its runs are named without a user's settings, which all share."""
        found: dict[Kind, set[Hypothesis]] = {}
        for sources in tables:
            plan = sources.plan
            commands = commands_of(plan.spec, plan.profile, plan.grid, ())
            open_ones = [
                each
                for each in orderings(sources, planned=True)
                if each.difference is None and each.paper_says is not None
                if all(cell in commands for cell in each.cells)
            ]
            cells = list(dict.fromkeys(cell for each in open_ones for cell in each.cells))
            configs = self._compose([commands[cell] for cell in cells])
            names = {cell: run_id(own) for cell, own in zip(cells, configs, strict=True)}
            for each in open_ones:
                runs = frozenset(names[cell] for cell in each.cells)
                found.setdefault(each.kind, set()).add(Hypothesis(runs, each.metric))
        return found

    def _sources(self, plan: Plan) -> Iterator[Sources]:
        done = _finished(Archive(plan.results, plan.profile))
        paper = load_paper()
        for spec in self._tables() if done else ():
            if plan.profile in spec.profiles:
                own = _part(spec, plan, done, self._compose)
                yield Sources(own, measure(own, plan.results, named_pairs), paper)


def corrected_of(
    tables: Sequence[Sources], planned: Mapping[Kind, Collection[Hypothesis]] | None = None
) -> Corrected:
    """The corrected p values of the hypotheses in these tables.

    Args:
        tables: With what was measured.
        planned: Further hypotheses of each kind, without a measurement.

    """
    kinds: dict[Kind, dict[Hypothesis, float]] = {}
    for each in (ordering for sources in tables for ordering in orderings(sources)):
        if each.hypothesis is not None and each.difference is not None:
            kinds.setdefault(each.kind, {})[each.hypothesis] = each.difference.p
    return holm_of_planned(kinds, planned or {})


def holm_of_planned(
    measured: Mapping[Kind, Mapping[Hypothesis, float]],
    planned: Mapping[Kind, Collection[Hypothesis]],
) -> Corrected:
    """Holm's correction in each family, where all that is planned and not measured has p = 1."""
    found: dict[Hypothesis, float] = {}
    for kind in {**measured, **planned}:
        own = dict(measured.get(kind, {}))
        own |= {each: 1.0 for each in planned.get(kind, ()) if each not in own}
        found |= zip(own, holm(list(own.values())), strict=True)
    return found


def _part(spec: TableSpec, plan: Plan, done: Sequence[Mapping[str, str]], compose: Compose) -> Plan:
    """The plan of those cells of a table whose runs may be finished: composing takes long."""
    grids = spec.profile(plan.profile).grids
    grid = plan.grid if not grids or plan.grid in grids else "default"
    extra = tuple(_meant_for(spec, plan))
    commands = {
        cell: command
        for cell, command in commands_of(spec, plan.profile, grid, extra).items()
        if _may_be_done(cell, command, done)
    }
    return plan_cells(spec, plan.profile, grid, extra, commands, compose)


def _meant_for(spec: TableSpec, plan: Plan) -> Iterator[str]:
    """The user's settings that runs of this table have; those that none has were refused before."""
    profile = spec.profile(plan.profile)
    works = {QUANTITIES[block.metric].work for block in profile.blocks}
    is_own = profile.backbone == plan.spec.profile(plan.profile).backbone
    for override in plan.extra:
        group, _, key = override.lstrip("+~").partition("=")[0].partition(".")
        if group == "task" and not any(has_setting(work, key) for work in works):
            continue
        if group != "backbone" or is_own:
            yield override


def _finished(archive: Archive) -> Sequence[Mapping[str, str]]:
    """The describing columns of all finished runs, here or published."""
    published = [archive.published_rows(name)[0].columns for name in archive.run_ids()]
    damaged = damaged_runs(archive.results)
    names = (each.name for each in run_folders(archive.results) if each.name not in damaged)
    stores = (RunStore(archive.results, name) for name in names)
    own = (describing_columns(each.manifest()["config"]) for each in stores if each.is_finished())
    return [*published, *({name: str(cell) for name, cell in each.items()} for each in own)]


def _may_be_done(cell: CellKey, command: Sequence[str], done: Sequence[Mapping[str, str]]) -> bool:
    """Whether one of the finished runs looks like that of a cell; runs of a time order nothing."""
    if cell.place.work not in ("classification", "generation"):
        return False
    said = dict(override.split("=", 1) for override in command)
    wanted = {key: said[key] for key in _NAMED}
    wanted |= {key: said[f"operator.{key}"] for key in _ALONG if f"operator.{key}" in said}
    return any(all(_is_same(run[key], value) for key, value in wanted.items()) for run in done)


def _is_same(cell: str, value: str) -> bool:
    """Whether two texts are equal, or two numbers."""
    try:
        return float(cell) == float(value)
    except ValueError:
        return cell == value
