from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bigain.devices import (
    DTYPES,
    attention_backend,
    choose_threads,
    device_name,
    limited_threads,
    machine_name,
    on_own_stream,
    peak_memory,
    reset_peak_memory,
    resolve_device,
    set_attention,
    synchronize,
)
from bigain.errors import UserError
from bigain.machine import Cores, cpu_model


def test_cpu_is_cpu_and_auto_is_a_device_that_works() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert torch.ones(2, device=resolve_device("auto")).sum() == 2


def test_auto_takes_the_accelerator_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:1", 1)])
def test_a_missing_gpu_is_named(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(UserError, match=f"device={name}: {count} CUDA devices"):
        resolve_device(name)


def test_a_gpu_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")


def test_missing_metal_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="device=mps"):
        resolve_device("mps")


def test_threads_are_limited_inside_only_even_after_an_exception() -> None:
    before = torch.get_num_threads()
    inside = []

    def fail() -> None:
        with limited_threads(before + 1):
            inside.append(torch.get_num_threads())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert inside == [before + 1]
    assert torch.get_num_threads() == before


IDLE, SHARED, SMALL = Cores(64, 64, None), Cores(64, 8, None), Cores(64, 8, 2.5)


@pytest.mark.parametrize(
    ("setting", "own", "is_mini", "cores", "expected"),
    [
        (None, None, True, IDLE, 1),
        (None, None, False, IDLE, 32),
        (None, None, False, SHARED, 8),
        (None, None, False, SMALL, 2),
        (None, None, False, Cores(64, 64, 0.5), 1),
        (6, None, True, SMALL, 6),
        (6, "3", False, SMALL, 6),
        (None, "32", True, SMALL, 32),
        (None, "", True, SMALL, 1),
        (None, "abc", True, SMALL, 1),
        (None, "0", True, SMALL, 1),
        (None, "-2", False, SMALL, 2),
        (None, "2.5", False, SHARED, 8),
        (None, " 32,2 ", True, SMALL, 32),
    ],
)
def test_threads_never_exceed_what_may_run_at_once_unless_the_user_says_so(
    setting: int | None,
    own: str | None,
    is_mini: bool,
    cores: Cores,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch itself would take 32, one for each physical core, or what OMP_NUM_THREADS says."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 32)
    monkeypatch.setattr("bigain.devices.usable_cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    assert choose_threads(setting, is_mini=is_mini).count == expected


def test_the_reason_for_the_threads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 32)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for cores, why in ((SHARED, "affinity allows 8 of 64"), (SMALL, "the cgroup has 2.5 of 64")):
        monkeypatch.setattr("bigain.devices.usable_cores", lambda found=cores: found)
        assert choose_threads(None, is_mini=False).why == f"{why} cores"


def test_attention_backend_tells_what_the_model_and_torch_are_set_to(
    tiny_dit: nn.Module,
) -> None:
    assert attention_backend(tiny_dit).startswith("AttnProcessor2_0; sdpa: ")
    before = torch.backends.cuda.flash_sdp_enabled()
    try:
        torch.backends.cuda.enable_flash_sdp(enabled=False)
        assert "flash" not in attention_backend(tiny_dit)
    finally:
        torch.backends.cuda.enable_flash_sdp(enabled=before)
    assert attention_backend(nn.Linear(1, 1)).startswith("no attention")


def test_fused_and_stepwise_attention_agree_and_are_told_apart(
    tiny_model: nn.Module, run: Callable[[nn.Module], Tensor]
) -> None:
    fused = run(tiny_model)
    set_attention(tiny_model, "eager")
    assert attention_backend(tiny_model).startswith("AttnProcessor; ")
    stepwise = run(tiny_model)
    assert torch.allclose(stepwise, fused, atol=1e-5)
    set_attention(tiny_model, "sdpa")
    assert attention_backend(tiny_model).startswith("AttnProcessor2_0; ")
    assert torch.equal(run(tiny_model), fused)


def test_stepwise_attention_makes_the_whole_matrix(
    tiny_dit: nn.Module, run: Callable[[nn.Module], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("the fused kernel was called")

    set_attention(tiny_dit, "eager")
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", refuse)
    run(tiny_dit)
    set_attention(tiny_dit, "sdpa")
    with pytest.raises(AssertionError, match="fused kernel"):
        run(tiny_dit)


def test_peak_memory_counts_the_process_in_bytes() -> None:
    before = peak_memory(torch.device("cpu"))
    assert 50e6 < before < 100e9
    ballast = torch.ones(100_000_000, dtype=torch.uint8)
    after = peak_memory(torch.device("cpu"))
    assert after >= before
    assert after > 100e6 + 50e6
    assert int(ballast[0]) == 1


def test_peak_memory_of_a_gpu_is_that_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = {0: 7, 1: 8}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peaks[device.index])
    monkeypatch.setattr(
        torch.cuda, "reset_peak_memory_stats", lambda device: peaks.update({device.index: 0})
    )
    assert peak_memory(torch.device("cuda:1")) == 8
    reset_peak_memory(torch.device("cuda:1"))
    reset_peak_memory(torch.device("cpu"))
    assert peaks == {0: 7, 1: 0}


def test_precisions_are_those_of_the_configuration() -> None:
    assert {name: str(dtype) for name, dtype in DTYPES.items()} == {
        name: f"torch.{name}" for name in ("float32", "bfloat16", "float16")
    }


def test_attention_is_fused_or_in_plain_steps(tiny_model: nn.Module, run: Any) -> None:
    fused = run(tiny_model)
    set_attention(tiny_model, "eager")
    assert attention_backend(tiny_model).startswith("AttnProcessor; ")
    torch.testing.assert_close(run(tiny_model), fused)
    set_attention(tiny_model, "sdpa")
    assert attention_backend(tiny_model).startswith("AttnProcessor2_0; ")
    assert torch.equal(run(tiny_model), fused)


def test_the_graphics_card_is_waited_for_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    synchronize(torch.device("cpu"))
    assert waited == []
    synchronize(torch.device("cuda:1"))
    assert waited == [torch.device("cuda:1")]
    assert device_name(torch.device("cuda:1")) == "card 1"
    assert device_name(torch.device("cpu")) == cpu_model()
    assert machine_name(torch.device("cuda:1")) == "card 1"
    monkeypatch.setattr("bigain.devices.cpu_model", lambda: "chip")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert machine_name(torch.device("cpu")) == "chip, AVX2"
    monkeypatch.setattr("bigain.devices.cpu_model", lambda: None)
    assert machine_name(torch.device("cpu")) is None


def test_a_stream_of_its_own_begins_after_what_was_launched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a GPU: what CUDA is asked for, and when."""
    said: list[object] = []

    class Stream:
        def __init__(self, device: torch.device) -> None:
            said.append(("made", str(device)))

        def wait_stream(self, other: object) -> None:
            said.append(("waits for", other))

    @contextmanager
    def entered(stream: object) -> Iterator[None]:
        said.append(type(stream))
        yield
        said.append("left")

    def work(number: int) -> int:
        said.append(number)
        return number + 1

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"current of {device}")
    own = on_own_stream(torch.device("cuda", 1), work)
    assert said == [("made", "cuda:1"), ("waits for", "current of cuda:1")]
    assert [own(3), own(5)] == [4, 6]
    assert said[2:] == [Stream, 3, "left", Stream, 5, "left"]
