"""Pickled weights to safetensors, and the two scripts about pipelines."""

import importlib.util
import pickle
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from bigain.backbones.loading import convert_folder
from bigain.backbones.weight_files import components_of, list_files, problem
from bigain.errors import UserError
from bigain.locations import CONFIGS

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}


def put(folder: Path, name: str, content: object = STATE) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    torch.save(content, path)
    return path


def test_names_are_those_of_the_hub_and_tensors_the_same(tmp_path: Path) -> None:
    put(tmp_path, "transformer/diffusion_pytorch_model.bin")
    put(tmp_path, "vae/diffusion_pytorch_model.fp16.bin", {"state_dict": STATE})
    put(tmp_path, "text_encoder/pytorch_model.bin")
    put(tmp_path, "other/optimizer.bin")
    written = convert_folder(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "text_encoder/model.safetensors",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    for path in written:
        found = load_file(path)
        assert set(found) == set(STATE)
        assert all(torch.equal(found[key], STATE[key]) for key in STATE)
        assert all(found[key].dtype == STATE[key].dtype for key in STATE)


def test_tensors_that_share_memory_or_are_views_are_converted(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    put(
        tmp_path, "unet/diffusion_pytorch_model.bin", {"a": base, "b": base, "c": base.view(2, 3).T}
    )
    found = load_file(convert_folder(tmp_path)[0])
    assert torch.equal(found["a"], found["b"])
    assert torch.equal(found["c"], base.view(2, 3).T)


def test_what_is_converted_is_left_alone(tmp_path: Path) -> None:
    path = put(tmp_path, "unet/diffusion_pytorch_model.bin")
    target = convert_folder(tmp_path)[0]
    before = target.stat().st_mtime_ns
    assert convert_folder(tmp_path) == []
    assert target.stat().st_mtime_ns == before
    assert path.exists()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this code ran",)


@pytest.mark.parametrize("content", [{"a": Evil()}, ["a"], {}, {"a": 1}])
def test_more_or_less_than_tensors_is_refused_and_not_run(
    tmp_path: Path, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "unet/diffusion_pytorch_model.bin", content)
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.bin: "):
        convert_folder(tmp_path)
    assert "this code ran" not in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_damaged_file_and_an_empty_folder_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no pickled weights"):
        convert_folder(tmp_path)
    path = tmp_path / "unet" / "diffusion_pytorch_model.bin"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps("x")[:-1])
    with pytest.raises(UserError, match="or is damaged") as caught:
        convert_folder(tmp_path)
    assert "\n" not in str(caught.value)


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CONFIGS.parent / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tiny_pipelines_are_written_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_script("make_tiny_pipelines").main([str(tmp_path), "sd20", "dit_xl2_512"])
    told = capfd.readouterr()
    assert told.out.split() == [str(tmp_path / "sd20"), str(tmp_path / "dit_xl2_512")]
    assert told.err == ""
    for name in ("sd20", "dit_xl2_512"):
        files = list_files(tmp_path / name)
        assert all(problem(files, part, None) is None for part in components_of(name))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "usage: make_tiny_pipelines.py FOLDER"), (["x", "sd3"], "backbone=sd3: no tiny version")],
)
def test_tiny_pipelines_of_no_such_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=told):
        load_script("make_tiny_pipelines").main(arguments)
    assert list(tmp_path.iterdir()) == []


def test_pickled_weights_are_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vae").mkdir()
    torch.save({"a": torch.ones(2)}, tmp_path / "vae" / "diffusion_pytorch_model.bin")
    load_script("to_safetensors").main([str(tmp_path)])
    assert (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").is_file()
    assert "1 files converted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "usage: to_safetensors.py FOLDER"), (["nowhere"], "nowhere: has no pickled weights")],
)
def test_nothing_to_convert(arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit, match=told):
        load_script("to_safetensors").main(arguments)
