"""`batch_size=auto`, with a clock that the network turns on."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.mini import load_mini
from bigain.devices import limited_threads
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.patching.projections import KeptProjections
from bigain.tasks.batch_size import (
    LARGEST,
    MOST_IMAGES,
    evaluations_per_second,
    fastest_size,
    kept_size,
    sufficient_size,
)

CPU = torch.device("cpu")
REVISION = compose_config(["backbone=mini_unet"]).backbone.revision


@pytest.mark.parametrize(
    ("rates", "size"),
    [
        ({1: 10, 2: 19, 4: 30, 8: 29, 16: 28, 32: 99}, 4),  # slower twice: no more candidates
        ({1: 10, 2: 9, 4: 30, 8: 30.5, 16: 30, 32: 99}, 8),  # a slow one may be an accident
        ({1: 10, 2: 19, 4: None}, 2),  # no memory
        ({2**n: 2.0**n for n in range(12)}, LARGEST),
    ],
)
def test_sizes_are_doubled_until_it_does_not_pay(rates: dict[int, float | None], size: int) -> None:
    assert fastest_size(lambda each: rates[each]) == size


def busy(rates: dict[int, float], disturbed: set[int]) -> Callable[[int], float]:
    """Rates, divided by 10 at the measurements `disturbed`, counted from 0."""
    numbers = count()
    return lambda size: rates[size] / (10 if next(numbers) in disturbed else 1)


RISING = {1: 10.0, 2: 19.0, 4: 30.0, 8: 29.0, 16: 28.0, 32: 27.0, 64: 26.0}


@pytest.mark.parametrize(
    ("disturbed", "sizes"),
    [
        (set(), 3 * [1, 2, 4, 8, 16]),
        ({2}, [1, 2, 4, 8, 16, 32, 1, 2, 4, 8, 16, 1, 2, 4, 8, 16]),  # then 8 seems to be the best
        ({1, 2}, [1, 2, 4, 1, 2, 4, 8, 16, 1, 2, 4, 8, 16]),  # the first round ends too early
    ],
)
def test_other_work_on_the_machine_disturbs_one_round(
    disturbed: set[int], sizes: list[int]
) -> None:
    seen: list[int] = []
    rate = busy(RISING, disturbed)

    def noted(size: int) -> float:
        seen.append(size)
        return rate(size)

    assert fastest_size(noted) == 4
    assert seen == sizes


def test_a_size_that_does_not_fit_in_a_later_round_is_not_taken() -> None:
    answers = iter([10.0, 19.0, 30.0, None, 10.0, 19.0, None, 10.0, 19.0])
    assert fastest_size(lambda _size: next(answers)) == 2
    assert next(answers, "all") == "all"


def test_a_single_evaluation_must_fit() -> None:
    with pytest.raises(UserError, match=r"^batch_size=auto: one evaluation does not fit"):
        fastest_size(lambda _size: None)


@pytest.mark.parametrize(
    ("rates", "size"),
    [
        ({1: 10, 2: 19, 4: 30, 8: 30.5, 16: 30.4, 32: 99}, 4),  # 8 gains less than 3 %
        ({1: 10, 2: 10.2, 4: 10.5, 8: 10.5, 16: 10.6}, 2),  # 10.5 / 1.03 < 10.2
        ({1: 10, 2: 19, 4: 30, 8: None}, 2),  # half of what fits is left to an operator
        ({1: 10, 2: None}, 1),
        ({2**n: 2.0**n for n in range(12)}, MOST_IMAGES),
    ],
)
def test_images_per_forward_are_no_more_than_pays(
    rates: dict[int, float | None], size: int
) -> None:
    assert sufficient_size(lambda each: rates[each]) == size


def test_a_single_image_must_fit() -> None:
    with pytest.raises(UserError, match=r"^task\.images_per_forward=auto: one evaluation does not"):
        sufficient_size(lambda _size: None)


@pytest.fixture
def one_thread() -> Iterator[None]:
    with limited_threads(1):
        yield


@pytest.mark.usefixtures("one_thread")
def test_a_network_is_measured_by_its_fastest_forward(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, calls = [0.0], [0]
    original = backbone.predict

    def slow(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        if len(latents) > 16:
            raise torch.OutOfMemoryError
        calls[0] += 1
        now[0] += 5.0 if calls[0] == 1 else 0.5 + len(latents) / 8
        return original(latents, timesteps, classes)

    monkeypatch.setattr(backbone, "predict", slow)
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    assert evaluations_per_second(backbone, CPU, 4) == pytest.approx(4.0)
    assert evaluations_per_second(backbone, CPU, 16) == pytest.approx(6.4)
    assert evaluations_per_second(backbone, CPU, 32) is None
    assert fastest_size(lambda size: evaluations_per_second(backbone, CPU, size)) == 16


@pytest.mark.parametrize(("threads", "clock"), [(1, "process_time"), (2, "perf_counter")])
def test_one_thread_is_timed_by_what_the_processor_did(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, threads: int, clock: str
) -> None:
    """The clock of the other kind stands still, so a rate by it would be infinite."""
    now = {"process_time": count(step=0), "perf_counter": count(step=0)}
    now[clock] = count(step=2)
    for name, times in now.items():
        monkeypatch.setattr(time, name, times.__next__)
    with limited_threads(threads):
        assert evaluations_per_second(backbone, CPU, 6) == 3.0


def test_two_processes_measure_once(tmp_path: Path) -> None:
    """Threads stand for them: a lease holds between these, too."""
    path, sizes = tmp_path / "batch_sizes.json", []
    began, go_on = threading.Event(), threading.Event()

    def measure() -> int:
        began.set()
        assert go_on.wait(60)
        sizes.append(8)
        return 8

    def work() -> None:
        assert kept_size(path, {"a": 1}, measure) == 8

    first, second = threading.Thread(target=work), threading.Thread(target=work)
    first.start()
    assert began.wait(60)
    began.clear()
    second.start()
    assert not began.wait(0.5)
    go_on.set()
    first.join(60)
    second.join(60)
    assert sizes == [8]
    assert list(json.loads(path.read_text()).values()) == [8]


def test_a_size_is_measured_once(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "batch_sizes.json"
    measured: list[int] = []

    def measure() -> int:
        measured.append(8 * (len(measured) + 1))
        return measured[-1]

    assert kept_size(path, {"b": 1, "a": "x"}, measure) == 8
    assert kept_size(path, {"a": "x", "b": 1}, measure) == 8
    assert kept_size(path, {"a": "x", "b": 2}, measure) == 16
    assert measured == [8, 16]
    assert sorted(json.loads(path.read_text()).values()) == [8, 16]


@pytest.mark.parametrize("text", ["{", "[8]", '{"a": "8"}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "batch_sizes.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"batch_sizes\.json: is damaged; delete it"):
        kept_size(path, {}, lambda: 1)


def test_what_classes_share_is_timed_once_for_all_of_them() -> None:
    backbone = load_mini("mini_unet", REVISION, CPU, torch.float32)
    rows: list[int] = []
    handle = backbone.denoiser.get_submodule("conv_in").register_forward_hook(
        lambda _module, args, _output: rows.append(len(args[0]))
    )
    evaluations_per_second(backbone, CPU, 6, classes_each=3)
    evaluations_per_second(backbone, CPU, 6)
    handle.remove()
    assert set(rows[: len(rows) // 2]) == {2}
    assert set(rows[len(rows) // 2 :]) == {6}


def test_keys_and_values_of_prompts_are_computed_before_a_classification_is_timed() -> None:
    backbone = load_mini("mini_unet", REVISION, CPU, torch.float32)
    backbone.encoder_hidden_states = torch.randn(11, 4, 48)
    attention = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    rows: list[int] = []
    handle = backbone.denoiser.get_submodule(f"{attention}.to_k").register_forward_hook(
        lambda _module, args, _output: rows.append(len(args[0]))
    )
    with KeptProjections(backbone.denoiser, backbone.encoder_hidden_states) as kept:
        evaluations_per_second(backbone, CPU, 6, kept=kept)
        evaluations_per_second(backbone, CPU, 3, kept=kept)
    assert rows == [11]
    evaluations_per_second(backbone, CPU, 6)
    handle.remove()
    assert len(rows) > 2
    assert set(rows[1:]) == {6}
