"""Speed of the classifier at full size with random weights, at each batch size.

An error costs its own backbone only: the row has the message and no numbers.
"""

import statistics
import time
from collections.abc import Collection, Iterator
from itertools import count
from typing import Any

from gpu_plan import FAULTS, Deadline, Plan, message_of
from peak import matrix_product
from random_backbone import RandomBackbone
from timing import RowFile
from torch import Tensor

from bigain.devices import DTYPES, peak_memory, reset_peak_memory, synchronize
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.flops import count_flops
from bigain.tasks.protocol import StagedProtocol

__all__ = ["throughput"]

_SHARE = 1 / 8
"""Of the time that is left: the most for the next batch size of a backbone."""


class _Counting(RandomBackbone):
    """A random backbone that counts the forwards and rows that it was asked for."""

    forwards = 0
    rows = 0

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """See `RandomBackbone`."""
        self.forwards += 1
        self.rows += len(latents)
        return super().predict(latents, timesteps, classes)


def throughput(plan: Plan, file: RowFile, deadline: Deadline) -> bool:
    """The classifier at 4, 8, 16, ... evaluations in a batch until memory or time ends, a row each.

    False if time ends first, or a batch was not measured though it fits the memory.
    """
    dtype = DTYPES[plan.dtype]
    peak = _peak(plan)
    backbones = {name: _Counting(name, plan.classes, plan.device, dtype) for name in plan.backbones}
    flops = {name: count_flops(name).total for name in plan.backbones}
    is_whole = True
    for size, name in _cells(plan, backbones):
        if deadline.is_over:
            print(f"no time was left from {name}, batch size {size} on", flush=True)
            return False
        limit = Deadline(_SHARE * deadline.left)
        message = ""
        row: dict[str, float] | None = None
        try:
            row = _classified(backbones[name], plan, size, limit)
            message = "" if row else "does not fit the memory"
        except FAULTS as error:
            message, is_whole = message_of(error), False
        if row is None:  # nor will a larger batch
            del backbones[name]
        rates = _rates(row, flops[name], peak)
        file.add(backbone=name, dtype=plan.dtype, batch_size=size, **rates, message=message)
        print(*file.rows[-1].items(), flush=True)
    return is_whole


def _cells(plan: Plan, left: Collection[str]) -> Iterator[tuple[int, str]]:
    """(batch size, backbone) while it is in `left`, which shrinks meanwhile."""
    size = plan.smallest
    while left and size <= plan.largest:
        yield from ((size, name) for name in plan.backbones if name in left)
        size *= 2


def _rates(row: dict[str, float] | None, flops: int, peak: float) -> dict[str, float | str]:
    """Columns of a measurement; empty if there is none."""
    reached = flops * row["rows"] / row["seconds"] if row else 0.0
    names = ("batches", "rows", "seconds", "rows_per_s", "images_per_s", "peak_gb")
    more = {"tflop_per_s": reached / 1e12, "peak_tflop_per_s": peak / 1e12}
    more["share_of_peak"] = reached / peak
    if row is None:
        return dict.fromkeys((*names, *more), "")
    return {name: round(value, 4) for name, value in (row | more).items()}


def _classified(
    backbone: _Counting, plan: Plan, size: int, limit: Deadline
) -> dict[str, float] | None:
    """Time of full batches while images never end; None if a batch does not fit the memory.

    The first decision ends the warm-up.  Between two moments at which the device has finished all
    rows are counted, so it does not matter that several decisions come at once.
    """
    protocol = StagedProtocol((5, 20), (min(5, plan.classes), 1))
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=0, batch_size=size, device=plan.device
    )
    reset_peak_memory(plan.device)
    results: Any = classifier.classify((number, backbone.encode(number)) for number in count())
    next(results)
    synchronize(plan.device)
    forwards, rows, started = backbone.forwards, backbone.rows, time.perf_counter()
    while classifier.micro_batch == size:
        next(results)
        if backbone.forwards - forwards >= plan.batches or limit.is_over:
            break
    synchronize(plan.device)
    seconds = time.perf_counter() - started
    results.close()
    if classifier.micro_batch < size:
        return None
    rate = (backbone.rows - rows) / seconds
    return {
        **{"batches": backbone.forwards - forwards, "rows": backbone.rows - rows},
        **{"seconds": seconds, "rows_per_s": rate},
        **{"images_per_s": rate / protocol.evaluations(plan.classes)},
        **{"peak_gb": peak_memory(plan.device) / 1e9},
    }


def _peak(plan: Plan) -> float:
    """FLOP/s of a product of large matrices in the precision of the denoisers."""
    product_, flops = matrix_product(plan.side, plan.device, DTYPES[plan.dtype])
    product_()
    seconds = []
    for _ in range(10):
        synchronize(plan.device)
        started = time.perf_counter()
        product_()
        synchronize(plan.device)
        seconds.append(time.perf_counter() - started)
    return flops / statistics.median(seconds)
