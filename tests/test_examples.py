"""The scripts of `examples/` run as they stand, anywhere, offline; what they print is right."""

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from bigain.data.folder import Folder
from bigain.operators import ToDo
from bigain.runs.compare import compare_runs
from bigain.runs.files import read_manifest
from bigain.runs.samples import read_samples
from bigain.tasks.flops import count_flops

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
Run = Callable[[str], str]


@pytest.fixture
def example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run an example in an empty folder, as `python examples/NAME.py`; returns what it prints."""

    def run(name: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(ROOT / "examples")
        monkeypatch.setattr(sys, "argv", [f"{name}.py"])
        monkeypatch.delitem(sys.modules, name, raising=False)
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_examples_are_short_say_what_one_learns_and_are_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.stem for path in EXAMPLES] == [
        *("apply_operator", "own_images", "own_operator", "plot_results")
    ]
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 40, path.name
        assert re.match(r'"""[A-Z][^"]*\.\n\nYou learn [^"]*\.\n"""', text)
        assert f"(examples/{path.name})" in readme


def test_an_operator_changes_the_image_and_leaves_no_trace(example: Run) -> None:
    printed = example("apply_operator")
    changed = re.search(r"pixels differ by (\S+)", printed)
    assert changed is not None
    assert float(changed[1]) > 0
    assert "without it again, by 0\n" in printed
    assert "64 -> 32" in printed, "the report counts tokens of the 8x8 grid at ratio 0.5"


def test_an_operator_of_ones_own_is_swept_and_in_the_table(example: Run, tmp_path: Path) -> None:
    printed = example("own_operator")
    manifests = [read_manifest(folder) or {} for folder in (tmp_path / "results/runs").iterdir()]
    configs = [manifest["config"] for manifest in manifests]
    made = sorted((c["task"]["name"], c["operator"].get("step", 0)) for c in configs)
    assert made == [
        *(("classification", 0), ("classification", 2), ("classification", 4)),
        *(("efficiency", 2), ("efficiency", 4)),
    ]
    lines = printed[printed.index("mini_dit, fashion_mnist, seed 0") :].splitlines()
    own = [line for line in lines if line.startswith("every_nth")]
    assert [line.split("  ")[0] for line in own] == ["every_nth step=2", "every_nth step=4"]
    assert own[-1].endswith(f"{count_flops('mini_dit', ToDo(2)).total / 1e9:.4g}"), (
        "64 of 256 tokens"
    )


def test_images_of_ones_own_are_compared_in_pairs(example: Run, tmp_path: Path) -> None:
    printed = example("own_images")
    runs = {
        (read_manifest(folder) or {})["config"]["operator"]["name"]: folder
        for folder in (tmp_path / "results" / "runs").iterdir()
    }
    assert set(runs) == {"none", "todo"}
    expected = Folder(6, tmp_path / "own").image_ids
    for folder in runs.values():
        assert read_samples(folder).image_id.tolist() == expected
    comparison = compare_runs(tmp_path / "results", runs["none"].name, runs["todo"].name)
    assert comparison is not None
    assert runs["todo"].name in printed


def test_the_plot_shows_the_published_numbers(example: Run, tmp_path: Path) -> None:
    printed = example("plot_results")
    rows = pd.read_csv(ROOT / "results" / "mini" / "runs.csv")
    of_tome = rows[
        (rows.operator == "tome")
        & (rows.backbone == "mini_unet")
        & (rows.dataset == "fashion_mnist")
        & (rows.metric == "eps_error_rise")
        & (rows.n == 400)
        & (rows.scope == "self")
        & (rows.settings == "cell=[2,2] random=true")
    ]
    assert len(of_tome) >= 3
    assert of_tome.ratio.is_unique
    for ratio, value in zip(of_tome.ratio, of_tome.value, strict=True):
        assert re.search(rf"^{ratio} .*{value:.6f}$", printed, re.MULTILINE)
    with Image.open(tmp_path / "error_rise.png") as image:
        assert min(image.size) > 100
