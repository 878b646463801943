"""Runs over images of the user's own, from the command line to the metrics, and their doctor."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bigain.cli.main import main
from bigain.data.fashion_mnist import FashionMNIST
from bigain.data.folder import Folder, path_id
from bigain.engine.build import build_backbone
from bigain.features.base import extract
from bigain.features.mini import MiniExtractor
from bigain.launch.compose import compose_config
from bigain.metrics.frechet import frechet_distance
from bigain.metrics.moments import moments_of
from bigain.runs.identity import run_id
from bigain.runs.manifests import portable
from bigain.runs.samples import read_samples
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.runs import read_metrics

ROOT = Path(__file__).parents[2]
GARMENTS = FashionMNIST(20)
SAMPLES = [GARMENTS[position] for position in range(20)]


@pytest.fixture(scope="module")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images of Fashion-MNIST, two of each class, as a user would store them."""
    root = tmp_path_factory.mktemp("own")
    for sample in SAMPLES:
        folder = root / GARMENTS.class_names[sample.label or 0]
        folder.mkdir(exist_ok=True)
        Image.fromarray(sample.image).save(folder / f"{sample.image_id}.png")
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photographs each of three classes, of several sizes."""
    random = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog", "fox")):
        for side in (20, 31):
            path = tmp_path / "photos" / name / f"{side}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(60 * number, 60 * number + 60, (side, side + 7, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "photos"


def made(tmp_path: Path, *settings: str) -> tuple[pd.DataFrame, dict[str, Any], Path]:
    """Samples, manifest and folder of the only run of these settings."""
    results = tmp_path / "results"
    arguments = ["dataset=folder", "threads=1", f"paths.results={results}", *settings]
    assert main(arguments) == 0
    (folder,) = (results / "runs").iterdir()
    return read_samples(folder), json.loads((folder / "manifest.json").read_text()), folder


def test_a_mini_backbone_sees_a_folder_as_it_sees_fashion_mnist(garments: Path) -> None:
    own = Folder(None, garments)
    ids = {path_id(f"{GARMENTS.class_names[s.label or 0]}/{s.image_id}.png"): s for s in SAMPLES}
    for name in ("mini_unet", "mini_dit"):
        config = compose_config([f"backbone={name}"])
        backbone = build_backbone(config.backbone, torch.device("cpu"), "float32")
        for sample in (own[position] for position in range(20)):
            assert sample.label == ids[sample.image_id].label
            assert sample.image.shape == (28, 28, 3)
            same = backbone.encode(ids[sample.image_id].image)
            assert torch.equal(backbone.encode(sample.image), same)


def test_a_folder_of_garments_is_classified(garments: Path, tmp_path: Path) -> None:
    settings = ["dataset.limit=4", "task.trial_list=[1,2]", "backbone=mini_unet"]
    samples, manifest, folder = made(tmp_path, f"dataset.root={garments}", *settings)
    own = Folder(4, garments)
    assert samples.image_id.tolist() == own.image_ids
    assert samples.label.tolist() == [own[position].label for position in range(4)]
    rows = read_metrics(folder).set_index("metric")
    assert rows.loc["acc1", "value"] == 100 * samples.correct.mean()
    assert rows.loc["acc1", "dataset"] == f"folder:{Folder(None, garments).fingerprint}"
    assert manifest["config"]["dataset"]["root"] == str(garments)


def test_generated_images_are_compared_with_the_whole_folder(
    garments: Path, tmp_path: Path
) -> None:
    settings = ["task=generation", "task.extractor=mini", "task.steps=1", "dataset.limit=6"]
    samples, _, folder = made(tmp_path, f"dataset.root={garments}", *settings)
    assert samples.condition.tolist() == [
        GARMENTS.class_names[label] for label in samples.label.tolist()
    ]
    extractor = MiniExtractor()
    drawn = [np.asarray(Image.open(path)) for path in sorted((folder / "images").rglob("*.png"))]
    real = extract(extractor, [sample.image for sample in SAMPLES])
    expected = frechet_distance(moments_of(extract(extractor, drawn)), moments_of(real))
    value = read_metrics(folder).set_index("metric").loc["frechet_mini", "value"]
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["sd20", "dit_xl2_512"])
def test_photographs_go_through_the_published_pipelines(
    name: str, photos: Path, tmp_path: Path
) -> None:
    save_tiny_pipeline(name, tmp_path / "model")
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("class,prompt,index\nfox,a red fox,277\ncat,a cat,281\ndog,a dog,207\n")
    index = tmp_path / "index.txt"
    index.write_text("fox/20.jpg\ncat/31.jpg\n")
    samples, manifest, _ = made(
        tmp_path,
        *(f"backbone={name}", f"backbone.path={tmp_path / 'model'}", f"dataset.root={photos}"),
        *(f"dataset.prompts={prompts}", f"dataset.index={index}"),
        "task.trial_list=[1,2]",
    )
    assert samples.image_id.tolist() == [path_id("fox/20.jpg"), path_id("cat/31.jpg")]
    assert samples.label.tolist() == [0, 1]
    fingerprint = manifest["config"]["dataset"]["fingerprint"]
    published = portable(manifest)
    assert str(tmp_path) not in json.dumps(published["config"]["dataset"])
    weights = {**published["config"]["backbone"], "path": str(tmp_path / "model")}
    named = run_id({**published["config"], "backbone": weights})
    assert named == manifest["run_id"], "of the images the fingerprint is enough"
    assert published["columns"]["dataset"] == f"folder:{fingerprint}"


def test_images_of_several_labels_have_their_measures(photos: Path, tmp_path: Path) -> None:
    save_tiny_pipeline("sd20", tmp_path / "model")
    labels = tmp_path / "labels.csv"
    labels.write_text("cat/20.jpg,cat,dog\nfox/20.jpg,fox\ndog/31.jpg,\n")
    samples, _, folder = made(
        tmp_path,
        *("backbone=sd20", f"backbone.path={tmp_path / 'model'}", f"dataset.root={photos}"),
        *(f"dataset.labels={labels}", "task.trial_list=[1,2]"),
    )
    by_id = samples.set_index("image_id").labels
    assert by_id[path_id("cat/20.jpg")] == [0, 1]
    assert by_id[path_id("dog/31.jpg")] == []
    assert samples.trials.tolist() == [[2, 2, 2]] * 3, "a stage of fewer classes keeps all"
    assert {"map_image", "map_class"} <= set(read_metrics(folder).metric)


def test_a_damaged_image_counts_as_wrong_and_spoils_a_reference(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny_pipeline("sd20", tmp_path / "model")
    (photos / "dog" / "20.jpg").write_bytes(b"nothing")
    pipeline = ["backbone=sd20", f"backbone.path={tmp_path / 'model'}", f"dataset.root={photos}"]
    capsys.readouterr()
    samples, _, folder = made(tmp_path, *pipeline, "task.trial_list=[1,2]", "seed=3")
    warned = capsys.readouterr().err.splitlines()
    (failed,) = samples[~samples.failure.isna()].itertuples()
    assert failed.image_id == path_id("dog/20.jpg")
    assert not failed.correct
    assert read_metrics(folder).set_index("metric").loc["failed_images", "value"] == 1
    (told,) = [line for line in warned if line.startswith("failed_images")]
    assert told.startswith(f"failed_images=1 of {len(samples)}: ")
    assert "dog/20.jpg: is no image" in told


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def doctor(*settings: str) -> tuple[int, str, str]:
        code = main(["doctor", "dataset=folder", *settings])
        out, err = capsys.readouterr()
        return code, out, err

    return doctor


def test_the_doctor_counts_the_images_or_says_the_line_of_the_run(
    photos: Path, examine: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = examine(f"dataset.root={photos}")
    assert code == 0
    assert f"6 images in {photos}" in " ".join(out.split())
    (photos / "dog" / "1.gif").write_text("")
    code, _, err = examine(f"dataset.root={photos}")
    assert code == 2
    assert err.startswith(f"dataset.root={photos}: dog/1.gif is no image; allowed: images")
    assert err.count("\n") == 1
    code, _, err = examine()
    assert (code, err.partition(" allowed: ")[0]) == (2, "dataset.root=null:")


def test_the_example_of_the_document_runs_as_it_stands(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-e", "-c", example],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "ready: everything that is needed is here" in done.stdout
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    assert read_samples(folder).image_id.tolist() == Folder(5, tmp_path / "own").image_ids
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["config"]["operator"]["name"] == "todo"
