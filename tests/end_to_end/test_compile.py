"""`compile=true` of every backbone: what torch traces, and for the mini ones its own compiler."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigain.config.architectures import ARCHITECTURES
from bigain.engine.run import run
from bigain.engine.tasks import build_task
from bigain.launch.compose import compose_config
from bigain.runs.samples import read_samples

ROOT = Path(__file__).parents[2]
# Without an operator and with each kind of them.
OPERATORS = {
    "none": ["operator=none"],
    "lgtm": ["operator=lgtm", "operator.ratio=0.7", "operator.scope=self+mlp"],
    "ie_kvd": ["operator=ie_kvd", "operator.factor=2", "operator.alpha=0.9"],
}
SHORT = ["task.trial_list=[2,4]", "task.keep_list=[3,1]", "dataset.limit=3", "batch_size=16"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_something_of_every_backbone_is_compiled(
    name: str,
    named_backbone: Callable[[str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The graphs run as they are, so the numbers are equal."""
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    common = [*named_backbone(name), "task.trial_list=[1]", "task.keep_list=[1]"]
    common += ["dataset.limit=1", f"paths.cache={tmp_path}", "cache.latents=false"]
    plain, compiled = (
        build_task(compose_config([*common, f"compile={switch}"])) for switch in ("false", "true")
    )
    (expected,) = plain.records(plain.ids)
    (found,) = compiled.records(compiled.ids)
    assert found["scores"] == expected["scores"]
    assert compiled.facts()["compiled"]["graphs"] >= 1


RUN = """
import json, sys
from torch._dynamo.utils import counters
from bigain.launch.app import run_command_line
code = run_command_line(sys.argv[1:])
print(json.dumps(counters["inductor"]))
sys.exit(code)
"""
"""A run in a process of its own, and what torch's compiler did."""


@pytest.mark.slow
def test_a_second_process_takes_the_code_of_the_first(tmp_path: Path) -> None:
    def compiled(results: str) -> tuple[int, int, set[str]]:
        """Graphs that were found and not found in the folder of code, and its files."""
        places = [f"paths.results={tmp_path / results}", f"paths.cache={tmp_path}"]
        command = ["backbone=mini_dit", "operator=none", *SHORT, "threads=1", "compile=true"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
        done = subprocess.run(
            [sys.executable, "-c", RUN, *command, *places],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        counted = json.loads(done.stdout.splitlines()[-1])
        hits, misses = (counted.get(f"fxgraph_cache_{end}", 0) for end in ("hit", "miss"))
        return hits, misses, {str(path) for path in (tmp_path / "code").rglob("*")}

    hits, graphs, files = compiled("first")
    assert hits == 0
    assert graphs >= 1
    assert compiled("second") == (graphs, 0, files)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_compiled_errors_are_the_same_but_for_rounding(
    backbone: str, operator: str, tmp_path: Path
) -> None:
    common = [f"backbone={backbone}", *OPERATORS[operator], *SHORT]
    samples, manifests = [], []
    for switch in ("false", "true"):
        places = [f"paths.results={tmp_path / switch}", f"paths.cache={tmp_path}"]
        outcome = run(compose_config([*common, *places, f"compile={switch}"]), progress=False)
        samples.append(read_samples(outcome.folder))
        manifest: dict[str, Any] = json.loads((outcome.folder / "manifest.json").read_text())
        manifests.append(manifest)
    eager, compiled = samples
    assert eager["prediction"].tolist() == compiled["prediction"].tolist()
    for key in ("scores", "true_errors"):
        for expected, found in zip(eager[key], compiled[key], strict=True):
            assert np.allclose(found, expected, rtol=1e-5, atol=0)
    assert manifests[0]["run_id"] == manifests[1]["run_id"]
    assert "compiled" not in manifests[0]
    assert 1 <= manifests[1]["compiled"]["graphs"] <= 2
    assert any((tmp_path / "code").iterdir())
