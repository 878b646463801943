"""The features of generated images: exact, published once, and what the metrics follow from."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.metrics import frechet_with_interval, generation_metrics, moments_of
from bigain.runs.check import check_published, examine_published
from bigain.runs.collect import publish_runs
from bigain.runs.features import (
    FEATURES,
    REFERENCE,
    Features,
    features_path,
    publish_features,
    read_features,
    write_features,
)
from bigain.runs.files import METRIC_COLUMNS, Evaluation, Record, Records
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
IMAGES = list(range(8))
REAL = np.random.default_rng(1).random((30, 3), np.float32)


def features_of(seed: int) -> Features:
    drawn = np.random.default_rng(seed).random((len(IMAGES), 3), np.float32)
    return Features(np.array(IMAGES), drawn, REAL)


def evaluate(features: Features, seed: int) -> Callable[[Records], Evaluation]:
    """What `GenerationEvaluator` makes of images with these features."""

    def evaluated(records: Records) -> Evaluation:
        real = moments_of(features.real)
        distance = frechet_with_interval(features.generated, real)
        values = (distance.value + distance.influences).tolist()
        measured = [
            {**record, "frechet_value": v} for record, v in zip(records, values, strict=True)
        ]
        metrics = generation_metrics(
            "frechet_mini", features.generated, real, features.real, seed, distance
        )
        return Evaluation(measured, metrics, features)

    return evaluated


def generated(results: Path, config: RunConfig, features: Features) -> RunStore:
    """A finished generation whose images have these features."""
    store = RunStore(results, run_id(config))
    with store.open(config, IMAGES, {}) as session:
        for image_id in IMAGES:
            record: Record = {"image_id": image_id, "label": 0, "sha256": "0", "seconds": 1.0}
            session.append(record)
        assert session.finish(evaluate(features, config.seed))
    return store


@pytest.fixture
def stores(tmp_path: Path, make_config: Make, generation: dict[str, Any]) -> list[RunStore]:
    """Two published generations that are compared with the same real images."""
    configs = [make_config(task=generation, seed=seed) for seed in (0, 1)]
    made = [generated(tmp_path, config, features_of(config.seed)) for config in configs]
    publish_runs(tmp_path, "mini", [store.run_id for store in made])
    return made


def test_features_come_back_to_the_last_bit(tmp_path: Path, stores: list[RunStore]) -> None:
    shutil.rmtree(tmp_path / "runs")
    for seed, store in enumerate(stores):
        found = read_features(tmp_path / "mini", store.run_id)
        assert found is not None
        assert found.image_ids.tolist() == IMAGES
        assert found.generated.dtype == found.real.dtype == np.float32
        assert np.array_equal(found.generated, features_of(seed).generated)
        assert np.array_equal(found.real, REAL)
    assert read_features(tmp_path / "mini", "0" * 16) is None


def test_real_images_of_several_runs_are_published_once(
    tmp_path: Path, stores: list[RunStore]
) -> None:
    assert len(list((tmp_path / "mini" / "references").iterdir())) == 1
    assert len(list((tmp_path / "mini" / "features").iterdir())) == len(stores) == 2


def test_equal_features_are_equal_bytes_and_are_not_published_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_features(tmp_path / name, features_of(0))
    for name in (FEATURES, REFERENCE):
        first, second = ((tmp_path / run / name).read_bytes() for run in ("a", "b"))
        assert first == second
    publish_features(tmp_path / "a", tmp_path)
    before = features_path(tmp_path, "a").stat().st_ino
    publish_features(tmp_path / "a", tmp_path)
    assert features_path(tmp_path, "a").stat().st_ino == before


def test_without_features_there_is_no_file(tmp_path: Path) -> None:
    write_features(tmp_path, None)
    publish_features(tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_forced_run_keeps_no_features_of_the_one_before(
    tmp_path: Path, make_config: Make, generation: dict[str, Any]
) -> None:
    config = make_config(task=generation)
    folder = generated(tmp_path, config, features_of(0)).folder
    forced = make_config(task=generation, force=True)
    with RunStore(tmp_path, run_id(forced)).open(forced, IMAGES, {}):
        assert not (folder / FEATURES).exists()
        assert not (folder / REFERENCE).exists()


def test_what_features_give_again_is_not_taken_as_stated(
    tmp_path: Path, stores: list[RunStore]
) -> None:
    (found,) = examine_published(tmp_path).values()
    assert (found.runs, found.as_stated) == (2, {})
    features_path(tmp_path / "mini", stores[1].run_id).unlink()
    (found,) = examine_published(tmp_path).values()
    assert found.runs == 2
    metrics = ("kid", "kid_error", "precision", "recall")
    assert found.as_stated == {metrics: [stores[1].run_id]}


@pytest.mark.parametrize("metric", ["kid", "kid_error", "precision", "recall"])
def test_a_metric_that_its_features_do_not_give_is_named(
    tmp_path: Path, stores: list[RunStore], metric: str
) -> None:
    path = tmp_path / "mini" / "runs.csv"
    with path.open(newline="") as handle:
        lines = list(csv.DictReader(handle))
    for line in lines:
        if (line["run_id"], line["metric"]) == (stores[1].run_id, metric):
            line["n"] = str(int(line["n"]) + 1)
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, METRIC_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    with pytest.raises(UserError, match=rf"run {stores[1].run_id}: {metric}, n=.* contradict"):
        check_published(tmp_path)


@pytest.mark.parametrize("damage", ["values", "order", "images", "real", "lost", "cut", "shapes"])
def test_features_that_contradict_the_run_are_named(
    tmp_path: Path, stores: list[RunStore], damage: str
) -> None:
    folder, name = tmp_path / "mini", min(store.run_id for store in stores)
    path = features_path(folder, name)
    (reference,) = (folder / "references").iterdir()
    with np.load(path) as members:
        arrays = dict(members)
    message = f"{path}: has other images"
    if damage == "values":
        arrays["features"] = arrays["features"] * np.float32(1.01)
        message = f"run {name}: frechet_mini=.* {path} gives"
    elif damage == "order":  # the same set, so only KID's subsets and the shares of images tell
        arrays["features"] = arrays["features"][::-1]
        message = f"run {name}: kid, ci_low=.* {path} gives"
    elif damage == "images":
        arrays["image_ids"] = arrays["image_ids"] + 1
    elif damage == "shapes":
        arrays["features"] = arrays["features"][:, :2]
        message = f"{path}: damaged: the shapes"
    np.savez(path, **arrays)
    if damage == "real":
        np.savez(reference, features=REAL + 1)
        message = f"{reference}: damaged: has other features than its name says"
    elif damage == "lost":
        reference.unlink()
        message = f"{path}: is compared with {reference}, which is missing"
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
        message = f"{path}: damaged"
    with pytest.raises(UserError, match=message):
        check_published(tmp_path)


def test_features_of_a_run_without_records_are_named(
    tmp_path: Path, stores: list[RunStore]
) -> None:
    path = features_path(tmp_path / "mini", stores[0].run_id)
    shutil.copy(path, path.with_name("f" * 16 + ".npz"))
    with pytest.raises(UserError, match=r"run f{16} is published without"):
        check_published(tmp_path)


def test_features_of_a_classification_are_named(
    tmp_path: Path, stores: list[RunStore], make_config: Make, make_run: Callable[..., RunStore]
) -> None:
    store = make_run(tmp_path, make_config())
    publish_runs(tmp_path, "mini", [store.run_id])
    own = features_path(tmp_path / "mini", stores[0].run_id)
    path = features_path(tmp_path / "mini", store.run_id)
    shutil.copy(own, path)
    with pytest.raises(UserError, match=f"{path}: has other images"):
        check_published(tmp_path)
