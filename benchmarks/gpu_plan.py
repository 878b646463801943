"""How much `gpu.py` measures, until when, and which errors cost a part only one row."""

import math
import time
from typing import NamedTuple

import torch

from bigain.errors import UserError

__all__ = ["FAULTS", "FULL", "TINY", "Deadline", "Plan", "message_of"]

FAULTS = (UserError, RuntimeError)
"""What a measurement may raise: a setting that is not possible here, and torch's own errors."""


class Plan(NamedTuple):
    """Sizes of everything.

    Attributes:
        device: Where it runs.
        images: Of each run of a mini backbone that is compared with committed records.
        operators: Of those runs, of `gpu_correct.HEADLINES`.
        few_images: Of the other runs of mini backbones.
        protocol: Their settings.
        batch: Evaluations per forward of those runs.
        overflowing: A batch that does not fit the memory that is left for it.
        memory: GB that are left for it.
        compiles: Whether compiled code is compared, which takes minutes on a CPU.
        backbones: Those whose speed is measured.
        dtype: Their precision.
        warmup: Untimed steps before a repeat.
        steps: Denoising steps of a repeat.
        repeats: At most so many, while there is time.
        classes: Of the classifier whose speed is measured.
        smallest: Its first batch size, which is doubled until memory or time ends.
        largest: No batch size is larger.
        batches: Full batches of each that count, at least, while there is time.
        side: Of the matrices whose product is the peak.

    """

    device: torch.device
    images: int
    operators: tuple[str, ...]
    few_images: int
    protocol: tuple[str, ...]
    batch: int
    overflowing: int
    memory: float
    compiles: bool
    backbones: tuple[str, ...]
    dtype: str
    warmup: int
    steps: int
    repeats: int
    classes: int
    smallest: int
    largest: float
    batches: int
    side: int


FULL = Plan(
    device=torch.device("cuda"),
    images=400,
    operators=("none", "tome", "lgtm", "todo", "ie_kvd"),
    few_images=50,
    protocol=(),
    batch=500,
    overflowing=4000,
    memory=0.5,
    compiles=True,
    backbones=("sd20", "dit_xl2_512"),
    dtype="float16",
    warmup=3,
    steps=50,
    repeats=5,
    classes=37,
    smallest=4,
    largest=math.inf,
    batches=10,
    side=8192,
)
"""On one GPU of about 100 GB."""

TINY = Plan(
    device=torch.device("cpu"),
    images=1,
    operators=("none", "lgtm"),
    few_images=1,
    protocol=("task.trial_list=[1,2]", "task.keep_list=[4,1]"),
    batch=20,
    overflowing=20,
    memory=0.5,
    compiles=False,
    backbones=("mini_unet", "mini_dit"),
    dtype="float32",
    warmup=0,
    steps=1,
    repeats=1,
    classes=4,
    smallest=4,
    largest=8,
    batches=10,
    side=256,
)
"""To try the script on a CPU."""


class Deadline:
    """A moment after which nothing new begins.

    Args:
        seconds: From now.

    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then."""
        return max(0.0, self._end - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() > self._end


def message_of(error: BaseException) -> str:
    """The beginning of an error's message, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
