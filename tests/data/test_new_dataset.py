"""A dataset of somebody else: one module and one YAML file, and a run of it (docs/extending.md)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bigain.data.fashion_mnist import FashionMNIST
from bigain.runs.identity import run_id

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def block(language: str, beginning: str) -> str:
    """The code block of the document that begins with a line."""
    start = TEXT.index(f"```{language}\n{beginning}") + len(f"```{language}\n")
    return TEXT[start : TEXT.index("```", start)]


@pytest.fixture
def added(tmp_path: Path) -> Path:
    """The two files of the document in a folder."""
    (tmp_path / "dataset").mkdir()
    (tmp_path / "upside_down.py").write_text(block("python", '"""Fashion-MNIST upside down'))
    (tmp_path / "dataset" / "upside_down.yaml").write_text(block("yaml", "name: upside_down"))
    return tmp_path


def test_two_files_add_a_dataset_that_a_mini_backbone_classifies(added: Path) -> None:
    command = [sys.executable, "-m", "bigain", f"hydra.searchpath=[file://{added}]"]
    command += ["dataset=upside_down", "dataset.limit=1", f"paths.results={added / 'results'}"]
    command += ["task.trial_list=[1,2]", "threads=1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(added)])}
    subprocess.run(command, check=True, cwd=added, env=environment, capture_output=True)
    (folder,) = (added / "results" / "runs").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["config"]["dataset"]["_target_"] == "upside_down.UpsideDown"
    header, row = (folder / "samples.csv").read_text().splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=False))["image_id"] == str(
        FashionMNIST(1).image_ids[0]
    )


def test_the_class_counts_in_the_name_of_the_run_if_it_is_not_of_this_package() -> None:
    plain = json.loads((ROOT / "tests" / "run_settings.json").read_text())
    without = {key: value for key, value in plain["dataset"].items() if key != "_target_"}
    other = {**without, "_target_": "upside_down.UpsideDown"}
    assert run_id({**plain, "dataset": without}) == run_id(plain)
    assert run_id({**plain, "dataset": other}) != run_id(plain)
