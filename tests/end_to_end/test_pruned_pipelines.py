"""`dip_go` and `mosaic_diff` on published backbones with tiny weights: calibrate, classify."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from bigain.cli.main import main
from bigain.data.base import PublishedDataset
from bigain.data.imagenet import ImageNet100
from bigain.data.pets import Pets
from bigain.files import file_sha256
from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id
from bigain.runs.samples import read_samples
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny

DATASETS: dict[str, tuple[str, Any]] = {
    "sd20": ("pets", Pets),
    "dit_xl2_512": ("imagenet100", ImageNet100),
}
LIMIT = 2
CALIBRATED = 3
Command = Callable[..., list[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/<backbone>` and `data/<dataset>`; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("pruned")
    for name, (dataset, _) in DATASETS.items():
        save_tiny_pipeline(name, folder / "models" / name)
        write_tiny(dataset, folder / "data" / dataset)
    return folder


@pytest.fixture
def command(place: Path, tmp_path: Path) -> Command:
    """The arguments of a short run."""

    def make(name: str, operator: str, *more: str) -> list[str]:
        dataset, _ = DATASETS[name]
        own = [] if operator == "none" else [f"operator.images={CALIBRATED}"]
        return [
            *(f"backbone={name}", f"backbone.path={place / 'models' / name}"),
            *(f"dataset={dataset}", f"dataset.root={place / 'data' / dataset}"),
            *(f"dataset.limit={LIMIT}", "task.trial_list=[1,3]", "task.keep_list=[3,1]"),
            *(f"operator={operator}", *own, "threads=1"),
            *(f"paths.results={tmp_path / 'results'}", f"paths.cache={tmp_path / 'cache'}", *more),
        ]

    return make


def classified(arguments: list[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The samples by image and the manifest of a run of the command line."""
    assert main(arguments) == 0
    config = compose_config(arguments)
    folder = config.paths.results / "runs" / run_id(config)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return read_samples(folder).set_index("image_id"), manifest


def said(path: Path) -> dict[str, Any]:
    """What a calibration says."""
    if path.suffix == ".json":
        return dict(json.loads(path.read_text("utf-8")))
    with safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()["bigain"]))


@pytest.mark.parametrize(
    ("operator", "more"),
    [
        ("dip_go", []),
        ("dip_go", ["operator.protect_cross_attention=false", "operator.target=0.3"]),
        ("mosaic_diff", []),
    ],
    ids=["masks", "masks_of_all", "weights"],
)
@pytest.mark.parametrize("name", DATASETS)
def test_it_is_calibrated_on_training_images_and_changes_the_classification(
    command: Command,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    operator: str,
    more: list[str],
) -> None:
    """Also with cross-attentions in several versions; what is in a batch changes nothing."""
    pruned = command(name, operator, *more)
    assert main(pruned) == 2
    assert "make it with: bigain calibrate backbone=" in capsys.readouterr().err
    assert main(["calibrate", *pruned]) == 0
    (path,) = (tmp_path / "results" / "calibrations").iterdir()
    content = said(path)
    assert 0.1 <= content["removed"] < 0.5
    assert content["settings"]["operator"]["split"] == "training"
    dataset, kind = DATASETS[name]
    root = place / "data" / dataset
    assert content["image_ids"] == kind.open_training(root, CALIBRATED).image_ids
    # The same numbers may be images of the test split, which a run has nevertheless.
    evaluated: PublishedDataset = kind(LIMIT, root)

    samples, manifest = classified(pruned)
    assert list(samples.index) == evaluated.image_ids
    assert manifest["config"]["operator"]["calibration"] == file_sha256(path)[:12]
    plain, _ = classified(command(name, "none"))
    for image in evaluated.image_ids:
        own, other = (np.array(each.loc[image, "scores"], float) for each in (samples, plain))
        scored = ~(np.isnan(own) | np.isnan(other))
        assert scored.sum() >= 3
        assert (own[scored] != other[scored]).all()

    alone = tmp_path / "alone"
    shutil.copytree(path.parent, alone / "calibrations")
    single, _ = classified([*pruned, "batch_size=1", f"paths.results={alone}"])
    for own, other in zip(samples["scores"], single["scores"], strict=True):
        assert np.allclose(own, other, rtol=0, atol=1e-6, equal_nan=True)


def test_the_evaluated_split_is_another_calibration_and_another_run(
    command: Command,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its images are the last of those that runs evaluate, so no run has them."""
    monkeypatch.setattr(Pets, "split_size", 37)
    arguments = command("sd20", "dip_go", "operator.split=evaluated")
    assert main(["calibrate", *command("sd20", "dip_go")]) == 0
    assert main(arguments) == 2
    assert main(["calibrate", *arguments]) == 0
    config = compose_config(arguments)
    files = (tmp_path / "results" / "calibrations").iterdir()
    path = next(each for each in files if file_sha256(each)[:12] == config.operator.calibration)
    whole = Pets(37, place / "data" / "pets")
    assert said(path)["image_ids"] == whole.image_ids[-CALIBRATED:]
    assert run_id(config) != run_id(compose_config(command("sd20", "dip_go")))
    capsys.readouterr()
    assert main([*arguments, "dataset.limit=37"]) == 2
    assert "dataset.limit=37: 3 of the 37 images are among the 3" in capsys.readouterr().err
