"""`batch_size=auto`, with a clock that the network turns on."""

import json
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.mini import load_mini
from bigain.errors import UserError
from bigain.launch.compose import compose_config
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
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    assert evaluations_per_second(backbone, CPU, 4) == pytest.approx(4.0)
    assert evaluations_per_second(backbone, CPU, 16) == pytest.approx(6.4)
    assert evaluations_per_second(backbone, CPU, 32) is None
    assert fastest_size(lambda size: evaluations_per_second(backbone, CPU, size)) == 16


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
    evaluations_per_second(backbone, CPU, 6, keeps_projections=True)
    assert rows == [11]
    evaluations_per_second(backbone, CPU, 6)
    handle.remove()
    assert len(rows) > 2
    assert set(rows[1:]) == {6}
