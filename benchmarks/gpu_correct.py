"""Whether a device gives the committed results of the mini backbones, and what never may change.

Limits: in float32 every prediction is that of the committed record, and every error of the true
class is within 1e-4 of it.  The same run twice must agree to 1e-5 of each error, not to the last
bit: on a GPU merging tokens adds them in an order that changes.  Lower precisions have no limit:
how far they are is what is measured.  A check that raises an error, or for which no time is left,
is a row, too.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from gpu_plan import FAULTS, Deadline, Plan, message_of
from timing import ROOT, RowFile
from torch import nn

from bigain.engine.tasks import build_task
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.archive import Archive
from bigain.runs.identity import run_id

__all__ = ["HEADLINES", "Comparison", "compare", "correct"]

HEADLINES: dict[str, tuple[str, ...]] = {
    "none": (),
    "tome": ("operator=tome", "operator.ratio=0.7"),
    "lgtm": ("operator=lgtm", "operator.ratio=0.7"),
    "todo": ("operator=todo", "operator.factor=2"),
    "ie_kvd": ("operator=ie_kvd", "operator.factor=2"),
}
"""The operators of the table in the README."""

_BACKBONES = ("mini_dit", "mini_unet")
_LIMIT = 1e-4
_ROUNDING = 1e-5

Records = list[dict[str, Any]]
Few = Callable[[tuple[str, ...]], tuple[Records, float, int]]


class Comparison(NamedTuple):
    """Records beside a reference.

    Attributes:
        images: How many were compared.
        equal_predictions: How many of them have the same prediction in both.
        largest_difference: Of two errors of the true class.
        largest_relative: The same, relative to the error of the reference.

    """

    images: int
    equal_predictions: int
    largest_difference: float
    largest_relative: float

    @property
    def is_same(self) -> bool:
        """Equal predictions, errors within the limit."""
        return self.equal_predictions == self.images and self.largest_difference <= _LIMIT

    @property
    def is_rounding(self) -> bool:
        """Equal predictions, errors that differ by rounding at most."""
        return self.equal_predictions == self.images and self.largest_relative <= _ROUNDING


class Found(NamedTuple):
    """What a check found; `passed` is None where there is no limit."""

    comparison: Comparison
    seconds: float
    passed: bool | None
    note: str = ""


class Check(NamedTuple):
    """A check by name, the settings of its run, and what makes it."""

    name: str
    run: tuple[str, ...]
    measure: Callable[[], Found]

    def row(self, *, is_late: bool) -> dict[str, Any]:
        """Make it, unless it is too late; an error is a result, too."""
        own = {"check": self.name, "run": " ".join(self.run)}
        if is_late:
            return {**own, **_columns(None, "skipped", "no time was left")}
        try:
            found = self.measure()
        except FAULTS as error:
            return {**own, **_columns(None, "no", message_of(error))}
        return {**own, **_columns(found, {True: "yes", False: "no", None: ""}[found.passed])}


def correct(plan: Plan, file: RowFile, deadline: Deadline) -> bool:
    """All checks in turn, a row each; False if one does not hold or was skipped."""
    for check in _checks(plan):
        file.add(**check.row(is_late=deadline.is_over))
        print(*file.rows[-1].items(), flush=True)
    return all(row["passed"] in ("yes", "") for row in file.rows)


def compare(records: Records, reference: Records) -> Comparison:
    """Two lists of records of the same images, image by image."""
    other = {record["image_id"]: record for record in reference}
    pairs = [(record, other[record["image_id"]]) for record in records]
    difference = relative = 0.0
    for own, theirs in pairs:
        expected = np.asarray(theirs["true_errors"])
        far = np.abs(np.asarray(own["true_errors"]) - expected)
        difference = max(difference, float(far.max()))
        relative = max(relative, float((far / np.abs(expected)).max()))
    equal = sum(own["prediction"] == theirs["prediction"] for own, theirs in pairs)
    return Comparison(len(pairs), equal, difference, relative)


def _checks(plan: Plan) -> Iterator[Check]:
    """Every check, the committed records first, and last what waits for a compiler.

    A run with which several are compared is made once.
    """
    few = cache(partial(_few, plan))
    for backbone, operator in product(_BACKBONES, plan.operators):
        own = (f"backbone={backbone}", *HEADLINES[operator])
        yield Check("committed records", own, partial(_committed, plan, own))
    for backbone in _BACKBONES:
        plain, own = (f"backbone={backbone}",), (f"backbone={backbone}", *HEADLINES["tome"])
        yield Check("the same run twice", own, partial(_twice, plan, own))
        other = "batch_size=24"
        yield Check(other, own, partial(_beside, few, own, other, has_limit=True))
        yield Check("memory ran out", plain, partial(_memory, plan, plain))
        for operator, dtype in product(plan.operators, ("bfloat16", "float16")):
            low, other = (f"backbone={backbone}", *HEADLINES[operator]), f"dtype={dtype}"
            yield Check(other, low, partial(_beside, few, low, other, has_limit=False))
    for backbone in _BACKBONES if plan.compiles else ():
        own, other = (f"backbone={backbone}", *HEADLINES["tome"]), "compile=true"
        yield Check(other, own, partial(_beside, few, own, other, has_limit=True))


def _committed(plan: Plan, own: tuple[str, ...]) -> Found:
    """A headline cell in float32 against its committed records."""
    samples = Archive(ROOT / "results", "mini").samples(run_id(compose_config(list(own))))
    if samples is None:
        raise UserError(f"no committed records of {' '.join(own)}")
    reference = [dict(row) for _, row in samples.iterrows()]
    records, seconds, _ = _records(plan, own, plan.images)
    found = compare(records, reference)
    return Found(found, seconds, found.is_same)


def _twice(plan: Plan, own: tuple[str, ...]) -> Found:
    """The same run twice."""
    first, _, _ = _few(plan, own)
    again, seconds, _ = _few(plan, own)
    found = compare(again, first)
    bits = "equal" if found.largest_difference == 0 else "different"
    return Found(found, seconds, found.is_rounding, f"{bits} bits")


def _beside(few: Few, own: tuple[str, ...], other: str, *, has_limit: bool) -> Found:
    """A run with one more setting against the run without it."""
    first, _, _ = few(own)
    records, seconds, _ = few((*own, other))
    found = compare(records, first)
    return Found(found, seconds, found.is_same if has_limit else None)


def _memory(plan: Plan, own: tuple[str, ...]) -> Found:
    """Memory runs out, and batches are halved."""
    first, _, _ = _few(plan, own)
    size = plan.overflowing
    with _little_memory(plan):
        records, seconds, largest = _few(plan, (*own, f"batch_size={size}"), hold=True)
    found = compare(records, first)
    return Found(found, seconds, found.is_same and largest < size, f"batch {size} -> {largest}")


def _few(
    plan: Plan, overrides: tuple[str, ...], *, hold: bool = False
) -> tuple[Records, float, int]:
    """`_records` of a run that is compared with others of its kind."""
    return _records(plan, (*plan.protocol, *overrides), plan.few_images, hold=hold)


def _records(
    plan: Plan, overrides: tuple[str, ...], count: int, *, hold: bool = False
) -> tuple[Records, float, int]:
    """Records of the first `count` images, seconds without loading, evaluations per forward."""
    told = [f"device={plan.device}", f"batch_size={plan.batch}", *overrides]
    task = build_task(compose_config(told))
    if hold:
        _limit_rows(task.backbone.denoiser, plan)  # type: ignore[attr-defined]
    started = time.perf_counter()
    records = [dict(record) for record in task.records(task.ids[:count])]
    return records, time.perf_counter() - started, int(task.facts()["micro_batch"])


def _columns(found: Found | None, passed: str, note: str = "") -> dict[str, Any]:
    comparison = found.comparison if found else None
    return {
        "images": comparison.images if comparison else "",
        "equal_predictions": comparison.equal_predictions if comparison else "",
        "largest_difference": f"{comparison.largest_difference:.3g}" if comparison else "",
        "largest_relative": f"{comparison.largest_relative:.3g}" if comparison else "",
        "seconds": round(found.seconds, 3) if found else "",
        "passed": passed,
        "note": found.note if found else note,
    }


@contextmanager
def _little_memory(plan: Plan) -> Iterator[None]:
    """Let this process have only `plan.memory` GB of a GPU."""
    if plan.device.type == "cuda":
        total = torch.cuda.get_device_properties(plan.device).total_memory
        torch.cuda.empty_cache()
        share = min(1.0, plan.memory * 1e9 / total)
        torch.cuda.set_per_process_memory_fraction(share, plan.device)
    try:
        yield
    finally:
        if plan.device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, plan.device)


def _limit_rows(denoiser: nn.Module, plan: Plan) -> None:
    """Where memory has no limit, let it run out beyond half of the batch."""
    if plan.device.type == "cuda":
        return

    def refuse(_module: nn.Module, args: Any, kwargs: Any) -> None:
        sample = args[0] if args else next(iter(kwargs.values()))
        if len(sample) > plan.overflowing // 2:
            raise torch.OutOfMemoryError

    denoiser.register_forward_pre_hook(refuse, with_kwargs=True)
