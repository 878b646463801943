import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bigain.config import RunConfig
from bigain.config.custom_operator import CustomConfig
from bigain.config.messages import format_validation_error
from bigain.launch.compose import compose_config
from bigain.operators import ABM, ToMe

ROOT = Path(__file__).parents[2]


def settings(target: str, **arguments: Any) -> dict[str, Any]:
    return {"name": "custom", "target": target, "arguments": arguments, "scope": "self"}


def test_the_class_is_built_with_its_arguments_and_lists_are_tuples() -> None:
    config = CustomConfig.model_validate(settings("bigain.operators.ToMe", ratio=0.5, cell=[4, 4]))
    assert config.build() == ToMe(0.5, cell=(4, 4))
    config = CustomConfig.model_validate(settings("bigain.operators.abm.ABM", ratio=0.5))
    assert config.build() == ABM(0.5)


@pytest.mark.parametrize(
    ("target", "arguments", "told"),
    [
        ("bigain.operators.TopHalf", {}, "a target that can be imported .*TopHalf"),
        ("no_such_package.Thing", {}, "a target that can be imported .*no_such_package"),
        ("bigain.operators.SCORES", {}, "a bigain.operators.Operator; .*SCORES is none"),
        ("pathlib.Path", {}, "pathlib.Path is none"),
        ("bigain.operators.ToMe", {"ratoi": 0.5}, "what bigain.operators.ToMe takes .*ratoi"),
        ("bigain.operators.ToMe", {}, "what bigain.operators.ToMe takes .*ratio"),
        ("bigain.operators.ToMe", {"ratio": 2}, "merge ratio must be a number in"),
    ],
)
def test_what_cannot_be_built_is_one_line(
    plain: dict[str, Any], target: str, arguments: dict[str, Any], told: str
) -> None:
    plain["operator"] = settings(target, **arguments)
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(plain)
    line = format_validation_error(caught.value)
    assert "\n" not in line
    assert re.match(rf"operator.arguments=.*: allowed: .*{told}", line)


@pytest.mark.parametrize("target", ["ToMe", "bigain operators.ToMe", "os;path"])
def test_a_target_is_a_dotted_name(target: str) -> None:
    with pytest.raises(ValidationError, match="target"):
        CustomConfig.model_validate(settings(target))


def test_only_custom_operators_load_torch() -> None:
    code = "import sys, bigain.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


MODULE = """
from dataclasses import dataclass

import torch
from bigain.operators import Reduction, TokenReducer


@dataclass(frozen=True)
class FirstRows(Reduction):
    kept: int

    def reduce(self, x):
        return x[:, : self.kept]

    def restore(self, y):
        last = y[:, -1:].expand(-1, self.tokens - self.kept, -1)
        return torch.cat([y, last], dim=1)

    tokens: int = 0


@dataclass(frozen=True)
class TopShare(TokenReducer):
    share: float

    def plan(self, metric, grid, draw=None):
        return FirstRows(self.num_kept(grid), grid[0] * grid[1])

    def num_kept(self, grid):
        return max(1, int(grid[0] * self.share)) * grid[1]
"""
YAML = """
name: custom
target: toy_operator.TopShare
arguments: {share: 0.5}
scope: self
"""


def test_a_new_operator_is_one_module_and_one_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line to the results, with a setting changed there."""
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator" / "top_share.yaml").write_text(YAML)
    (tmp_path / "toy_operator.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    command = [f"hydra.searchpath=[file://{tmp_path}]", "operator=top_share"]
    assert compose_config([*command, "operator.arguments.share=0.25"]).operator.name == "custom"
    command += ["operator.arguments.share=0.25", "dataset.limit=2", "backbone=mini_unet"]
    command += ["task.trial_list=[1]", "task.keep_list=[1]", f"paths.results={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "bigain", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert "eps_error" in done.stdout
    assert "toy_operator.TopShare" in next(tmp_path.glob("runs/*/metrics.csv")).read_text()
