"""Two runs are compared image by image, and only if they saw the same noise."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.metrics import image_errors, paired_accuracy, relative_rise
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import read_samples
from bigain.runs.compare import (
    PAIRING_KEYS,
    Comparison,
    GenerationComparison,
    compare_runs,
    describe,
)
from bigain.runs.files import Evaluation
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]

GENERATION: dict[str, Any] = {
    "name": "generation",
    "sampler": "ddim",
    "steps": 5,
    "guidance_scale": 2.0,
    "images_per_forward": 8,
    "image_format": "png",
    "extractor": "mini",
    "extractor_weights": None,
    "reference": "split",
}
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


def classified(results: Path, a: str, b: str) -> Comparison:
    comparison = compare_runs(results, a, b)
    assert isinstance(comparison, Comparison)
    return comparison


def test_a_run_against_the_baseline(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    b = make_run(tmp_path, make_config())
    comparison = classified(tmp_path, a.run_id, b.run_id)
    left, right = (read_samples(store.folder).set_index("image_id") for store in (a, b))
    assert comparison.accuracy == paired_accuracy(left["correct"], right["correct"])
    assert comparison.accuracy.mean < 0
    expected = relative_rise(image_errors(left.reset_index()), image_errors(right.reset_index()))
    assert comparison.eps_rise == expected
    assert comparison.eps_rise.mean == pytest.approx(0.25)
    assert (comparison.a, comparison.b, comparison.n) == (a.run_id, b.run_id, 20)
    assert comparison.precision is None
    assert "map_image" not in describe(comparison), "images have one label"
    other = classified(tmp_path, b.run_id, a.run_id)
    assert other.accuracy.mean == -comparison.accuracy.mean
    assert other.eps_rise.mean == pytest.approx(1 / 1.25 - 1)


def test_runs_of_other_limits_meet_on_their_common_images(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a = make_run(tmp_path, make_config(operator=tome, dataset__limit=8), rise=0.25)
    b = make_run(tmp_path, make_config(dataset__limit=15))
    assert classified(tmp_path, a.run_id, b.run_id).n == 8


@pytest.mark.parametrize("key", UNPAIRED)
def test_runs_under_other_noise_are_refused(
    key: str, tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    name, value = UNPAIRED[key]
    a, b = make_run(tmp_path, make_config()), make_run(tmp_path, make_config(**{name: value}))
    with pytest.raises(UserError) as caught:
        classified(tmp_path, b.run_id, a.run_id)
    message = str(caught.value)
    assert message.startswith(f"{key}={value} in {b.run_id} but ")
    assert "\n" not in message
    assert all(name in message for name in PAIRING_KEYS)


def test_every_pairing_key_is_tried_or_has_one_value_so_far() -> None:
    tried = {*UNPAIRED, *(f"task.{key}" for key in UNPAIRED_GENERATIONS)}
    assert set(PAIRING_KEYS) - tried == {"dataset.name", "task.name"}


def generated(results: Path, config: RunConfig, shift: float) -> RunStore:
    """A finished generation whose images' values in the distance are given."""
    store = RunStore(results, run_id(config))
    with store.open(config, list(range(20)), {}) as session:
        for i in session.todo():
            session.append({"image_id": i, "sha256": "0", "frechet_value": 3 + i % 7 + shift})
        session.finish(lambda records: Evaluation(records, []))
    return store


def test_generations_are_compared_image_by_image(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    a = generated(tmp_path, make_config(operator=tome, task=GENERATION), 2.0)
    b = generated(tmp_path, make_config(task=GENERATION), 0.0)
    comparison = compare_runs(tmp_path, a.run_id, b.run_id)
    assert isinstance(comparison, GenerationComparison)
    assert comparison.n == 20
    assert comparison.distance.mean == pytest.approx(2.0)
    assert comparison.distance.ci_high - comparison.distance.ci_low < 1e-9, "paired"
    lines = describe(comparison).splitlines()
    assert lines[0] == f"{a.run_id} against {b.run_id}, paired over 20 images"
    assert lines[1].startswith("frechet_mini    +2 [")


@pytest.mark.parametrize("key", UNPAIRED_GENERATIONS)
def test_generations_of_other_settings_are_refused(
    tmp_path: Path, make_config: Make, key: str
) -> None:
    a = generated(tmp_path, make_config(task={**GENERATION, key: UNPAIRED_GENERATIONS[key]}), 0.0)
    b = generated(tmp_path, make_config(task=GENERATION), 0.0)
    with pytest.raises(UserError, match=f"^task.{key}="):
        compare_runs(tmp_path, a.run_id, b.run_id)


def test_distances_of_other_numbers_of_images_are_refused(
    tmp_path: Path, make_config: Make
) -> None:
    a = generated(tmp_path, make_config(task=GENERATION), 0.0)
    samples = a.folder / "samples.csv"
    b = generated(tmp_path, make_config(task=GENERATION, dataset__limit=30), 0.0)
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"^dataset\.limit: 19 images in .* equal numbers"):
        compare_runs(tmp_path, a.run_id, b.run_id)


@pytest.mark.parametrize(
    ("mine", "theirs", "refused"),
    [
        ({"unet/x": "1", "dataset/a": "1"}, {"unet/x": "1", "dataset/a": "2"}, False),
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
        path = store.folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "hashes": hashes}))
    if not refused:
        assert classified(tmp_path, a.run_id, b.run_id).n == 20
        return
    with pytest.raises(UserError, match=f"^run_id={a.run_id}: was made with another unet/x.* than"):
        classified(tmp_path, a.run_id, b.run_id)


def test_what_does_not_touch_the_noise_may_differ(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    a = make_run(tmp_path, make_config(dtype="bfloat16", task__keep_list=[3, 1]))
    b = make_run(tmp_path, make_config())
    assert classified(tmp_path, a.run_id, b.run_id).n == 20


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
        compare_runs(tmp_path, done.run_id, done.run_id)


def test_the_description_names_numbers_intervals_and_tests(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    b = make_run(tmp_path, make_config())
    comparison = classified(tmp_path, a.run_id, b.run_id)
    assert isinstance(comparison, Comparison)
    first, second, third = describe(comparison).splitlines()
    assert first == f"{a.run_id} against {b.run_id}, paired over 20 images"
    points = f"{100 * comparison.accuracy.mean:+.2f}"
    assert re.fullmatch(rf"acc1 +{re.escape(points)} \[.+, .+\] points, McNemar p = .+", second)
    assert re.fullmatch(r"eps_error_rise +\+25\.00 \[\+25\.00, \+25\.00\] %, z = .+", third)


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
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    a = generated(tmp_path, make_config(task=GENERATION), 0.0)
    half = generated(tmp_path, make_config(task=GENERATION, dtype="float16"), 0.0)
    with pytest.raises(UserError, match=f"^dtype=float32 in {a.run_id} but float16"):
        compare_runs(tmp_path, a.run_id, half.run_id)
    b = generated(tmp_path, make_config(task=GENERATION, operator=tome), 0.0)
    for store, content in ((a, "1"), (b, "2")):
        path = store.folder / "manifest.json"
        hashes = {"unet/x": "0", "reference/fashion_mnist": content}
        path.write_text(json.dumps({**json.loads(path.read_text()), "hashes": hashes}))
    with pytest.raises(UserError, match="was made with another reference/fashion_mnist"):
        compare_runs(tmp_path, a.run_id, b.run_id)


def test_published_runs_are_compared_as_in_their_folders(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    names = [make_run(tmp_path, make_config(operator=tome), rise=0.25).run_id]
    names.append(make_run(tmp_path, make_config()).run_id)
    before = compare_runs(tmp_path, *names)
    Archive(tmp_path, "mini").publish(names)
    shutil.rmtree(tmp_path / "runs")
    assert compare_runs(tmp_path, *names) == before
