"""Run an operator that acts by timestep inside a model: `Versions` in the place of modules.

`MaskTable`: every module of a branch is there or left out.  Which of the two a sample takes follows
from its timestep, which `ModelCall` sees, so a batch may mix timesteps.

`StageWeights`: a module is there once for each stage of timesteps, with fewer heads or units.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from bigain.errors import UserError
from bigain.operators import ByTimestep, MaskTable, StageWeights
from bigain.patching.applied import Applied
from bigain.patching.branches import Branch, cost_in_branch, find_branches
from bigain.patching.forward import ModelCall
from bigain.patching.narrow import narrowed
from bigain.patching.versions import Versions, in_place_of

__all__ = ["Gates", "PruningReport", "apply_by_timestep"]

_ON, _OFF = 0, 1


@dataclass(frozen=True, eq=False)
class Place:
    """One module that has versions now.

    Attributes:
        name: path in the model.
        part: of the branch that it belongs to.
        versions: what stands there.

    """

    name: str
    part: str
    versions: Versions

    @property
    def flops_saved(self) -> float | None:
        """FLOPs saved here in the last forward per sample; None: not known."""
        if self.versions.seen is None:
            return 0.0
        places, second, chosen = self.versions.seen
        keys = places if second is None else second
        dense = cost_in_branch(self.part, self.versions.dense)
        saved = 0
        for number in chosen:
            module = self.versions.version(number)
            own = None if module is None else cost_in_branch(self.part, module)
            if dense is None or (module is not None and own is None):
                return None
            saved += dense.flops(places, keys) - (own.flops(places, keys) if own else 0)
        return saved / len(chosen)


@dataclass(eq=False, repr=False)
class PruningReport(Applied):
    """An operator that acts by timestep, applied to a model; see `Applied`.

    Attributes:
        places: the modules that have versions.

    """

    places: tuple[Place, ...]

    @property
    def flops_saved(self) -> int | None:
        """FLOPs saved in the last forward per sample, rounded; None: not known at one module."""
        saved = [place.flops_saved for place in self.places]
        return None if None in saved else round(sum(each for each in saved if each is not None))

    def count(self, seen: Mapping[str, Any]) -> None:
        """Count a complete forward; the places know what they saw."""
        del seen
        self.forwards += 1

    def verify(self) -> None:
        """Check that a forward reached one of the places, if there are any; see `Applied`."""
        reached = any(place.versions.seen is not None for place in self.places)
        if self.forwards and self.places and not reached:
            raise UserError(
                f"operator={self.operator!r}: {self.forwards} forwards of {self.model} reached "
                f"none of its {len(self.places)} modules: something replaced them"
            )

    def __repr__(self) -> str:
        state = "" if self.active else ", removed"
        return f"PruningReport({self.operator!r} on {self.model}, {len(self.places)} places{state})"


def apply_by_timestep(denoiser: nn.Module, operator: ByTimestep) -> PruningReport:
    """Apply `operator` to a model that has none; see `bigain.apply`.

    Raises:
        UserError: it was made for a model with other modules.

    """
    report = PruningReport(type(denoiser).__name__, operator, ())
    call = ModelCall(denoiser, report)
    try:
        report.keep(call.install())
        report.places = tuple(
            _put(denoiser, report, branch, path, versions)
            for branch, path, versions in _REPLACEMENTS[type(operator)](denoiser, operator, call)
        )
    except BaseException:
        report.remove()
        raise
    return report


def _put(
    denoiser: nn.Module, report: PruningReport, branch: Branch, path: str, versions: Versions
) -> Place:
    report.on_removal(in_place_of(denoiser, path, versions))
    return Place(path, branch.part, versions)


def _gated(
    denoiser: nn.Module, operator: MaskTable, call: ModelCall
) -> Iterator[tuple[Branch, str, Versions]]:
    """Versions on and off of every module of a branch that is left out at some timestep."""
    branches = find_branches(denoiser)
    names = [branch.name for branch in branches]
    if sorted(names) != sorted(operator.branches):
        differ = sorted(set(names) ^ set(operator.branches))
        raise UserError(
            f"operator={operator!r}: has masks for {len(operator.branches)} branches, "
            f"{type(denoiser).__name__} has {len(names)} ({differ[0]} is in one of them only); "
            "allowed: the model that it was calibrated for"
        )
    column = {name: number for number, name in enumerate(operator.branches)}
    for branch in branches:
        number = column[branch.name]
        if all(mask[number] for mask in operator.masks.values()):
            continue
        chosen = partial(_masked, call, branch.name, operator, number)
        for path, module in branch.modules:
            yield branch, path, Versions(module, {_ON: module, _OFF: None}, chosen)


def _masked(call: ModelCall, place: str, operator: MaskTable, number: int) -> list[int]:
    times = call.forward_at(place).times_at(place)
    return [_ON if operator.pattern(time)[number] else _OFF for time in times]


def _staged(
    denoiser: nn.Module, operator: StageWeights, call: ModelCall
) -> Iterator[tuple[Branch, str, Versions]]:
    """A version of each module for every stage in which it loses something."""
    branches = {branch.name: branch for branch in find_branches(denoiser)}
    unknown = [path for path in operator.modules if path not in branches]
    if unknown:
        raise UserError(
            f"operator={operator!r}: has weights for {unknown[0]}, which "
            f"{type(denoiser).__name__} has not; allowed: the model that it was calibrated for"
        )
    for path, stages in operator.modules.items():
        if not any(stages):
            continue
        branch = branches[path]
        ((_, module),) = branch.modules
        versions = {
            number: module if kept is None else narrowed(branch.part, module, kept)
            for number, kept in enumerate(stages)
        }
        yield branch, path, Versions(module, versions, partial(_stages, call, path, operator))


def _stages(call: ModelCall, place: str, operator: StageWeights) -> list[int]:
    return [operator.pattern(time) for time in call.forward_at(place).times_at(place)]


_REPLACEMENTS: Mapping[type[ByTimestep], Any] = {MaskTable: _gated, StageWeights: _staged}
"""Kind of operator -> what it puts in the place of which modules."""


class Gates:
    """All branches of a model with a gate that is set by row: to find out what each is worth.

    A context manager; inside it, `rows(mask)` sets the gates of the next forwards.

    Attributes:
        branches: those of the model, in its order.

    """

    def __init__(self, denoiser: nn.Module) -> None:
        self._denoiser = denoiser
        self.branches = find_branches(denoiser)
        self._mask: list[list[int]] | None = None
        self._places: list[tuple[int, Place]] = []
        self._restore: list[Callable[[], None]] = []

    def __enter__(self) -> "Gates":
        for number, branch in enumerate(self.branches):
            for path, module in branch.modules:
                versions = Versions(module, {_ON: module, _OFF: None}, partial(self._of, number))
                self._restore.append(in_place_of(self._denoiser, path, versions))
                self._places.append((number, Place(path, branch.part, versions)))
        return self

    def __exit__(self, *_: object) -> None:
        while self._restore:
            self._restore.pop()()
        self._places.clear()

    @contextmanager
    def rows(self, mask: Tensor) -> Iterator[None]:
        """Say which branches run in each row of the forwards inside: bool, (B or 1, branches)."""
        self._mask = [[_ON if gate else _OFF for gate in own] for own in mask.T.tolist()]
        try:
            yield
        finally:
            self._mask = None

    def flops(self) -> list[int]:
        """FLOPs of each branch for one sample, at the sizes of the last forward.

        Raises:
            UserError: an attention has no closed form.

        """
        totals = [0] * len(self.branches)
        for number, place in self._places:
            assert place.versions.seen is not None
            places, second, _ = place.versions.seen
            cost = cost_in_branch(place.part, place.versions.dense)
            if cost is None:
                raise UserError(
                    f"module={place.name}: the FLOPs of this kind of attention are not known; "
                    "allowed: soft-max attention of diffusers"
                )
            totals[number] += cost.flops(places, places if second is None else second)
        return totals

    def _of(self, number: int) -> Sequence[int]:
        return [_ON] if self._mask is None else self._mask[number]
