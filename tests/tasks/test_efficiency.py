from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

import bigain
from bigain.operators import ToMe
from bigain.tasks.efficiency import (
    COLUMNS,
    FLOPS_ID,
    Stopwatch,
    TimeSettings,
    build_random,
    flops_record,
    sampler_timesteps,
)
from bigain.tasks.flops import KINDS, count_flops

SETTINGS = TimeSettings(
    backbone="mini_dit",
    batch_size=2,
    steps=3,
    warmup=1,
    device=torch.device("cpu"),
    dtype=torch.float32,
)


class Spy(nn.Module):
    """A denoiser that notes with what, and under which name, it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.way = "baseline"
        self.calls: list[tuple[str, list[int]]] = []

    def forward(self, **inputs: torch.Tensor) -> None:
        assert inputs["hidden_states"].shape == (2, 1, 32, 32)
        self.calls.append((self.way, inputs["timestep"].tolist()))

    @contextmanager
    def accelerated(self) -> Iterator[None]:
        self.way = "operator"
        yield
        self.way = "baseline"


def test_the_record_of_a_count() -> None:
    count = count_flops("mini_dit", ToMe(0.5))
    record = flops_record(count, has_operator=True)
    assert tuple(record) == COLUMNS
    assert (record["image_id"], record["measure"]) == (FLOPS_ID, "flops")
    assert record["flops"] == record["closed_form"] == count.total < record["baseline_flops"]
    assert sum(record[f"flops_{kind}"] for kind in KINDS) == count.total
    assert record["ms_per_step"] is None
    assert flops_record(count_flops("mini_dit"), has_operator=False)["baseline_flops"] is None


def test_timesteps_are_those_of_the_samplers() -> None:
    euler, ddim = sampler_timesteps("sd20", 50), sampler_timesteps("dit_xl2_512", 50)
    assert euler[:3] == [999, 979, 958]
    assert ddim[:2] == [980, 960]
    for steps in (euler, ddim):
        assert len(steps) == 50
        assert steps[-1] == 0
        assert steps == sorted(steps, reverse=True)
    assert sampler_timesteps("sd20", 1) == [999]
    assert sampler_timesteps("dit_xl2_512", 1000) == [*range(999, -1, -1)]


def test_random_weights_are_a_function_of_the_seed_and_leave_torch_alone() -> None:
    state = torch.get_rng_state()
    one, two, other = (build_random("mini_dit", "sdpa", seed, SETTINGS) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [dict(model.named_parameters())["proj_out_2.weight"] for model in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_precision_and_attention_are_as_asked() -> None:
    model = build_random("mini_unet", "eager", 0, replace(SETTINGS, dtype=torch.bfloat16))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert Stopwatch(model, None, SETTINGS).attention.startswith("AttnProcessor; ")


def test_baseline_and_operator_take_turns_after_the_warm_up() -> None:
    spy = Spy()
    records = list(Stopwatch(spy, spy.accelerated, SETTINGS).records([1, 2]))
    order = [name for name, _ in spy.calls]
    both = ["baseline", "operator"]
    passes = [name for name in (*both, *reversed(both)) for _ in range(3)]
    assert order == [*both, *passes]
    times = [666, 333, 0]
    assert [when for _, when in spy.calls[2:5]] == [[t, t] for t in times]
    assert [record["image_id"] for record in records] == [1, 2]
    assert all(tuple(record) == (*COLUMNS, "seconds") for record in records)
    assert all(record["ms_per_step"] > 0 < record["baseline_ms_per_step"] for record in records)


def test_the_warm_up_may_be_longer_than_a_pass_or_none() -> None:
    for warmup in (0, 5):
        spy = Spy()
        list(Stopwatch(spy, None, replace(SETTINGS, warmup=warmup)).records([]))
        assert len(spy.calls) == warmup


def test_without_an_operator_there_is_one_pass_and_no_baseline() -> None:
    spy = Spy()
    (record,) = Stopwatch(spy, None, replace(SETTINGS, warmup=0)).records([4])
    assert [name for name, _ in spy.calls] == ["baseline"] * 3
    assert record["ms_per_step"] > 0
    assert record["baseline_ms_per_step"] is None


def test_a_record_says_where_it_was_measured() -> None:
    (record,) = Stopwatch(Spy(), None, SETTINGS).records([1])
    place = {key: record[key] for key in ("steps", "batch_size", "device", "dtype", "threads")}
    assert place == {
        "steps": 3,
        "batch_size": 2,
        "device": "cpu",
        "dtype": "float32",
        "threads": torch.get_num_threads(),
    }
    assert record["attention_backend"].startswith("no attention; sdpa: ")


def test_time_is_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that advances one second per forward."""
    spy = Spy()
    monkeypatch.setattr("time.perf_counter", lambda: float(len(spy.calls)))
    (record,) = Stopwatch(spy, spy.accelerated, SETTINGS).records([1])
    assert (record["ms_per_step"], record["baseline_ms_per_step"]) == (1000.0, 1000.0)
    assert record["seconds"] == 6.0


def test_the_operator_acts_on_a_real_denoiser_and_leaves_it() -> None:
    model = build_random("mini_dit", "sdpa", 0, SETTINGS)
    reports = []

    def accelerate() -> AbstractContextManager[object]:
        reports.append(bigain.apply(model, ToMe(0.5)))
        return reports[-1]

    list(Stopwatch(model, accelerate, SETTINGS).records([1]))
    assert [report.forwards for report in reports] == [1, 3]
    assert not any(report.active for report in reports)
