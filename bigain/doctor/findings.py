"""What a check found: one thing, its state, and how to get it into a better one."""

from dataclasses import dataclass
from typing import Literal

from bigain.errors import UserError

__all__ = ["AREAS", "REMEDY", "Area", "Finding", "Status", "from_error"]

Area = Literal["environment", "device", "backbones", "datasets", "disk", "optional"]
Status = Literal["ready", "missing", "problem"]

AREAS: tuple[Area, ...] = (*("environment", "device", "backbones", "datasets", "disk", "optional"),)
"""In the order in which they are printed."""

REMEDY = "; allowed: "
"""What separates the mistake from the way out in the message of a `UserError`."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: The part of the report that it belongs to.
        subject: Its name, such as `sd20`.
        status: ready, missing (it is not there) or problem (it is there, and cannot serve).
        what: What was found, in a few words.
        advice: Ways to get it, any of which will do; or what would be better.
        needed: Whether what was asked for cannot do without it.

    """

    area: Area
    subject: str
    status: Status
    what: str
    advice: tuple[str, ...] = ()
    needed: bool = True

    @property
    def stops(self) -> bool:
        """Whether what was asked for would end for want of this."""
        return self.needed and self.status != "ready"


def from_error(area: Area, subject: str, error: UserError, *, needed: bool = True) -> Finding:
    """The finding that a run's own error would be, in two parts at its `allowed`."""
    what, _, allowed = str(error).partition(REMEDY)
    advice = (f"allowed: {allowed}",) if allowed else ()
    return Finding(area, subject, "problem", what, advice, needed)
