"""What the tables show of generated images follows from published features, by code of its own."""

import csv
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from recompute_statistics import frechet, inside, kernel_distance

from bigain.engine.keep_features import keep_features
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.check import examine_published
from bigain.runs.features import FEATURES, REFERENCE, read_features
from bigain.runs.images import IMAGES
from bigain.runs.store import RunStore
from bigain.testing.runs import read_metrics

SHORT = ["task=generation", "task.steps=2", "dataset.limit=14", "threads=1", "seed=3"]
TOME = ["backbone=mini_dit", "operator=tome", "operator.ratio=0.5"]
SCRIPT = Path(__file__).parents[2] / "scripts" / "publish.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A finished generation of 14 images; not to be changed."""
    place = tmp_path_factory.mktemp("made")
    paths = [f"paths.results={place}", f"paths.cache={place / 'cache'}"]
    folder = run(compose_config([*SHORT, *TOME, *paths]), progress=False).folder
    return RunStore(place, folder.name)


@pytest.fixture
def store(made: RunStore, tmp_path: Path) -> RunStore:
    """A copy of it."""
    shutil.copytree(made.folder, tmp_path / "runs" / made.run_id)
    return RunStore(tmp_path, made.run_id)


def publisher() -> ModuleType:
    spec = importlib.util.spec_from_file_location("publish", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def publish(store: RunStore) -> int:
    results = str(store.folder.parents[1])
    return int(publisher().main([store.run_id[:8], "--results", results]))


def test_all_metrics_of_the_set_follow_from_what_is_published(
    store: RunStore, tmp_path: Path
) -> None:
    assert publish(store) == 0
    stated = read_metrics(store.folder).set_index("metric")
    shutil.rmtree(tmp_path / "runs")
    found = read_features(tmp_path / "mini", store.run_id)
    assert found is not None
    generated, real = found.generated.astype(float), found.real.astype(float)
    assert (generated.shape, real.shape) == ((14, 64), (1000, 64))
    kid, error = kernel_distance(generated, real, seed=3)
    own = {
        "frechet_mini": frechet(generated, real),
        "kid": kid.value,
        "kid_error": error,
        "precision": inside(generated, real).mean(),
        "recall": inside(real, generated).mean(),
    }
    for name, value in own.items():
        assert stated.loc[name, "value"] == pytest.approx(value, rel=1e-9), name
    assert stated.loc["kid", "ci_low"] == pytest.approx(kid.low)
    assert stated.loc["kid", "ci_high"] == pytest.approx(kid.high)
    assert {name: each.as_stated for name, each in examine_published(tmp_path).items()} == {
        "mini": {}
    }


def test_features_of_an_older_run_come_from_its_images(store: RunStore, made: RunStore) -> None:
    for name in (FEATURES, REFERENCE):
        (store.folder / name).unlink()
    assert keep_features(store) is None
    for name in (FEATURES, REFERENCE):
        assert (store.folder / name).read_bytes() == (made.folder / name).read_bytes()
    (store.folder / IMAGES / "000003.png").unlink()
    assert keep_features(store) is None, "they are there already"


def lose(folder: Path) -> None:
    (folder / IMAGES / "000003.png").unlink()


def change(folder: Path) -> None:
    shutil.copy(folder / IMAGES / "000004.png", folder / IMAGES / "000003.png")


def restate(folder: Path) -> None:
    path = folder / "metrics.csv"
    with path.open(newline="") as handle:
        lines = list(csv.DictReader(handle))
    for line in lines:
        if line["metric"] == "recall":
            line.update(value="0.5", ci_low="0.4", ci_high="0.6")
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def test_an_older_run_without_images_is_published_without_features(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.folder / FEATURES).unlink()
    lose(store.folder)
    assert publish(store) == 0
    assert "published without features: its images are gone" in capsys.readouterr().err
    assert not (tmp_path / "mini" / "features").exists()
    metrics = ("kid", "kid_error", "precision", "recall")
    assert examine_published(tmp_path)["mini"].as_stated == {metrics: [store.run_id]}


@pytest.mark.parametrize(
    ("damage", "message"), [(change, r"000003\.png: was changed"), (restate, "recall=0.5, but")]
)
def test_features_of_other_images_or_metrics_are_refused(
    store: RunStore, damage: Callable[[Path], None], message: str
) -> None:
    (store.folder / FEATURES).unlink()
    damage(store.folder)
    with pytest.raises(UserError, match=message):
        keep_features(store)
    assert not (store.folder / FEATURES).exists()


def test_statistics_of_a_file_have_no_features_to_keep(store: RunStore, tmp_path: Path) -> None:
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=np.zeros(64), sigma=np.eye(64))
    config = store.manifest()["config"]
    again = [*SHORT, *TOME, f"task.reference={path}", f"paths.results={tmp_path}"]
    folder = run(compose_config(again), progress=False).folder
    assert not (folder / FEATURES).exists()
    assert keep_features(RunStore(tmp_path, folder.name)) is not None
    assert json.loads((folder / "manifest.json").read_text())["config"]["seed"] == config["seed"]
