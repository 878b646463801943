"""What is common to the reports of all operators that run inside a model: how they are removed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from torch.utils.hooks import RemovableHandle

from bigain.operators import Compression

__all__ = ["Applied"]


@dataclass(eq=False)
class Applied(ABC):
    """An operator applied to a model. As a context manager it removes the operator on exit.

    Attributes:
        model: class name of the model.
        operator: the applied operator.
        forwards: completed forwards of the model with the operator.
        active: False after removal.

    """

    model: str
    operator: Compression
    forwards: int = field(default=0, kw_only=True)
    active: bool = field(default=True, kw_only=True)
    _handles: list[RemovableHandle] = field(default_factory=list, kw_only=True)
    _on_removal: list[Callable[[], None]] = field(default_factory=list, kw_only=True)

    @property
    def plans_for_groups(self) -> bool:
        """Whether an operator makes one plan for each group of rows (`SharedPlan`)."""
        return False

    @property
    @abstractmethod
    def flops_saved(self) -> int | None:
        """FLOPs saved in the last forward per sample, in closed form; None: not known."""

    @abstractmethod
    def count(self, seen: Mapping[str, Any]) -> None:
        """Count a complete forward of the model, with what hooks saw at each module by name."""

    @abstractmethod
    def verify(self) -> None:
        """Check that the operator did something.

        Raises:
            UserError: the model ran, and the operator was reached nowhere.

        """

    def is_alone(self, block: str) -> bool:
        """Whether only the self-attention of `block` uses what the operator does there, if any."""
        del block
        return True

    def on_removal(self, action: Callable[[], None]) -> None:
        """Call `action` when the operator is removed."""
        self._on_removal.append(action)

    def keep(self, handles: list[RemovableHandle]) -> None:
        """Store hooks for `remove`."""
        self._handles.extend(handles)

    def remove(self) -> None:
        """Remove the operator from the model; calling it again does nothing."""
        while self._handles:
            self._handles.pop().remove()
        while self._on_removal:
            self._on_removal.pop()()
        self.active = False

    def __enter__(self) -> Self:
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
