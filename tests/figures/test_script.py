"""`scripts/operator_figures.py`: every operator has its picture, and the documents show them."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from bigain.locations import CONFIGS

ROOT = CONFIGS.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts" / "operator_figures.py"
    spec = importlib.util.spec_from_file_location("operator_figures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_of_every_picture(script: ModuleType) -> None:
    pictures = script.pictures(script.Scene())
    shipped = {path.stem for path in (ROOT / "docs" / "images").glob("*.png")}
    others = {name for name in shipped if name.startswith("dashboard_")}
    assert set(pictures) == shipped - others - {"generation_mini_unet"}, "the grid of a run"
    assert [len(row) for row in pictures["scores"]] == [4, 4, 3]
    titles = [[subplot.title for subplot in row] for row in pictures["operators_downsampling"]]
    assert titles == [
        ["factor 2", "average (alpha 0)", "alpha = 0.9", "nearest (alpha 1)"],
        ["factor 3, align=reference", "alpha = 0.9", "factor 3, align=window", "alpha = 0.9"],
    ]
    for name in ("tome", "lgtm", "abm", "sito", "cached", "kv_select", "hybrid"):
        ((first, *_),) = pictures[f"operators_{name}"]
        assert first.note == "16x16 = 256 tokens, timestep 100"


def test_the_script_writes_into_the_given_folder(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subplots = script.OPERATORS
    monkeypatch.setattr(script, "OPERATORS", {"abm": subplots["abm"]})
    monkeypatch.setattr(script, "downsampling", lambda scene: [scene.subplots(subplots["abm"])])
    script.main(tmp_path / "new")
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == ["operators_abm.png", "operators_downsampling.png", "scores.png"]


def test_the_documents_show_pictures_that_exist_and_are_small() -> None:
    documents = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    shown = set(re.findall(r"\]\((images/\S+\.png)\)", documents))
    files = {f"images/{path.name}": path for path in (ROOT / "docs" / "images").glob("*.png")}
    assert shown == set(files)
    assert all(path.stat().st_size < 150_000 for path in files.values())
