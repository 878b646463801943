"""What an applied operator did: its sites, the tokens before and after, and what that saved."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from torch.utils.hooks import RemovableHandle

from bigain.errors import UserError
from bigain.operators import Compression, KeyValueReducer, Operator
from bigain.patching.cost import ModuleCost
from bigain.patching.sites import Site

__all__ = ["SiteReport", "SiteUse"]


@dataclass(eq=False)
class SiteUse:
    """One site and what happened there.

    Attributes:
        name: path of the module inside the model.
        part: `self`, `cross` or `mlp`.
        site: the transformer block it belongs to, with stage, level and index.
        operator: what acts there.
        cost: closed form of the module's FLOPs.
        plans: whether this site pays for a plan, being its block's self-attention and not served
            by a plan of another block.
        grid: token grid (h, w); expected from the model's configured sample size until the first
            forward shows the true one; None when the model has no configured size.
        before, after: tokens (of keys and values, for a key/value reducer) before and after.
        context: tokens of keys and values of a cross-attention, None before the first forward.
        calls: forwards in which the operator acted here.

    """

    name: str
    part: str
    site: Site
    operator: Operator
    cost: ModuleCost
    plans: bool
    grid: tuple[int, int] | None = None
    before: int | None = None
    after: int | None = None
    context: int | None = None
    calls: int = 0
    _seen: tuple[tuple[int, int], int, int | None] | None = None

    def expect(self, grid: tuple[int, int]) -> None:
        """Note what the operator will do on `grid`; if it does not fit, the call will say so."""
        self.grid, self.before = grid, grid[0] * grid[1]
        try:
            self.after = self.operator.num_kept(grid)
        except UserError:
            self.after = None

    def see(self, grid: tuple[int, int], after: int, context: int | None) -> None:
        """Note the call of this forward; `torch.compile` traces it, so nothing is read here."""
        self._seen = (grid, after, context)

    def forget(self) -> None:
        """Begin a forward."""
        self._seen = None

    def count(self) -> None:
        """End a forward: count the call if there was one."""
        if self._seen is None:
            return
        self.grid, self.after, self.context = self._seen
        self.before = self.grid[0] * self.grid[1]
        self.calls += 1
        self._seen = None

    @property
    def flops_saved(self) -> int | None:
        """FLOPs that a forward of one sample saves here, less the plan; None: not known yet."""
        before, after = self.before, self.after
        if self.grid is None or before is None or after is None:
            return None
        if self.part == "cross" and self.context is None:
            return None
        queries = before if isinstance(self.operator, KeyValueReducer) else after
        keys = (before, after) if self.part == "self" else (self.context or 0, self.context or 0)
        saved = self.cost.flops(before, keys[0]) - self.cost.flops(queries, keys[1])
        return saved - self._plan_flops(self.grid)

    def _plan_flops(self, grid: tuple[int, int]) -> int:
        if not self.plans:
            return 0
        width = self.site.block.get_submodule("attn1.to_q").get_parameter("weight").shape[1]
        return self.operator.plan_flops(grid, int(width))

    def __str__(self) -> str:
        shown = "?" if self.grid is None else f"{self.grid[0]}x{self.grid[1]}"
        before, after = ("?" if n is None else n for n in (self.before, self.after))
        saved = "?" if self.flops_saved is None else f"{self.flops_saved / 1e9:.3g}"
        return f"{self.name}  {shown}  {before} -> {after}  saves {saved} G  calls={self.calls}"


@dataclass(eq=False)
class SiteReport:
    """An operator applied to a model; leaving it as a context manager removes the operator.

    Attributes:
        model: class name of the model.
        operator: what is applied.
        sites: one `SiteUse` per site, in the order of the forward pass.
        forwards: completed forwards of the model with the operator on.
        active: False once removed.

    """

    model: str
    operator: Compression
    sites: tuple[SiteUse, ...]
    forwards: int = 0
    active: bool = True
    _handles: list[RemovableHandle] = field(default_factory=list)
    _on_removal: list[Callable[[], None]] = field(default_factory=list)

    @property
    def calls(self) -> dict[str, int]:
        """In how many forwards the operator acted, by site."""
        return {use.name: use.calls for use in self.sites}

    @property
    def silent(self) -> tuple[str, ...]:
        """Sites that no forward has reached, although the model ran."""
        return tuple(use.name for use in self.sites if self.forwards and not use.calls)

    @property
    def flops_saved(self) -> int | None:
        """FLOPs that a forward of one sample saves at all sites; None: not known yet.

        Closed forms (`bigain.patching.cost`, `Operator.plan_flops`); `bigain.tasks.flops` counts
        whole models.
        """
        saved = [use.flops_saved for use in self.sites]
        return None if None in saved else sum(part for part in saved if part is not None)

    def on_removal(self, action: Callable[[], None]) -> None:
        """Do `action` when the operator is taken off."""
        self._on_removal.append(action)

    def keep(self, handles: list[RemovableHandle]) -> None:
        """Take over the hooks that `remove` will take off."""
        self._handles.extend(handles)

    def remove(self) -> None:
        """Take the operator off the model; a second time does nothing."""
        while self._handles:
            self._handles.pop().remove()
        while self._on_removal:
            self._on_removal.pop()()
        self.active = False

    def verify(self) -> None:
        """Make sure that the operator did something.

        Raises:
            UserError: the model ran, and not one of its forwards reached any site.

        """
        if self.silent and len(self.silent) == len(self.sites):
            raise UserError(
                f"operator={self.operator!r}: {self.forwards} forwards of {self.model} reached "
                f"none of its {len(self.sites)} sites; its attention calls were replaced"
            )

    def __enter__(self) -> "SiteReport":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()
        if kind is None:
            self.verify()

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
