import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from bigain.backbones.loading import load_component, read_settings
from bigain.errors import UserError

State = dict[str, Tensor]
UNET = ("unet", diffusers.UNet2DConditionModel, "diffusion_pytorch_model")
VAE = ("vae", diffusers.AutoencoderKL, "diffusion_pytorch_model")
TEXT = ("text_encoder", CLIPTextModel, "model")
PARTS = [UNET, VAE, TEXT]


@pytest.fixture
def folder(tmp_path: Path, pipelines: dict[str, Path]) -> Path:
    """A tiny SDXL pipeline that the test may change: it has all kinds of components."""
    shutil.copytree(pipelines["sdxl"], tmp_path / "pipeline")
    return tmp_path / "pipeline"


def load(cls: Any, folder: Path, part: str, dtype: torch.dtype = torch.float32) -> Any:
    return load_component(cls, folder, part, variant=None, dtype=dtype)


def change(folder: Path, part: str, stem: str, edit: Callable[[State], State]) -> None:
    path = folder / part / f"{stem}.safetensors"
    save_file(edit(load_file(path)), path, {"format": "pt"})


@pytest.mark.parametrize(("part", "cls", "stem"), PARTS)
def test_all_weights_arrive_in_eval_mode(folder: Path, part: str, cls: Any, stem: str) -> None:
    model = load(cls, folder, part)
    state, stored = model.state_dict(), load_file(folder / part / f"{stem}.safetensors")
    assert set(state) == set(stored)
    assert all(torch.equal(state[name], stored[name]) for name in stored)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    half = load(cls, folder, part, torch.float16)
    assert {p.dtype for p in half.parameters()} == {torch.float16}


@pytest.mark.parametrize(("part", "cls", "stem"), PARTS)
@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda s: dict(list(s.items())[1:]), "1 weights are missing, 0 not wanted and 0 of"),
        (lambda s: {**s, "extra.weight": torch.zeros(1)}, "0 weights are missing, 1 not wanted"),
        (
            lambda s: {k: v if i else torch.zeros(3, 5) for i, (k, v) in enumerate(s.items())},
            "0 weights are missing, 0 not wanted and 1 of another shape, such as ",
        ),
    ],
)
def test_a_checkpoint_of_another_architecture_is_one_line(
    folder: Path, part: str, cls: Any, stem: str, edit: Callable[[State], State], told: str
) -> None:
    change(folder, part, stem, edit)
    with pytest.raises(UserError, match=told) as caught:
        load(cls, folder, part)
    assert str(caught.value).startswith(f"{folder / part}: holds no {cls.__name__}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("part", "cls", "stem"), PARTS)
@pytest.mark.parametrize("damage", ["weights", "settings"])
def test_a_damaged_file_is_one_line(
    folder: Path, part: str, cls: Any, stem: str, damage: str
) -> None:
    name = f"{stem}.safetensors" if damage == "weights" else "config.json"
    (folder / part / name).write_bytes(b"{ nothing")
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load(cls, folder, part)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "cls"),
    [("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)],
)
def test_text_encoders_of_older_versions_are_understood(folder: Path, part: str, cls: Any) -> None:
    """They prefix all names, and keep the position indices that are now computed."""

    def older(state: State) -> State:
        own = ("text_model.", "text_projection.")
        named = {k if k.startswith(own) else f"text_model.{k}": v for k, v in state.items()}
        return {**named, "text_model.embeddings.position_ids": torch.arange(77)[None]}

    before = load(cls, folder, part).state_dict()
    change(folder, part, "model", older)
    after = load(cls, folder, part).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_vaes_of_older_versions_are_understood(folder: Path) -> None:
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def older(state: State) -> State:
        renamed = {}
        for name, tensor in state.items():
            for new, old in names.items():
                if "attentions" in name:
                    name = name.replace(new, old)  # noqa: PLW2901 -- one name after the other
            renamed[name] = tensor
        assert any("proj_attn" in name for name in renamed)
        return renamed

    before = load(diffusers.AutoencoderKL, folder, "vae").state_dict()
    change(folder, "vae", "diffusion_pytorch_model", older)
    after = load(diffusers.AutoencoderKL, folder, "vae").state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_dit_that_was_saved_as_a_general_transformer_is_understood(
    tmp_path: Path, pipelines: dict[str, Path]
) -> None:
    """The published settings name diffusers' older class, with settings that DiT does not have."""
    folder = tmp_path / "dit"
    shutil.copytree(pipelines["dit_xl2_512"], folder)
    file = folder / "transformer" / "config.json"
    older: dict[str, Any] = {"_class_name": "Transformer2DModel", "cross_attention_dim": None}
    older |= {"num_vector_embeds": None, "only_cross_attention": False}
    file.write_text(json.dumps({**json.loads(file.read_text()), **older}))
    new = load(diffusers.DiTTransformer2DModel, folder, "transformer").state_dict()
    stored = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(new[name], stored[name]) for name in stored)


def test_the_libraries_say_nothing_and_are_left_as_they_were(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries: list[Any] = [diffusers.utils.logging, transformers.utils.logging]
    before = [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries]
    for lib in libraries:  # their own handlers hold the stderr of the time of their import
        monkeypatch.setattr(lib.get_logger().handlers[0], "stream", sys.stderr)
    capfd.readouterr()
    for part, cls, _ in PARTS:
        load(cls, folder, part)
        load(cls, folder, part, torch.float16)
    change(folder, "unet", "diffusion_pytorch_model", lambda s: dict(list(s.items())[1:]))
    with pytest.raises(UserError):
        load(diffusers.UNet2DConditionModel, folder, "unet")
    told = capfd.readouterr()
    assert told.out + told.err == ""
    assert before == [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries]


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_settings_that_are_none_are_one_line(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=r"config\.json: is no JSON file of settings"):
        read_settings(file)
