"""The images in a page are those of the runs, or none."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bigain.data.fashion_mnist import FashionMNIST
from bigain.runs.pairing import FinishedRun, read_finished
from bigain.tables.compare_pictures import class_names, dataset_pictures, generated_pictures

Make = Callable[..., FinishedRun]


def pixels(address: str) -> npt.NDArray[np.uint8]:
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image)


def changed(run: FinishedRun, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Any:
    """The run with another manifest."""
    path = tmp_path / "runs" / run.run_id / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return read_finished(tmp_path, run.run_id)


def test_images_of_the_dataset_keep_their_pixels(classify: Make) -> None:
    run, dataset = classify(limit=8, name="none"), FashionMNIST(8)
    found = dataset_pictures([run])
    assert found.missing == ""
    for place in range(8):
        assert np.array_equal(pixels(found.of(dataset[place].image_id)), dataset[place].image)


def test_other_images_are_not_shown(classify: Make, tmp_path: Path) -> None:
    run = classify(limit=8, name="none")

    def other(manifest: dict[str, Any]) -> None:
        manifest["hashes"] = {"dataset/fashion_mnist": "0" * 64}

    found = dataset_pictures([changed(run, tmp_path, other)])
    assert "others than those of the runs" in found.missing
    assert found.of(int(run.samples["image_id"][0])) == ""


@pytest.mark.parametrize("same", [True, False])
def test_without_a_hash_the_labels_decide(classify: Make, tmp_path: Path, same: bool) -> None:
    run = classify(limit=8, name="none")
    run = changed(run, tmp_path, lambda manifest: manifest.pop("hashes"))
    if not same:
        run.samples["label"] = (run.samples["label"] + 1) % 10
    assert (dataset_pictures([run]).missing == "") == same


def test_images_that_are_not_here_are_one_line(
    classify: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = classify(limit=8, name="none")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIGAIN_DATA", raising=False)
    run.config["dataset"] |= {"name": "imagenet1k", "_target_": "bigain.data.imagenet.ImageNet1K"}
    found = dataset_pictures([run])
    assert found.missing == "The images are not on the machine that made this page."
    assert "dataset.root" in found.why
    assert "\n" not in found.why
    name = class_names([run])
    assert name(0) == "tench", "the names of classes are known without the images"
    assert (name(None), name(float("nan")), name(1000)) == ("none", "none", "class 1000")


def test_generated_images_are_those_of_the_records(generate: Make, tmp_path: Path) -> None:
    run = generate({0: 10, 1: 200}, name="none")
    found = generated_pictures(run)
    assert found.missing == ""
    assert (pixels(found.of(1)) == 200).all()
    path = tmp_path / "runs" / run.run_id / "images" / "000001.png"
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(path)
    assert found.of(1) == "", "another file than that of the record"
    path.with_name("000000.png").unlink()
    assert generated_pictures(run).missing != ""


def test_large_images_are_made_small(classify: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = classify(limit=1, name="none")
    large = np.random.default_rng(0).integers(0, 255, (900, 600, 3), np.uint8)
    monkeypatch.setattr("bigain.data.base.Sample.image", property(lambda _: large))
    address = dataset_pictures([run]).of(int(run.samples["image_id"][0]))
    assert address.startswith("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        assert max(image.size) == 160
