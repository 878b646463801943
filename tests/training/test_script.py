"""`scripts/train_mini.py`: what it refuses before anything is composed or trained."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bigain.locations import CONFIGS


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = CONFIGS.parent / "scripts" / "train_mini.py"
    spec = importlib.util.spec_from_file_location("train_mini", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
