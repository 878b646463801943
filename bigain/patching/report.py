"""Report of an applied operator: its sites, their tokens before and after, the FLOPs saved."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from bigain.errors import UserError
from bigain.operators import KeyValueReducer, Operator
from bigain.patching.applied import Applied
from bigain.patching.cost import ModuleCost, cost_of
from bigain.patching.sites import Site

__all__ = ["Seen", "SiteReport", "SiteUse"]


class Seen(NamedTuple):
    """What hooks saw at one module in one forward.

    Attributes:
        grid: token grid (h, w).
        after: tokens that left the module before they were restored; for a key/value reducer, the
            tokens that keys were projected from.
        context: text tokens of a cross-attention or a joint attention, else None.
        planned: whether the plan was made here, and not by another site or module.

    """

    grid: tuple[int, int]
    after: int
    context: int | None = None
    planned: bool = False


@dataclass(eq=False)
class SiteUse:
    """One module of a site, and what the operator did there.

    Attributes:
        name: path of the module inside the model.
        part: `self`, `cross` or `mlp`.
        site: the transformer block it belongs to, with stage, level and index.
        operator: the operator that acts there.
        module: the module itself.
        plans: whether planning counts here: at the block's self-attention, unless the block uses
            another block's plan.  What was seen in the last forward replaces what was expected.
        grid: token grid (h, w). Before the first forward it is the one expected at the model's
            configured sample size, None if the model has none.
        before, after: tokens (of keys and values, for a key/value reducer) before and after.
        context: text tokens of a cross-attention or a joint attention, None before the first
            forward.
        calls: forwards in which the operator acted here.
        reached: whether it acted in the last forward; True before the first one.
        cost: closed form of the module's FLOPs, None if its kind of attention has none here.

    """

    name: str
    part: str
    site: Site
    operator: Operator
    module: nn.Module
    plans: bool
    grid: tuple[int, int] | None = None
    before: int | None = None
    after: int | None = None
    context: int | None = None
    calls: int = 0
    reached: bool = True
    cost: ModuleCost | None = field(init=False)

    def __post_init__(self) -> None:
        self.cost = cost_of(self.part, self.module)

    def expect(self, grid: tuple[int, int]) -> None:
        """Set the numbers expected on `grid`; `after` stays None if the operator does not fit."""
        self.grid, self.before = grid, grid[0] * grid[1]
        try:
            self.after = self.operator.num_kept(grid)
        except UserError:
            self.after = None

    def count(self, seen: Seen | None) -> None:
        """Count a forward; None: it did not reach the module, so nothing was reduced there.

        The module's processor may have been replaced since the last forward.
        """
        self.reached = seen is not None
        if seen is None:
            self.after = self.before
            return
        self.grid, self.after, self.context, self.plans = seen
        self.before = self.grid[0] * self.grid[1]
        self.cost = cost_of(self.part, self.module)
        self.calls += 1

    @property
    def flops_saved(self) -> int | None:
        """FLOPs saved here in the last forward per sample, less the operator's; None: unknown."""
        before, after = self.before, self.after
        if not self.reached:
            return 0
        if self.cost is None or self.grid is None or before is None or after is None:
            return None
        is_joint = self.part == "self" and self.site.is_joint
        if (self.part == "cross" or is_joint) and self.context is None:
            return None
        queries = before if isinstance(self.operator, KeyValueReducer) else after
        text, own = self.context or 0, self.part == "self"
        keys = (before * own + text, after * own + text)
        saved = self.cost.flops(before, keys[0]) - self.cost.flops(queries, keys[1])
        return saved - self._operator_flops(self.grid)

    def _operator_flops(self, grid: tuple[int, int]) -> int:
        """Of the plan, if it counts here, and of applying it."""
        width = self.site.attention.get_submodule("to_q").get_parameter("weight").shape[1]
        applied = self.operator.apply_flops(grid, int(width))
        return applied + (self.operator.plan_flops(grid, int(width)) if self.plans else 0)

    def __str__(self) -> str:
        shown = "?" if self.grid is None else f"{self.grid[0]}x{self.grid[1]}"
        before, after = ("?" if n is None else n for n in (self.before, self.after))
        saved = "?" if self.flops_saved is None else f"{self.flops_saved / 1e9:.3g}"
        return f"{self.name}  {shown}  {before} -> {after}  saves {saved} G  calls={self.calls}"


@dataclass(eq=False)
class SiteReport(Applied):
    """A token operator applied to a model, see `Applied`.

    Attributes:
        sites: one `SiteUse` per module of each site, in the order of the forward pass.

    """

    sites: tuple[SiteUse, ...]

    @property
    def calls(self) -> dict[str, int]:
        """Number of forwards in which the operator acted, by module."""
        return {use.name: use.calls for use in self.sites}

    @property
    def silent(self) -> tuple[str, ...]:
        """Modules that no forward has reached, although the model ran."""
        return tuple(use.name for use in self.sites if self.forwards and not use.calls)

    @property
    def plans_for_groups(self) -> bool:
        """Whether an operator makes one plan for each group of rows (`SharedPlan`)."""
        return any(use.operator.plans_for_groups for use in self.sites)

    @property
    def flops_saved(self) -> int | None:
        """FLOPs saved at all sites in the last forward per sample; None: not known at one of them.

        In closed form (`bigain.patching.cost`, `plan_flops` and `apply_flops` of the operator);
        `bigain.tasks.flops` counts the FLOPs of complete models.
        """
        saved = [use.flops_saved for use in self.sites]
        return None if None in saved else sum(part for part in saved if part is not None)

    def count(self, seen: Mapping[str, Seen]) -> None:
        """Count a complete forward of the model, with what was seen at each module by name."""
        self.forwards += 1
        for use in self.sites:
            use.count(seen.get(use.name))

    def is_alone(self, block: str) -> bool:
        """Whether only the self-attention of `block` uses the plan that is made there, if any."""
        uses = [use for use in self.sites if use.site.name == block]
        return all(use.site.parts == ("self",) and not use.operator.shared_in_stage for use in uses)

    def verify(self) -> None:
        """Check that the operator did something.

        Raises:
            UserError: the model ran, but no forward reached any site.

        """
        if self.silent and len(self.silent) == len(self.sites):
            raise UserError(
                f"operator={self.operator!r}: {self.forwards} forwards of {self.model} reached "
                f"none of its {len(self.sites)} sites: something replaced its attention calls"
            )

    def __repr__(self) -> str:
        state = "" if self.active else ", removed"
        return f"SiteReport({self.operator!r} on {self.model}, {len(self.sites)} sites{state})"

    def __str__(self) -> str:
        reduced = [isinstance(use.operator, KeyValueReducer) for use in self.sites]
        what = (
            "keys/values" if all(reduced) else "tokens, keys/values" if any(reduced) else "tokens"
        )
        state = "applied" if self.active else "removed"
        saved = "?" if self.flops_saved is None else f"{self.flops_saved / 1e9:.4g}"
        head = (
            f"{self.operator!r} on {self.model}: {state}, {len(self.sites)} sites, {self.forwards} "
            f"forwards, saves {saved} GFLOPs per sample and forward; {what} before -> after:"
        )
        return "\n  ".join([head, *map(str, self.sites)])
