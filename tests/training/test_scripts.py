"""The two training scripts: what they refuse, and a whole run of the extractor's script."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bigain.locations import CONFIGS


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CONFIGS.parent / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("train_mini")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training=foo", "training=foo: allowed: mini_dit, mini_unet\n"),
        ("training=mini_dti", "training=mini_dti: allowed: mini_dit, mini_unet; did you mean "),
        ("training.imags=5", "training.imags=5: no such key; allowed: training.backbone, "),
        ("+training.x=1", "+training.x=1: no such key; allowed: training.backbone, "),
        ("+training.images=1", "+training.images=1: allowed: training.images=VALUE "),
        ("seed=1", "seed=1: no such key; allowed: training.backbone, "),
        ("training.images=[", "training.images=[: not understood; allowed: key=value"),
        ("training.images=0", "training.images=0: Input should be greater than 0\n"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    override: str,
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_mini.py", override])
    with pytest.raises(SystemExit) as caught:
        script.main()
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(expected)


def test_a_misspelt_key_is_recognised(script: ModuleType) -> None:
    with pytest.raises(script.UserError, match=r"did you mean training\.images\?$"):
        script.check_overrides(["training.imags=5"])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["training=mini_dit", "training.images=48", "training.output=x"],
        ["training=mini_unet,mini_dit", "++training.seed=1", "hydra.verbose=true"],
    ],
)
def test_what_exists_is_accepted(script: ModuleType, overrides: list[str]) -> None:
    script.check_overrides(overrides)


@pytest.fixture(scope="module")
def extractor_script() -> ModuleType:
    return load_script("train_extractor")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("epochs=0", "epochs=0: Input should be greater than 0"),
        ("epoch=3", "epoch=3: Extra inputs are not permitted; keys: epochs, "),
        ("epochs", "epochs: not understood; allowed: key=value"),
        (
            "data_root=nowhere",
            f"training.data_root={Path('nowhere').absolute()}: no Fashion-MNIST ",
        ),
    ],
)
def test_a_mistake_about_the_extractor_is_one_line_and_code_2(
    extractor_script: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    override: str,
    expected: str,
) -> None:
    assert extractor_script.main([f"output={tmp_path}", override]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(expected)


def test_it_trains_and_prints_revision_and_accuracy(
    extractor_script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for prefix, count in (("train", 9), ("t10k", 4)):
        for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            sizes = b"".join(n.to_bytes(4, "big") for n in shape)
            pixels = (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes()
            path = tmp_path / f"{prefix}-{kind}-ubyte"
            path.write_bytes(bytes([0, 0, 8, len(shape)]) + sizes + pixels)
    monkeypatch.setattr("bigain.training.data.TRAINING_IMAGES", 7)
    settings = [f"data_root={tmp_path}", f"output={tmp_path / 'run'}", "epochs=1", "batch_size=3"]
    assert extractor_script.main(settings) == 0
    revision, accuracy = capsys.readouterr().out.splitlines()
    assert revision.startswith("revision ")
    assert accuracy.startswith("test accuracy ")
    assert accuracy.endswith("n = 4")
    assert (tmp_path / "run" / "model.safetensors").is_file()
