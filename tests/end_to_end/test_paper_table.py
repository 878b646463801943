"""`bigain table 5 --profile paper` with a tiny DiT and tiny images: planned, run, rendered."""

from pathlib import Path

import numpy as np
import pytest

from bigain.cli.table import main
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny

IMAGES = 6


@pytest.mark.slow
def test_a_table_of_the_paper_profile_runs_and_is_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], random_inception: Path
) -> None:
    """In the profile's half precision; the image that is cut short is in every accuracy's n.

    It cannot be in a reference, so generations are compared with a file of statistics.
    """
    save_tiny_pipeline("dit_xl2_512", tmp_path / "model")
    write_tiny("imagenet100", tmp_path / "data")
    statistics = tmp_path / "statistics.npz"
    np.savez(statistics, mu=np.zeros(2048), sigma=np.eye(2048))
    settings = [
        *(f"backbone.path={tmp_path / 'model'}", f"dataset.root={tmp_path / 'data'}"),
        *(f"paths.results={tmp_path / 'results'}", f"dataset.limit={IMAGES}", "device=cpu"),
        *("task.trial_list=[2,4]", "task.keep_list=[2,1]", "batch_size=100"),
        *(
            "task.steps=2",
            f"task.extractor_weights={random_inception}",
            f"task.reference={statistics}",
        ),
    ]
    assert main(["5", "--profile", "paper", *settings]) == 0, capsys.readouterr().err
    tables = tmp_path / "results" / "paper" / "tables"
    page = (tables / "table05.md").read_text(encoding="utf-8")
    text = " ".join(page.split())
    assert "44 of 44 runs done" in text
    assert f"the first {IMAGES} test images, trial list [2, 4], keep list [2, 1]" in text
    assert "float16" in text
    assert f"n = {IMAGES} images." in text
    assert "weights of `backbone.path`" in text
    assert "| —" not in text
    assert "What is missing" not in text
    assert str(tmp_path) not in text
    assert str(tmp_path) not in (tables / "table05.csv").read_text(encoding="utf-8")
