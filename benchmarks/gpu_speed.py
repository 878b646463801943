"""Speed at full size with random weights: operators, and where a step's time goes.

Only what is measured is written; a speed-up of the paper stands beside each operator that has one.
An error costs its own cell only: its row has the message and no numbers.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
import torch
from gpu_plan import FAULTS, Deadline, Plan, message_of
from timing import ROOT, RowFile, spread
from torch.profiler import ProfilerActivity
from torch.profiler import profile as record_profile

from bigain.backbones.denoisers import example_inputs
from bigain.config.architectures import ARCHITECTURES
from bigain.devices import DTYPES, set_attention, synchronize
from bigain.engine.build import build_compression
from bigain.launch.compose import compose_config
from bigain.tasks.efficiency import Stopwatch, TimeSettings, build_random

__all__ = ["OPERATORS", "paper_speedups", "profile", "tables"]

_RATIO, _FACTOR = "operator.ratio=0.7", "operator.factor=2"

OPERATORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("sito", "tome", "lgtm", "cached", "abm"), (_RATIO,)),
    **dict.fromkeys(("todo", "ie_kvd"), (_FACTOR,)),
    **dict.fromkeys(("lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec"), (_RATIO, _FACTOR)),
    "toma": (_RATIO,),
}
"""The rows of Tables 11 and 18, and ToMA, which merges and restores by matrix products."""

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
    """Rounds over all cells, a row each, while there is time; False if a cell has no time.

    Backbones and attentions take turns within a round, so little time costs repeats of all of them,
    or the last operators.
    """
    published = paper_speedups()
    every = list(_timed(plan))
    failed: set[_Timed] = set()
    for repeat in range(1, plan.repeats + 1):
        for each in every:
            if deadline.is_over:
                break
            if each in failed:
                continue
            times, message = _repeat(each, repeat)
            if message:
                failed.add(each)
            paper = published.get(each.operator, "") if each.backbone == "sd20" else ""
            file.add(
                backbone=each.backbone,
                attention=each.attention,
                operator=each.operator,
                repeat=repeat,
                steps=plan.steps,
                batch=_BATCH,
                dtype=plan.dtype,
                **times,
                paper_speedup=paper,
                message=message,
            )
    _show_tables(every, file.rows)
    measured = {_cell(row) for row in file.rows if not row["message"]}
    return not failed and len(measured) == len(every)


def _repeat(each: _Timed, repeat: int) -> tuple[dict[str, float | str], str]:
    """Times of one repeat, or empty ones and the message of an error."""
    times: dict[str, float | str] = dict.fromkeys(
        ("baseline_ms_per_step", "ms_per_step", "speedup"), ""
    )
    set_attention(each.denoiser, each.attention)
    try:
        (record,) = each.stopwatch.records([repeat])
    except FAULTS as error:
        return times, message_of(error)
    baseline, own = record["baseline_ms_per_step"], record["ms_per_step"]
    values = (round(baseline, 4), round(own, 4), round(baseline / own, 4))
    return dict(zip(times, values, strict=True)), ""


def _cell(row: Any) -> tuple[str, str, str]:
    return row["backbone"], row["attention"], row["operator"]


def paper_speedups() -> dict[str, float]:
    """Operator -> the paper's speed-up on SD-2.0: Table 18's, else what Table 11's saving means."""
    path = ROOT / "bigain" / "assets" / "paper_tables.csv"
    rows = pd.read_csv(path, dtype={"value": str})
    rows = rows[rows["table"].isin([11, 18]) & (rows["status"] == "reported")]
    saved = rows[rows["metric"] == "acceleration_pct"].set_index("method")["value"].astype(float)
    found = {str(name): round(1 / (1 - value / 100), 2) for name, value in saved.items()}
    stated = rows[rows["metric"] == "speedup"].set_index("method")["value"].astype(float)
    return found | {str(name): float(value) for name, value in stated.items()}


def profile(plan: Plan, file: RowFile, deadline: Deadline) -> bool:
    """The five operations that cost most in a step, without an operator and with L-GTM."""
    is_whole = True
    for name, operator in product(plan.backbones, ("none", "lgtm")):
        if deadline.is_over:
            print(f"no time was left for {name} {operator}", flush=True)
            return False
        try:
            rows = list(_costs(plan, name, operator))
        except FAULTS as error:
            columns = dict.fromkeys(("rank", "operation", "ms", "share", "calls"), "")
            rows, is_whole = [{**columns, "message": message_of(error)}], False
        for row in rows:
            file.add(backbone=name, operator=operator, **row)
            print(*file.rows[-1].items(), flush=True)
    return is_whole


def _costs(plan: Plan, name: str, operator: str) -> Iterator[dict[str, Any]]:
    """The five operations that cost most in a step."""
    activities = {ProfilerActivity.CPU}
    if plan.device.type == "cuda":
        activities.add(ProfilerActivity.CUDA)
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
    yield from _largest(found.key_averages(), own)


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
        yield {"rank": rank, "operation": event.key[:100], **cost, "message": ""}


def _timed(plan: Plan) -> Iterator[_Timed]:
    """Every operator of the tables with both kinds of attention in every backbone, in turn."""
    settings = {name: _settings(name, plan) for name in plan.backbones}
    denoisers = {name: build_random(name, "sdpa", 0, settings[name]) for name in plan.backbones}
    for operator, attention, name in product(OPERATORS, ("sdpa", "eager"), plan.backbones):
        if ARCHITECTURES[name].blocks is not None and "_enc_" in operator:
            continue  # a flat transformer has no encoder
        told = [f"backbone={name}", f"operator={operator}", *OPERATORS[operator]]
        compressed = partial(build_compression, compose_config(told), denoisers[name])
        stopwatch = Stopwatch(denoisers[name], compressed, settings[name])
        yield _Timed(name, attention, operator, denoisers[name], stopwatch)


def _settings(name: str, plan: Plan) -> TimeSettings:
    return TimeSettings(name, _BATCH, plan.steps, plan.warmup, plan.device, DTYPES[plan.dtype])


def _show_tables(every: Iterable[_Timed], rows: Iterable[Any]) -> None:
    """Medians with their spread over n repeats."""
    groups: dict[tuple[str, str, str], list[Any]] = {each[:3]: [] for each in every}
    for row in rows:
        if not row["message"]:
            groups[_cell(row)].append(row)
    for key, own in groups.items():
        if not own:
            print(*key, "not measured")
            continue
        milliseconds = spread(row["ms_per_step"] for row in own)
        faster = f"speed-up {spread(row['speedup'] for row in own)}"
        paper = f"paper {own[0]['paper_speedup'] or '-'}"
        print(*key, f"{milliseconds} ms, {faster}, n = {len(own)}, {paper}")
