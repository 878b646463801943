"""What an applied operator did: its sites, the tokens before and after, and how often each ran."""

from dataclasses import dataclass, field
from types import TracebackType

from torch.utils.hooks import RemovableHandle

from bigain.errors import UserError
from bigain.operators import KeyValueReducer, Operator

__all__ = ["SiteReport", "SiteUse"]


@dataclass(eq=False)
class SiteUse:
    """One site and what happened there.

    Attributes:
        name: path of the attention inside the model.
        stage, level, index: as in `bigain.sites.Site`.
        grid: token grid (h, w); expected from the model's configured sample size until the first
            forward shows the true one; None when the model has no configured size.
        before, after: tokens (of keys and values, for a key/value reducer) before and after.
        calls: forwards of this attention with the operator on.

    """

    name: str
    stage: str
    level: int
    index: int
    grid: tuple[int, int] | None = None
    before: int | None = None
    after: int | None = None
    calls: int = 0

    def expect(self, grid: tuple[int, int], operator: Operator) -> None:
        """Note what the operator will do on `grid`; if it does not fit, the call will say so."""
        self.grid, self.before = grid, grid[0] * grid[1]
        try:
            self.after = operator.kept(grid)
        except UserError:
            self.after = None

    def count(self, grid: tuple[int, int], after: int) -> None:
        """Note one call on `grid` that left `after` tokens."""
        self.grid, self.before, self.after = grid, grid[0] * grid[1], after
        self.calls += 1

    def __str__(self) -> str:
        shown = "?" if self.grid is None else f"{self.grid[0]}x{self.grid[1]}"
        before, after = ("?" if n is None else n for n in (self.before, self.after))
        return f"{self.name}  {shown}  {before} -> {after}  calls={self.calls}"


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
    operator: Operator
    sites: tuple[SiteUse, ...]
    forwards: int = 0
    active: bool = True
    _handles: list[RemovableHandle] = field(default_factory=list)

    @property
    def calls(self) -> dict[str, int]:
        """How often the operator ran, by site."""
        return {site.name: site.calls for site in self.sites}

    @property
    def silent(self) -> tuple[str, ...]:
        """Sites that no forward has reached, although the model ran."""
        return tuple(site.name for site in self.sites if self.forwards and not site.calls)

    def keep(self, handles: list[RemovableHandle]) -> None:
        """Take over the hooks that `remove` will take off."""
        self._handles.extend(handles)

    def remove(self) -> None:
        """Take the operator off the model; a second time does nothing."""
        while self._handles:
            self._handles.pop().remove()
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
        what = "keys/values" if isinstance(self.operator, KeyValueReducer) else "tokens"
        state = "applied" if self.active else "removed"
        head = (
            f"{self.operator!r} on {self.model}: {state}, {len(self.sites)} sites, "
            f"{self.forwards} forwards; {what} before -> after:"
        )
        return "\n  ".join([head, *map(str, self.sites)])
