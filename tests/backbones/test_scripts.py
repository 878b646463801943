"""The two scripts about pipelines: what they write and how they refuse."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from bigain.backbones.weight_files import components_of, list_files, problem
from bigain.locations import CONFIGS


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CONFIGS.parent / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tiny_pipelines_are_written_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load("make_tiny_pipelines").main([str(tmp_path), "sd20", "dit_xl2_512"])
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
        load("make_tiny_pipelines").main(arguments)
    assert list(tmp_path.iterdir()) == []


def test_pickled_weights_are_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vae").mkdir()
    torch.save({"a": torch.ones(2)}, tmp_path / "vae" / "diffusion_pytorch_model.bin")
    load("to_safetensors").main([str(tmp_path)])
    assert (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").is_file()
    assert "1 files converted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "usage: to_safetensors.py FOLDER"), (["nowhere"], "nowhere: has no pickled weights")],
)
def test_nothing_to_convert(arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit, match=told):
        load("to_safetensors").main(arguments)
