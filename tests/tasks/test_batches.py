import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bigain.errors import UserError
from bigain.tasks.batches import MicroBatches, keyed_noise


class Device:
    """Squares what fits, and runs out of memory with more than `room` items."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.seen: list[int] = []

    def __call__(self, chunk: Tensor) -> Tensor:
        self.seen.append(len(chunk))
        if len(chunk) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return chunk[:, 0] ** 2


ITEMS = torch.arange(20)[:, None]


@pytest.mark.parametrize("size", [1, 3, 7, 20, 64])
def test_all_items_come_once_and_in_order(size: int) -> None:
    device = Device(64)
    parts = list(MicroBatches(size).run(ITEMS, device))
    assert torch.equal(torch.cat([chunk for chunk, _ in parts]), ITEMS)
    assert torch.equal(torch.cat([found for _, found in parts]), ITEMS[:, 0] ** 2)
    assert max(device.seen) == min(size, 20)


@pytest.mark.parametrize(("room", "left"), [(15, 8), (8, 8), (5, 4), (1, 1)])
def test_the_batch_is_halved_until_it_fits_and_stays_so(room: int, left: int) -> None:
    batches, device = MicroBatches(16), Device(room)
    found = torch.cat([result for _, result in batches.run(ITEMS, device)])
    assert torch.equal(found, ITEMS[:, 0] ** 2)
    assert batches.size == left
    device.seen.clear()
    list(batches.run(ITEMS, device))
    assert max(device.seen) == left


def test_memory_that_runs_out_in_the_middle_repeats_nothing() -> None:
    batches, device = MicroBatches(8), Device(8)
    parts = []
    for chunk, found in batches.run(ITEMS, device):
        parts.append((chunk, found))
        device.room = 3
    assert torch.equal(torch.cat([chunk for chunk, _ in parts]), ITEMS)
    assert device.seen[0] == 8
    assert batches.size == 2


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    batches = MicroBatches(16)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            list(batches.run(ITEMS, Device(3)))
    assert caplog.text.count("at most 8 evaluations at once") == 1


def test_one_that_does_not_fit_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^batch_size=1: one evaluation does not fit") as caught:
        list(MicroBatches(16).run(ITEMS, Device(0)))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"^task\.images_per_forward=1: one evaluation"):
        list(MicroBatches(16, "task.images_per_forward").run(ITEMS, Device(0)))


def test_batches_that_results_depend_on_do_not_shrink() -> None:
    device = Device(3)
    with pytest.raises(UserError, match=r"^batch_size=8: does not fit the .* number \(because\)$"):
        list(MicroBatches(8, fixed="because").run(ITEMS, device))
    assert device.seen == [8]
    list(MicroBatches(3, fixed="because").run(ITEMS, device))


def test_other_errors_are_not_taken_for_it() -> None:
    def broken(chunk: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: an illegal memory access")

    with pytest.raises(RuntimeError, match="illegal"):
        list(MicroBatches(4).run(ITEMS, broken))


def test_the_failed_forward_is_let_go_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the exception's frames hold must not be alive when the smaller batch is tried."""
    alive: list[bool] = []
    device = Device(2)

    class Big:
        held = 0

        def __init__(self) -> None:
            Big.held += 1

        def __del__(self) -> None:
            Big.held -= 1

    def evaluate(chunk: Tensor) -> Tensor:
        alive.append(Big.held > 0)
        big = Big()
        found = device(chunk)
        assert big is not None
        return found

    list(MicroBatches(4).run(ITEMS, evaluate))
    assert alive == [False] * len(alive)
    assert device.seen[:2] == [4, 2]


# Noise.


def test_same_key_same_noise_whatever_was_drawn_before() -> None:
    alone = keyed_noise(0, "classification", 7, 125, shape=(1, 4, 8, 8))
    torch.manual_seed(3)
    torch.randn(100)
    keyed_noise(0, "classification", 8, 125, shape=(1, 4, 8, 8))
    assert torch.equal(alone, keyed_noise(0, "classification", 7, 125, shape=(1, 4, 8, 8)))


def test_pinned_values_do_not_change_between_versions() -> None:
    noise = keyed_noise(0, "classification", 0, 125, shape=(4,))
    expected = torch.tensor([-0.5884734, -0.1740858, -0.2978525, -1.2730286])
    assert torch.allclose(noise, expected, atol=1e-7)


@given(
    st.tuples(st.integers(0, 5), st.integers(0, 99), st.integers(0, 999)),
    st.tuples(st.integers(0, 5), st.integers(0, 99), st.integers(0, 999)),
)
def test_any_other_key_gives_other_noise(a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
    equal = torch.equal(keyed_noise(*a, shape=(16,)), keyed_noise(*b, shape=(16,)))
    assert equal == (a == b)
    assert not torch.equal(keyed_noise(0, 1, 23, shape=(16,)), keyed_noise(0, 12, 3, shape=(16,)))


def test_noise_is_standard_normal_across_keys_and_elements() -> None:
    noise = torch.stack([keyed_noise(0, i, shape=(1024,)) for i in range(400)])
    n = noise.numel()
    assert abs(float(noise.mean())) < 4 / n**0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / n) ** 0.5
    between = torch.corrcoef(noise[:20]).fill_diagonal_(0).abs().max()
    assert float(between) < 5 / 1024**0.5
