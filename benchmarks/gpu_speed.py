"""Speed at full size with random weights: operators, the classifier, and where a step's time goes.

Only what is measured is written; a speed-up of the paper stands beside each operator that has one.
"""

import statistics
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
import torch
from gpu_plan import Deadline, Plan
from peak import matrix_product
from random_backbone import RandomBackbone
from timing import ROOT, RowFile, spread
from torch.profiler import ProfilerActivity
from torch.profiler import profile as record_profile

from bigain.backbones.denoisers import example_inputs
from bigain.config.architectures import ARCHITECTURES
from bigain.devices import DTYPES, peak_memory, reset_peak_memory, set_attention, synchronize
from bigain.engine.build import build_compression
from bigain.launch.compose import compose_config
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.efficiency import Stopwatch, TimeSettings, build_random
from bigain.tasks.flops import count_flops
from bigain.tasks.protocol import StagedProtocol

__all__ = ["OPERATORS", "paper_speedups", "profile", "tables", "throughput"]

_RATIO, _FACTOR = "operator.ratio=0.7", "operator.factor=2"

OPERATORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("sito", "tome", "lgtm", "cached", "abm"), (_RATIO,)),
    **dict.fromkeys(("todo", "ie_kvd"), (_FACTOR,)),
    **dict.fromkeys(("lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec"), (_RATIO, _FACTOR)),
}
"""The rows of Tables 11 and 18."""

_BATCH = 4
_SHOWN = 5


class _Timed(NamedTuple):
    """An operator in a denoiser, ready to be timed."""

    backbone: str
    attention: str
    operator: str
    denoiser: torch.nn.Module
    stopwatch: Stopwatch


def tables(plan: Plan, file: RowFile, deadline: Deadline) -> bool:
    """Rounds over all operators, attentions and backbones, a row each, while there is time."""
    published = paper_speedups()
    every = list(_timed(plan))
    for repeat in range(1, plan.repeats + 1):
        for each in every:
            if deadline.is_over:
                break
            set_attention(each.denoiser, each.attention)
            (record,) = each.stopwatch.records([repeat])
            baseline, own = record["baseline_ms_per_step"], record["ms_per_step"]
            paper = published.get(each.operator, "") if each.backbone == "sd20" else ""
            file.add(
                backbone=each.backbone,
                attention=each.attention,
                operator=each.operator,
                repeat=repeat,
                steps=plan.steps,
                batch=_BATCH,
                dtype=plan.dtype,
                baseline_ms_per_step=round(baseline, 4),
                ms_per_step=round(own, 4),
                speedup=round(baseline / own, 4),
                paper_speedup=paper,
            )
    _show_tables(file.rows)
    return bool(file.rows)


def paper_speedups() -> dict[str, float]:
    """Operator -> the paper's speed-up on SD-2.0: Table 18's, else what Table 11's saving means."""
    path = ROOT / "bigain" / "assets" / "paper_tables.csv"
    rows = pd.read_csv(path, dtype={"value": str})
    rows = rows[rows["table"].isin([11, 18]) & (rows["status"] == "reported")]
    saved = rows[rows["metric"] == "acceleration_pct"].set_index("method")["value"].astype(float)
    found = {str(name): round(1 / (1 - value / 100), 2) for name, value in saved.items()}
    stated = rows[rows["metric"] == "speedup"].set_index("method")["value"].astype(float)
    return found | {str(name): float(value) for name, value in stated.items()}


def throughput(plan: Plan, file: RowFile, deadline: Deadline) -> bool:
    """The classifier at each batch size until memory or time ends, a row each."""
    dtype = DTYPES[plan.dtype]
    peak = _peak(plan)
    for name in plan.backbones:
        backbone = RandomBackbone(name, plan.classes, plan.device, dtype)
        flops = count_flops(name).total
        for size in plan.batch_sizes:
            if deadline.is_over:
                break
            row = _classified(backbone, plan, size)
            if row is None:
                print(f"{name}: batch {size} does not fit the memory", flush=True)
                break
            reached = flops * row["evaluations"] / row["seconds"]
            shares = {"tflop_per_s": reached / 1e12, "peak_tflop_per_s": peak / 1e12}
            shares["share_of_peak"] = reached / peak
            numbers = {key: round(value, 4) for key, value in (row | shares).items()}
            file.add(backbone=name, dtype=plan.dtype, batch_size=size, **numbers)
            print(*file.rows[-1].items(), flush=True)
        del backbone
    return bool(file.rows)


def profile(plan: Plan, file: RowFile, deadline: Deadline) -> bool:
    """The five operations that cost most in a step, without an operator and with L-GTM."""
    activities = {ProfilerActivity.CPU}
    if plan.device.type == "cuda":
        activities.add(ProfilerActivity.CUDA)
    for name, operator in product(plan.backbones, ("none", "lgtm")):
        if deadline.is_over:
            break
        denoiser = build_random(name, "sdpa", 0, _settings(name, plan))
        inputs = example_inputs(name, _BATCH, plan.device, DTYPES[plan.dtype])
        told = [f"backbone={name}", f"operator={operator}", *OPERATORS.get(operator, ())]
        with torch.inference_mode(), build_compression(compose_config(told), denoiser):
            for _ in range(3):
                denoiser(**inputs)
            synchronize(plan.device)
            with record_profile(activities=activities) as found:
                denoiser(**inputs)
                synchronize(plan.device)
        own = "self_device_time_total" if plan.device.type == "cuda" else "self_cpu_time_total"
        for row in _largest(found.key_averages(), own):
            file.add(backbone=name, operator=operator, **row)
            print(*file.rows[-1].items(), flush=True)
    return bool(file.rows)


def _largest(events: Iterable[Any], own: str) -> Iterator[dict[str, Any]]:
    """The operations with the largest time of their own, in us under the name `own`.

    Kernels of a GPU are events, too, but their time is in that of the operation that started them.
    """
    operations = [event for event in events if event.device_type.name == "CPU"]
    ordered = sorted(operations, key=lambda event: getattr(event, own), reverse=True)
    total = sum(getattr(event, own) for event in ordered)
    for rank, event in enumerate(ordered[:_SHOWN], start=1):
        microseconds = getattr(event, own)
        share = round(microseconds / total, 4) if total else 0.0
        cost = {"ms": round(microseconds / 1000, 4), "share": share, "calls": event.count}
        yield {"rank": rank, "operation": event.key[:100], **cost}


def _timed(plan: Plan) -> Iterator[_Timed]:
    """Every operator of the tables in every backbone, with both kinds of attention."""
    for name in plan.backbones:
        settings = _settings(name, plan)
        denoiser = build_random(name, "sdpa", 0, settings)
        is_flat = ARCHITECTURES[name].blocks is not None
        for attention, operator in product(("sdpa", "eager"), OPERATORS):
            if is_flat and "_enc_" in operator:
                continue  # a flat transformer has no encoder
            told = [f"backbone={name}", f"operator={operator}", *OPERATORS[operator]]
            compressed = partial(build_compression, compose_config(told), denoiser)
            stopwatch = Stopwatch(denoiser, compressed, settings)
            yield _Timed(name, attention, operator, denoiser, stopwatch)


def _settings(name: str, plan: Plan) -> TimeSettings:
    return TimeSettings(name, _BATCH, plan.steps, plan.warmup, plan.device, DTYPES[plan.dtype])


def _classified(backbone: RandomBackbone, plan: Plan, size: int) -> dict[str, float] | None:
    """Time of classifying enough images to fill batches; None if the batch does not fit."""
    protocol = StagedProtocol((5, 20), (min(5, plan.classes), 1))
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=0, batch_size=size, device=plan.device
    )
    evaluations = protocol.evaluations(plan.classes)
    count = max(1, 2 * size // evaluations)
    reset_peak_memory(plan.device)
    with torch.inference_mode():
        labels = torch.arange(size, device=plan.device) % plan.classes
        latents = torch.zeros((size, *backbone.latent_shape), device=plan.device)
        try:  # the first forward of a size chooses its kernels
            backbone.predict_noise(latents, labels, labels)
        except torch.OutOfMemoryError:
            return None
    synchronize(plan.device)
    started = time.perf_counter()
    for _ in classifier.classify(backbone.images(count)):
        pass
    seconds = time.perf_counter() - started
    if classifier.micro_batch < size:
        return None
    return {
        **{"images": count, "evaluations": count * evaluations, "seconds": seconds},
        **{"images_per_s": count / seconds, "peak_gb": peak_memory(plan.device) / 1e9},
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


def _show_tables(rows: Iterable[Any]) -> None:
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows:
        groups.setdefault((row["backbone"], row["attention"], row["operator"]), []).append(row)
    for key, own in groups.items():
        milliseconds = spread(row["ms_per_step"] for row in own)
        faster = spread(row["speedup"] for row in own)
        print(*key, f"{milliseconds} ms, speed-up {faster}, paper {own[0]['paper_speedup'] or '-'}")
