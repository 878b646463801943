"""Two runs are paired only if they saw the same noise on the same images."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.compare import compare_runs
from bigain.runs.files import Evaluation
from bigain.runs.identity import run_id
from bigain.runs.pairing import PAIRING_KEYS
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]

UNPAIRED_GENERATIONS: dict[str, Any] = {
    "sampler": "euler",
    "steps": 6,
    "guidance_scale": 3.0,
    "images_per_forward": 4,
    "image_format": "jpeg",
    "extractor": "inception",
    "reference": "images",
}
UNPAIRED: dict[str, tuple[str, Any]] = {
    "seed": ("seed", 1),
    "backbone.name": ("backbone__name", "mini_unet"),
    "backbone.revision": ("backbone__revision", "ba9876543210"),
    "task.trial_list": ("task__trial_list", [5, 10]),
    "task.loss": ("task__loss", "l1"),
}


def change(store: RunStore, **parts: Any) -> None:
    """Replace parts of the manifest of a run."""
    path = store.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


@pytest.mark.parametrize("key", UNPAIRED)
def test_runs_under_other_noise_are_refused(
    key: str, tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    name, value = UNPAIRED[key]
    a, b = make_run(tmp_path, make_config()), make_run(tmp_path, make_config(**{name: value}))
    with pytest.raises(UserError) as caught:
        compare_runs(tmp_path, b.run_id, a.run_id)
    message = str(caught.value)
    assert message.startswith(f"{key}={value} in {b.run_id} but ")
    assert "\n" not in message
    assert all(name in message for name in PAIRING_KEYS)


def test_every_pairing_key_is_tried_or_has_one_value_so_far() -> None:
    tried = {*UNPAIRED, *(f"task.{key}" for key in UNPAIRED_GENERATIONS)}
    assert set(PAIRING_KEYS) - tried == {"dataset.name", "task.name"}


@pytest.mark.parametrize("key", UNPAIRED_GENERATIONS)
def test_generations_of_other_settings_are_refused(
    tmp_path: Path,
    make_config: Make,
    key: str,
    make_generation: MakeRun,
    generation: dict[str, Any],
) -> None:
    a = make_generation(
        tmp_path, make_config(task={**generation, key: UNPAIRED_GENERATIONS[key]}), 0.0
    )
    b = make_generation(tmp_path, make_config(task=generation), 0.0)
    with pytest.raises(UserError, match=f"^task.{key}="):
        compare_runs(tmp_path, a.run_id, b.run_id)


def test_distances_of_other_numbers_of_images_are_refused(
    tmp_path: Path, make_config: Make, make_generation: MakeRun, generation: dict[str, Any]
) -> None:
    a = make_generation(tmp_path, make_config(task=generation), 0.0)
    samples = a.folder / "samples.csv"
    b = make_generation(tmp_path, make_config(task=generation, dataset__limit=30), 0.0)
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"^dataset\.limit: 19 images in .* equal numbers"):
        compare_runs(tmp_path, a.run_id, b.run_id)


@pytest.mark.parametrize(
    ("mine", "theirs", "refused"),
    [
        ({"unet/x": "1", "dataset/a": "1"}, {"unet/x": "1"}, False),
        ({"unet/x": "1", "reference/a": "1"}, {"unet/x": "1"}, False),
        ({"unet/x": "1"}, {}, False),
        ({"unet/x": "1"}, {"unet/x": "2"}, True),
        ({"unet/x": "1"}, {"unet/x.fp16": "1"}, True),
    ],
)
def test_runs_of_other_weights_are_refused(
    tmp_path: Path,
    make_config: Make,
    make_run: MakeRun,
    tome: dict[str, Any],
    mine: dict[str, str],
    theirs: dict[str, str],
    refused: bool,
) -> None:
    a, b = make_run(tmp_path, make_config(operator=tome)), make_run(tmp_path, make_config())
    for store, hashes in ((a, mine), (b, theirs)):
        change(store, hashes=hashes)
    if not refused:
        assert compare_runs(tmp_path, a.run_id, b.run_id).n == 20
        return
    with pytest.raises(UserError, match=f"^run_id={a.run_id}: was made with another unet/x.* than"):
        compare_runs(tmp_path, a.run_id, b.run_id)


def test_what_does_not_touch_the_noise_may_differ(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    a = make_run(tmp_path, make_config(dtype="bfloat16", task__keep_list=[3, 1]))
    b = make_run(tmp_path, make_config())
    assert compare_runs(tmp_path, a.run_id, b.run_id).n == 20


def test_unfinished_or_unknown_runs_are_refused(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    done = make_run(tmp_path, make_config())
    running = make_config(operator=tome)
    with pytest.raises(UserError, match="run_id=0000: is absent; allowed are finished runs"):
        compare_runs(tmp_path, "0000", done.run_id)
    with (
        RunStore(tmp_path, run_id(running)).open(running, [1], {}),
        pytest.raises(UserError, match=f"run_id={run_id(running)}: is running"),
    ):
        compare_runs(tmp_path, done.run_id, run_id(running))
    (done.folder / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=rf"{done.run_id}/manifest\.json: is damaged; delete it"):
        compare_runs(tmp_path, done.run_id, "0000")


def test_measurements_without_predictions_are_refused(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    task = {"name": "efficiency", "measure": "time", "steps": 2, "repeats": 3, "warmup": 1}
    config = make_config(task=task)
    store = RunStore(tmp_path, run_id(config))
    with store.open(config, [1], {}) as session:
        session.append({"image_id": 1, "measure": "time"})
        session.finish(lambda records: Evaluation(records, []))
    other = make_run(tmp_path, make_config())
    for pair in [(store.run_id, other.run_id), (other.run_id, store.run_id)]:
        with pytest.raises(UserError, match=f"task=efficiency of {store.run_id}: has no images"):
            compare_runs(tmp_path, *pair)


def test_generations_of_another_precision_or_other_real_images_are_refused(
    tmp_path: Path,
    make_config: Make,
    tome: dict[str, Any],
    make_generation: MakeRun,
    generation: dict[str, Any],
) -> None:
    a = make_generation(tmp_path, make_config(task=generation), 0.0)
    half = make_generation(tmp_path, make_config(task=generation, dtype="float16"), 0.0)
    with pytest.raises(UserError, match=f"^dtype=float32 in {a.run_id} but float16"):
        compare_runs(tmp_path, a.run_id, half.run_id)
    b = make_generation(tmp_path, make_config(task=generation, operator=tome), 0.0)
    for store, content in ((a, "1"), (b, "2")):
        change(store, hashes={"unet/x": "0", "reference/fashion_mnist": content})
    with pytest.raises(UserError, match="was made with another reference/fashion_mnist"):
        compare_runs(tmp_path, a.run_id, b.run_id)


IMAGES = {"dataset/fashion_mnist": "1", "dataset/fashion_mnist/files": "1"}


@pytest.mark.parametrize(
    ("theirs", "other"),
    [
        (IMAGES, None),
        ({}, None),
        ({"dataset/fashion_mnist": "1"}, None),
        ({"dataset/fashion_mnist": "2"}, "dataset/fashion_mnist"),
        ({**IMAGES, "dataset/fashion_mnist/files": "2"}, "dataset/fashion_mnist/files"),
    ],
)
def test_runs_of_other_images_of_one_name_are_refused(
    tmp_path: Path,
    make_config: Make,
    make_run: MakeRun,
    tome: dict[str, Any],
    theirs: Mapping[str, str],
    other: str | None,
) -> None:
    """Manifests of older versions have no hash, or none of the bytes: they are not refused."""
    a, b = make_run(tmp_path, make_config(operator=tome)), make_run(tmp_path, make_config())
    change(a, hashes=IMAGES)
    change(b, hashes=theirs)
    if other is None:
        assert compare_runs(tmp_path, a.run_id, b.run_id).n == 20
        return
    with pytest.raises(UserError) as caught:
        compare_runs(tmp_path, a.run_id, b.run_id)
    message = str(caught.value)
    assert message.startswith(f"dataset.name=fashion_mnist: {a.run_id} and {b.run_id} were made ")
    assert f"(another {other})" in message


def test_hashes_of_other_numbers_of_images_say_nothing(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a = make_run(tmp_path, make_config(operator=tome, dataset__limit=8))
    b = make_run(tmp_path, make_config())
    change(a, hashes={"dataset/fashion_mnist": "1"})
    change(b, hashes={"dataset/fashion_mnist": "2"})
    assert compare_runs(tmp_path, a.run_id, b.run_id).n == 8


def test_images_with_other_labels_are_refused(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a = make_run(tmp_path, make_config(operator=tome, dataset__limit=8))
    b = make_run(tmp_path, make_config())
    path = a.folder / "samples.csv"
    lines = path.read_text().splitlines(keepends=True)
    assert lines[3].startswith("2,102,2,")
    path.write_text("".join([*lines[:3], lines[3].replace("2,102,2,", "2,102,7,", 1), *lines[4:]]))
    with pytest.raises(UserError, match=r"\(7 and 2 as label of image 102\)"):
        compare_runs(tmp_path, a.run_id, b.run_id)


@pytest.mark.parametrize(
    ("target", "refused"),
    [("bigain.data.folder.Folder", True), ("bigain.data.imagenet.ImageNet1K", False)],
)
def test_the_fingerprint_tells_own_images_from_others(
    tmp_path: Path,
    make_config: Make,
    make_run: MakeRun,
    tome: dict[str, Any],
    target: str,
    refused: bool,
) -> None:
    """That of a published dataset says which of its images were chosen, so they may meet."""
    a, b = make_run(tmp_path, make_config(operator=tome)), make_run(tmp_path, make_config())
    for store, fingerprint in ((a, "a" * 12), (b, "b" * 12)):
        config = json.loads((store.folder / "manifest.json").read_text())["config"]
        dataset = {**config["dataset"], "_target_": target, "fingerprint": fingerprint}
        change(store, config={**config, "dataset": dataset}, withheld=["dataset.index"])
    if not refused:
        assert compare_runs(tmp_path, a.run_id, b.run_id).n == 20
        return
    with pytest.raises(UserError, match=r"\(fingerprint a{12} and b{12}\)"):
        compare_runs(tmp_path, a.run_id, b.run_id)
