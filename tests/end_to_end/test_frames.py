"""The way from the command line to the denoiser stays short enough to follow."""

import traceback
from pathlib import Path
from typing import Any

import pytest

import bigain
from bigain.backbones.mini import MiniBackbone
from bigain.cli.main import main

PACKAGE = Path(bigain.__file__).parent


@pytest.mark.parametrize(("flags", "most"), [([], 14), (["-m"], 19)], ids=["one run", "sweep"])
def test_few_functions_of_ours_lie_between_the_command_line_and_the_denoiser(
    flags: list[str], most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks: list[list[str]] = []
    original = MiniBackbone.predict

    def predict(self: MiniBackbone, *tensors: Any) -> Any:
        frames = [f for f in traceback.extract_stack() if Path(f.filename).is_relative_to(PACKAGE)]
        stacks.append(
            [f"{Path(f.filename).relative_to(PACKAGE)}:{f.lineno} {f.name}" for f in frames]
        )
        return original(self, *tensors)

    monkeypatch.setattr(MiniBackbone, "predict", predict)
    protocol = ["task.trial_list=[1]", "task.keep_list=[1]", "dataset.limit=1"]
    assert main([*flags, *protocol, "operator=tome", f"paths.results={tmp_path}"]) == 0
    way = [*stacks[0], "backbones/mini.py predict"]
    assert way[0].startswith("cli/main.py")
    assert len(way) <= most, "\n".join(["", *way])
