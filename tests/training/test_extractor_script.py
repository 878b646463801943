"""`scripts/train_extractor.py`: what it refuses, and a whole run on a few images."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bigain.locations import CONFIGS


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = CONFIGS.parent / "scripts" / "train_extractor.py"
    spec = importlib.util.spec_from_file_location("train_extractor", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("epochs=0", "epochs=0: Input should be greater than 0"),
        ("epoch=3", "epoch=3: Extra inputs are not permitted; keys: epochs, "),
        ("epochs", "epochs: not understood; allowed: key=value"),
        ("data_root=nowhere", "training.data_root=nowhere: no Fashion-MNIST found"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    script: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    override: str,
    expected: str,
) -> None:
    assert script.main([f"output={tmp_path}", override]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(expected)


def test_it_trains_and_prints_revision_and_accuracy(
    script: ModuleType,
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
    assert script.main(settings) == 0
    revision, accuracy = capsys.readouterr().out.splitlines()
    assert revision.startswith("revision ")
    assert accuracy.startswith("test accuracy ")
    assert accuracy.endswith("n = 4")
    assert (tmp_path / "run" / "model.safetensors").is_file()
