from collections.abc import Callable

import pytest

from bigain.config import RunConfig
from bigain.doctor.hardware import Accelerator, Machine, check_device, probe

Compose = Callable[..., RunConfig]
LARGE = Accelerator("cuda:0", "Big GPU", 40.0, has_bfloat16=True)
OLD = Accelerator("cuda:1", "Old GPU", 2.0, has_bfloat16=False)
WITHOUT = Machine("Some CPU", 8, 4, 16.0)
WITH = Machine("Some CPU", 8, 4, 16.0, (LARGE, OLD))
PAPER = ["profile=paper", "backbone=sd20", "dataset=pets"]


def test_this_machine_has_a_processor() -> None:
    machine = probe()
    assert machine.cores >= 1
    assert machine.threads >= 1
    assert machine.processor


def test_the_processor_is_described(compose: Compose) -> None:
    (found,) = check_device(compose(), WITHOUT)
    assert (found.subject, found.status, found.advice) == ("device=cpu", "ready", ())
    assert found.what == "Some CPU, 8 cores, 16 GB; torch uses 4 threads; dtype=float32"
    (found,) = check_device(compose("threads=2"), Machine("Some CPU", 8, 4, None))
    assert found.what == "Some CPU, 8 cores; torch uses 2 threads; dtype=float32"


@pytest.mark.parametrize(
    ("device", "title"),
    [("auto", "Big GPU"), ("cuda", "Big GPU"), ("cuda:0", "Big GPU"), ("cuda:1", "Old GPU")],
)
def test_an_accelerator_is_described(device: str, title: str, compose: Compose) -> None:
    found = check_device(compose(f"device={device}", "dtype=float16"), WITH)[0]
    assert found.status == "ready"
    assert title in found.what


@pytest.mark.parametrize("device", ["cuda", "cuda:2", "mps"])
def test_a_device_that_is_not_there_is_missing(device: str, compose: Compose) -> None:
    (found,) = check_device(compose(f"device={device}"), WITHOUT)
    assert (found.status, found.advice) == ("missing", ("device=auto", "device=cpu"))
    assert found.what == "there is no such device here; accelerators: none"


def test_the_devices_that_are_there_are_named(compose: Compose) -> None:
    (found,) = check_device(compose("device=mps"), WITH)
    assert found.what.endswith("accelerators: cuda:0, cuda:1")


@pytest.mark.parametrize(
    ("overrides", "machine", "advice"),
    [
        (["device=cpu"], WITH, "Big GPU is here too: device=auto"),
        ([*PAPER], WITHOUT, "an image of a published model takes many minutes on a CPU"),
        ([*PAPER], WITHOUT, "half precision is slow on a CPU: dtype=float32"),
        ([*PAPER, "dtype=float32"], WITH, "half precision is faster here"),
        (["device=cuda:1", "dtype=bfloat16"], WITH, "Old GPU computes bfloat16 slowly"),
    ],
)
def test_what_would_be_better_is_told_and_does_not_stop(
    overrides: list[str], machine: Machine, advice: str, compose: Compose
) -> None:
    found = check_device(compose(*overrides), machine)[0]
    assert any(advice in each for each in found.advice), found
    assert not found.stops


def test_a_good_choice_gets_no_advice(compose: Compose) -> None:
    (found,) = check_device(compose(*PAPER), WITH)
    assert found.advice == ()


def test_weights_larger_than_the_memory_are_a_problem(compose: Compose) -> None:
    _, memory = check_device(compose(*PAPER, "device=cuda:1"), WITH)
    assert (memory.subject, memory.status) == ("memory", "problem")
    assert memory.what == "2.0 GB, but the weights of sd20 alone take 3.4 GB"
    assert memory.advice == ("a device with more memory",)
    _, memory = check_device(compose(*PAPER, "device=cuda:1", "dtype=float32"), WITH)
    assert memory.advice == ("dtype=float16", "a device with more memory")


def test_a_device_that_shares_the_machines_memory_is_measured_by_it(compose: Compose) -> None:
    apple = Accelerator("mps", "Apple Metal", None, has_bfloat16=True)
    small = Machine("Some CPU", 8, 4, 3.0, (apple,))
    assert len(check_device(compose(*PAPER), small)) == 2
    assert len(check_device(compose(*PAPER), Machine("Some CPU", 8, 4, 8.0, (apple,)))) == 1
