"""How much an operator saves: FLOPs of one forward (`bigain.tasks.flops`) and denoiser time.

Only the denoiser is timed: no text encoder, no VAE, no guidance, no sampler arithmetic.  A repeat
is one pass over the sampler's timesteps with the operator and one without; which of them is first
alternates.  The clock is read when the device has finished.  The time of a forward does not depend
on values, so the input stays the same and the weights may be random.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, ClassVar

import torch
from torch import nn

from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.config.architectures import ARCHITECTURES
from bigain.devices import attention_backend, device_name, set_attention, synchronize
from bigain.metrics import efficiency_metrics
from bigain.runs.files import Evaluation, Record, Records
from bigain.runs.provenance import Origin
from bigain.runs.samples import samples_frame
from bigain.tasks.flops import KINDS, FlopCount
from bigain.tasks.task import Compress, Files

__all__ = [
    "COLUMNS",
    "FLOPS_ID",
    "EfficiencyTask",
    "Stopwatch",
    "TimeSettings",
    "build_random",
    "flops_record",
    "sampler_timesteps",
]

_TRAIN_TIMESTEPS = 1000

FLOPS_ID = 0
"""`image_id` of the record of FLOPs; the repeats of time are 1, 2, ..."""

COLUMNS = (
    *("image_id", "measure", "flops", "baseline_flops", "closed_form"),
    *(f"flops_{kind}" for kind in KINDS),
    *("ms_per_step", "baseline_ms_per_step", "steps", "batch_size"),
    *("device", "device_name", "dtype", "attention_backend", "threads"),
)
"""Columns of every record; None where nothing was measured."""


@dataclass(frozen=True)
class TimeSettings:
    """Settings of a time measurement.

    Attributes:
        backbone: Name of the backbone.
        batch_size: Samples per forward.
        steps: Forwards per pass.
        warmup: Untimed forwards before the first repeat, without operator and with it.
        device: Where the denoiser runs.
        dtype: Its precision.
        side: Side of the latents; None: that of the backbone.

    """

    backbone: str
    batch_size: int
    steps: int
    warmup: int
    device: torch.device
    dtype: torch.dtype
    side: int | None = None


def flops_record(count: FlopCount, *, has_operator: bool) -> dict[str, Any]:
    """The record of a count: total, baseline and closed form, and `flops_<kind>` of each kind."""
    return _record(
        image_id=FLOPS_ID,
        measure="flops",
        flops=count.total,
        baseline_flops=count.baseline if has_operator else None,
        closed_form=count.closed_form,
        **{f"flops_{kind}": flops for kind, flops in count.by_kind.items()},
    )


def sampler_timesteps(backbone: str, steps: int) -> list[int]:
    """The timesteps of `steps` denoising steps, descending.

    As in the paper's samplers: Euler on a U-Net takes equal steps from 999 to 0 (linspace,
    rounded), DDIM on a DiT multiples of floor(1000/steps) (leading, 980 ... 0 for 50).
    """
    if ARCHITECTURES[backbone].blocks is None:
        return [round(t) for t in torch.linspace(_TRAIN_TIMESTEPS - 1, 0, steps).tolist()]
    stride = _TRAIN_TIMESTEPS // steps
    return [stride * step for step in reversed(range(steps))]


def build_random(backbone: str, attention: str, seed: int, settings: TimeSettings) -> nn.Module:
    """The denoiser with random weights, a function of `seed`; torch's own streams stay as they are.

    `attention` is sdpa or eager (`bigain.devices.set_attention`).
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_denoiser(backbone)
    set_attention(model, attention)
    # Not diffusers' own `to`, which warns of checkpoints with parts in fp32; there is none here.
    return nn.Module.to(model, device=settings.device, dtype=settings.dtype)


def _record(**known: Any) -> dict[str, Any]:
    return {**dict.fromkeys(COLUMNS), **known}


@dataclass(frozen=True)
class EfficiencyTask:
    """The `Task` of counting FLOPs, measuring time, or both.

    Attributes:
        count: Counts the FLOPs; None: they are not measured.
        stopwatch: Measures the time; None: it is not measured.
        repeats: Repeats of the time measurement.
        has_operator: Whether there is an operator beside the baseline.
        weights: Where the weights come from, for the manifest.

    """

    count: Callable[[], FlopCount] | None
    stopwatch: "Stopwatch | None"
    repeats: int
    has_operator: bool
    weights: str
    files: ClassVar[Files] = Files()

    @property
    def unit(self) -> str:
        """What one record is."""
        return "repeat" if self.stopwatch else "count"

    @property
    def ids(self) -> Sequence[int]:
        """`FLOPS_ID` if FLOPs are counted, then the repeats."""
        flops = [FLOPS_ID] if self.count else []
        return [
            *flops,
            *(range(FLOPS_ID + 1, FLOPS_ID + 1 + self.repeats) if self.stopwatch else ()),
        ]

    @property
    def origin(self) -> Origin:
        """The attention backend of a timing, and where the weights come from."""
        backend = self.stopwatch.attention if self.stopwatch else None
        return Origin(backend, notes={"weights": self.weights})

    def records(self, ids: Sequence[int]) -> Generator[Record, None, None]:
        """The record of FLOPs first, then one per repeat."""
        if self.count and FLOPS_ID in ids:
            yield flops_record(self.count(), has_operator=self.has_operator)
        repeats = [each for each in ids if each != FLOPS_ID]
        if self.stopwatch and repeats:
            yield from self.stopwatch.records(repeats)

    def evaluate(self, records: Records) -> Evaluation:
        """FLOPs and what is saved of them; mean times and the speed-up."""
        return Evaluation(records, efficiency_metrics(samples_frame(records)))

    def facts(self) -> Mapping[str, Any]:
        """No facts: each record names the device it was measured on."""
        return {}


class Stopwatch:
    """Times a denoiser without and with an operator.

    Args:
        denoiser: On the device and in the precision of `settings`.
        compressed: Applies the operator to it; None: there is no operator.
        settings: How to measure.

    """

    def __init__(
        self, denoiser: nn.Module, compressed: Compress | None, settings: TimeSettings
    ) -> None:
        self._denoiser = denoiser
        self._ways: dict[str, Compress] = {"baseline": nullcontext}
        if compressed is not None:
            self._ways["operator"] = compressed
        self._settings = settings
        self._timesteps = sampler_timesteps(settings.backbone, settings.steps)
        self._inputs = example_inputs(
            settings.backbone,
            settings.batch_size,
            settings.device,
            settings.dtype,
            settings.side,
        )

    def records(self, repeats: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Warm up, then one record per repeat, by its number; times in ms per step.

        `ms_per_step` is the operator's, or the baseline's when there is no operator.
        """
        for way in self._ways:
            self._pass(way, list(islice(cycle(self._timesteps), self._settings.warmup)))
        for repeat in repeats:
            started = time.perf_counter()
            order = sorted(self._ways, reverse=repeat % 2 == 0)
            taken = {way: self._pass(way, self._timesteps) for way in order}
            baseline = taken["baseline"]
            yield _record(
                image_id=repeat,
                measure="time",
                ms_per_step=taken.get("operator", baseline),
                baseline_ms_per_step=baseline if "operator" in taken else None,
                **self._place(),
                seconds=round(time.perf_counter() - started, 4),
            )

    @property
    def attention(self) -> str:
        """How the denoiser computes attention (`bigain.devices.attention_backend`)."""
        return attention_backend(self._denoiser)

    def _place(self) -> dict[str, Any]:
        """The conditions under which a time was measured."""
        settings = self._settings
        return {
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "device": str(settings.device),
            "device_name": device_name(settings.device),
            "dtype": str(settings.dtype).removeprefix("torch."),
            "attention_backend": self.attention,
            "threads": torch.get_num_threads(),
        }

    @torch.inference_mode()
    def _pass(self, way: str, timesteps: Sequence[int]) -> float:
        """Milliseconds per step of one pass."""
        device, batch = self._settings.device, self._settings.batch_size
        times = [torch.full((batch,), timestep, device=device) for timestep in timesteps]
        with self._ways[way]():
            synchronize(device)
            started = time.perf_counter()
            for each in times:
                self._denoiser(**{**self._inputs, "timestep": each})
            synchronize(device)
            return 1000 * (time.perf_counter() - started) / max(1, len(timesteps))
