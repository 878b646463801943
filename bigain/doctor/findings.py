"""What a check found (its subject, its state, how to improve it), and findings as text and JSON.

The text is at most 100 columns wide and has no colours.
"""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from bigain.errors import UserError

__all__ = [
    "AREAS",
    "REMEDY",
    "Area",
    "Finding",
    "Status",
    "as_json",
    "as_text",
    "first_that_stops",
    "from_error",
]


Area = Literal["environment", "device", "backbones", "datasets", "disk", "optional"]
Status = Literal["ready", "missing", "problem"]

AREAS: tuple[Area, ...] = (*("environment", "device", "backbones", "datasets", "disk", "optional"),)
"""In the order in which they are printed."""

REMEDY = "; allowed: "
"""Separates the mistake from what is allowed in the message of a `UserError`."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: The part of the report that it belongs to.
        subject: Its name, such as `sd20`.
        status: ready, missing (it is not there) or problem (it is there but cannot be used).
        what: What was found, in a few words.
        advice: Ways to get it, one of which is enough; or what would be better.
        needed: Whether the runs that were asked for need it.

    """

    area: Area
    subject: str
    status: Status
    what: str
    advice: tuple[str, ...] = ()
    needed: bool = True

    @property
    def stops(self) -> bool:
        """Whether the runs that were asked for would fail because of this."""
        return self.needed and self.status != "ready"


def from_error(area: Area, subject: str, error: UserError, *, needed: bool = True) -> Finding:
    """A problem from a run's own error; the part after `allowed:` becomes the advice."""
    what, _, allowed = str(error).partition(REMEDY)
    advice = (f"allowed: {allowed}",) if allowed else ()
    return Finding(area, subject, "problem", what, advice, needed)


_WIDTH = 98
_STATUS = 9
_GAP = 2


def as_text(findings: Sequence[Finding]) -> str:
    """A paragraph for each area, a line or two for each finding, and the outcome."""
    column = max(len(each.subject) for each in findings) + _GAP
    paragraphs = []
    for area in AREAS:
        own = [each for each in findings if each.area == area]
        if own:
            paragraphs.append(f"{area}\n" + "".join(_lines(each, column) for each in own))
    return "\n".join([*paragraphs, f"{_outcome(findings)}\n"])


def as_json(findings: Sequence[Finding]) -> str:
    """`{"ready": bool, "findings": [{area, subject, status, what, advice, needed}]}`."""
    ready = not any(each.stops for each in findings)
    return json.dumps({"ready": ready, "findings": [asdict(f) for f in findings]}, indent=2) + "\n"


def first_that_stops(findings: Sequence[Finding]) -> str:
    """One line: how many needed things are not ready, and the first; empty if all are."""
    bad = [each for each in findings if each.stops]
    if not bad:
        return ""
    needed = sum(each.needed for each in findings)
    way = "".join(f"; {advice}" for advice in bad[0].advice)
    first = f"{bad[0].subject} is {_AS_ADJECTIVE[bad[0].status]}: {bad[0].what}{way}"
    return f"bigain doctor: {len(bad)} of {needed} things needed are not ready; first, {first}"


_AS_ADJECTIVE = {"missing": "missing", "problem": "not usable"}


def _lines(finding: Finding, column: int) -> str:
    start = f"  {finding.status:<{_STATUS}}{finding.subject:<{column}}"
    indent = " " * len(start)
    first = _wrapped(finding.what, start, indent)
    return first + "".join(_wrapped(way, f"{indent}-> ", f"{indent}   ") for way in finding.advice)


def _wrapped(text: str, first: str, rest: str) -> str:
    lines = textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines) + "\n"


def _outcome(findings: Sequence[Finding]) -> str:
    bad = [each.subject for each in findings if each.stops]
    absent = [each.subject for each in findings if not (each.needed or each.status == "ready")]
    aside = f" (not needed for it: {', '.join(absent)})" if absent else ""
    if bad:
        return "\n".join(textwrap.wrap(f"not ready: {', '.join(bad)}{aside}", _WIDTH))
    return "\n".join(textwrap.wrap(f"ready: everything that is needed is here{aside}", _WIDTH))
