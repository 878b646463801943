"""Whether a device gives the committed results of the mini backbones, and what never may change.

Limits: in float32 every prediction is that of the committed record, and every error of the true
class is within 1e-4 of it.  Lower precisions have no limit: how far they are is what is measured.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from gpu_plan import Deadline, Plan
from timing import ROOT, RowFile
from torch import nn

from bigain.engine.tasks import build_task
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

Records = list[dict[str, Any]]


class Comparison(NamedTuple):
    """Records beside a reference."""

    images: int
    equal_predictions: int
    largest_difference: float

    @property
    def is_same(self) -> bool:
        """Equal predictions, errors within the limit."""
        return self.equal_predictions == self.images and self.largest_difference <= _LIMIT


def correct(plan: Plan, file: RowFile, deadline: Deadline) -> bool:
    """All checks in turn, a row each; False if one failed."""
    checks = _Checks(plan, file)
    for backbone, operator in product(_BACKBONES, plan.operators):
        if not deadline.is_over:
            checks.committed(backbone, operator)
    for backbone in _BACKBONES:
        if not deadline.is_over:
            checks.batch_sizes(backbone)
        if not deadline.is_over:
            checks.memory(backbone)
        if plan.compiles and not deadline.is_over:
            checks.compiled(backbone)
        for dtype in ("bfloat16", "float16"):
            if not deadline.is_over:
                checks.precision(backbone, dtype)
    return all(row["passed"] != "no" for row in file.rows)


def compare(records: Records, reference: Records) -> Comparison:
    """Two lists of records of the same images, image by image."""
    other = {record["image_id"]: record for record in reference}
    pairs = [(record, other[record["image_id"]]) for record in records]
    differences = [
        float(np.abs(np.subtract(own["true_errors"], theirs["true_errors"])).max())
        for own, theirs in pairs
    ]
    equal = sum(own["prediction"] == theirs["prediction"] for own, theirs in pairs)
    return Comparison(len(pairs), equal, max(differences))


class _Checks:
    """Runs of mini backbones, and rows that compare them."""

    def __init__(self, plan: Plan, file: RowFile) -> None:
        self._plan = plan
        self._file = file
        self._micro_batch = 0

    def committed(self, backbone: str, operator: str) -> None:
        """A headline cell in float32 against its committed records."""
        own = (f"backbone={backbone}", *HEADLINES[operator])
        found, seconds = self._records(own, self._plan.images)
        samples = Archive(ROOT / "results", "mini").samples(run_id(compose_config(list(own))))
        if samples is None:
            raise SystemExit(f"no committed records of {' '.join(own)}")
        reference = [dict(row) for _, row in samples.iterrows()]
        self._add("committed records", own, compare(found, reference), seconds)

    def batch_sizes(self, backbone: str) -> None:
        """The same run twice, to the last bit; then with another batch size."""
        own = (f"backbone={backbone}", *HEADLINES["tome"])
        first, _ = self._few(own)
        again, seconds = self._few(own)
        same = compare(again, first)
        self._add("the same run twice", own, same, seconds, same.largest_difference == 0)
        small, seconds = self._few((*own, "batch_size=24"))
        self._add("batch_size=24", own, compare(small, first), seconds)

    def memory(self, backbone: str) -> None:
        """Memory runs out, and batches are halved."""
        own = (f"backbone={backbone}",)
        first, _ = self._few(own)
        size = self._plan.overflowing
        with _little_memory(self._plan):
            told = (*own, f"batch_size={size}")
            found, seconds = self._few(told, hold=True)
        is_halved = self._micro_batch < size
        name = f"memory ran out, batch {size} -> {self._micro_batch}"
        same = compare(found, first)
        self._add(name, own, same, seconds, same.is_same and is_halved)

    def compiled(self, backbone: str) -> None:
        """torch.compile against plain execution."""
        own = (f"backbone={backbone}", *HEADLINES["tome"])
        first, _ = self._few(own)
        found, seconds = self._few((*own, "compile=true"))
        self._add("compile=true", own, compare(found, first), seconds)

    def precision(self, backbone: str, dtype: str) -> None:
        """A lower precision against float32."""
        own = (f"backbone={backbone}", *HEADLINES["tome"])
        first, _ = self._few(own)
        found, seconds = self._few((*own, f"dtype={dtype}"))
        self._add(f"dtype={dtype}", own, compare(found, first), seconds, None)

    def _few(self, overrides: tuple[str, ...], *, hold: bool = False) -> tuple[Records, float]:
        """`_records` of a run that is compared with others of its kind."""
        told = (*self._plan.protocol, *overrides)
        return self._records(told, self._plan.few_images, hold=hold)

    def _records(
        self, overrides: tuple[str, ...], count: int, *, hold: bool = False
    ) -> tuple[Records, float]:
        """Records of the first `count` images, and seconds without loading."""
        told = [f"device={self._plan.device}", f"batch_size={self._plan.batch}", *overrides]
        task = build_task(compose_config(told))
        if hold:
            _limit_rows(task.backbone.denoiser, self._plan)  # type: ignore[attr-defined]
        started = time.perf_counter()
        records = [dict(record) for record in task.records(task.ids[:count])]
        self._micro_batch = task.facts()["micro_batch"]
        return records, time.perf_counter() - started

    def _add(
        self,
        check: str,
        overrides: tuple[str, ...],
        found: Comparison,
        seconds: float,
        passed: bool | None = True,
    ) -> None:
        is_good = found.is_same if passed is True else passed
        self._file.add(
            check=check,
            run=" ".join(overrides),
            images=found.images,
            equal_predictions=found.equal_predictions,
            largest_difference=f"{found.largest_difference:.3g}",
            seconds=round(seconds, 3),
            passed={True: "yes", False: "no", None: ""}[is_good],
        )
        print(*self._file.rows[-1].items(), flush=True)


@contextmanager
def _little_memory(plan: Plan) -> Iterator[None]:
    """Let this process have only `plan.memory` GB of a GPU."""
    if plan.device.type == "cuda":
        total = torch.cuda.get_device_properties(plan.device).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(plan.memory * 1e9 / total, plan.device)
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
