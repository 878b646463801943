"""Generation as users run it: the same files whatever the batch, shards, kills and limits."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from bigain.engine import build
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.features.reference import read_reference
from bigain.launch.compose import compose_config
from bigain.runs.images import GRID, IMAGES, RunImages
from bigain.runs.samples import read_samples
from bigain.tasks.sampling import Sampler
from bigain.testing.runs import read_metrics

SHORT = ["task=generation", "task.steps=2", "dataset.limit=14", "threads=1"]
LGTM = ["operator=lgtm", "operator.ratio=0.7"]
BACKBONES = ["mini_unet", "mini_dit"]


def hashes(folder: Path) -> dict[str, str]:
    """File name -> sha256 of the images of a run."""
    files = sorted((folder / IMAGES).iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def generate(results: Path, *overrides: str) -> Path:
    """The folder of a run that is made, or gone on with, now."""
    command = [*SHORT, f"paths.results={results}", f"paths.cache={results}", *overrides]
    return run(compose_config(command), progress=False).folder


def metrics_of(folder: Path) -> dict[str, float]:
    frame = read_metrics(folder)
    return dict(zip(frame["metric"], frame["value"], strict=True))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Backbone -> folder of an unbroken run with L-GTM; not to be changed."""
    return {
        name: generate(tmp_path_factory.mktemp(name), f"backbone={name}", *LGTM)
        for name in BACKBONES
    }


@pytest.fixture
def whole(unbroken: dict[str, Path]) -> Path:
    """The unbroken run of one backbone, for what the run store does."""
    return unbroken["mini_dit"]


@pytest.fixture(params=BACKBONES)
def each(request: pytest.FixtureRequest, unbroken: dict[str, Path]) -> Path:
    """The unbroken run of each backbone, for what the networks do."""
    return unbroken[request.param]


def like(whole: Path) -> list[str]:
    manifest = json.loads((whole / "manifest.json").read_text())
    return [f"backbone={manifest['config']['backbone']['name']}", *LGTM]


def test_a_run_has_images_records_metrics_and_a_grid(each: Path) -> None:
    samples = read_samples(each)
    assert list(hashes(each)) == [f"{i:06d}.png" for i in range(14)]
    assert list(samples["sha256"]) == list(hashes(each).values())
    assert (each / GRID).is_file()
    metrics = metrics_of(each)
    assert list(metrics) == [
        "frechet_mini",
        "kid",
        "kid_error",
        "precision",
        "recall",
        "class_agreement",
    ]
    assert samples["frechet_value"].mean() == pytest.approx(metrics["frechet_mini"], rel=1e-9)
    assert 100 * samples["correct"].mean() == pytest.approx(metrics["class_agreement"])
    manifest = json.loads((each / "manifest.json").read_text())
    assert manifest["images_per_forward"] == 8
    assert any(name.startswith("extractor/") for name in manifest["hashes"])


def test_the_batch_size_changes_no_bit(each: Path, tmp_path: Path) -> None:
    again = generate(tmp_path, *like(each), "batch_size=1", "device=cpu")
    assert again.name == each.name
    assert hashes(again) == hashes(each)
    assert (again / "samples.csv").read_bytes() == (each / "samples.csv").read_bytes()
    assert (again / "metrics.csv").read_bytes() == (each / "metrics.csv").read_bytes()


def test_shards_give_the_same_files(each: Path, tmp_path: Path) -> None:
    for index in reversed(range(3)):
        part = [f"shard.index={index}", "shard.count=3"]
        folder = generate(tmp_path, *like(each), *part)
    assert hashes(folder) == hashes(each)
    assert (folder / "metrics.csv").read_bytes() == (each / "metrics.csv").read_bytes()


def test_a_shorter_run_is_taken_over_by_a_longer_one(whole: Path, tmp_path: Path) -> None:
    short = generate(tmp_path, *like(whole), "dataset.limit=5")
    long = generate(tmp_path, *like(whole))
    assert hashes(long) == hashes(whole)
    assert json.loads((long / "manifest.json").read_text())["adopted_from"] == [short.name]
    assert (long / "samples.csv").read_bytes() == (whole / "samples.csv").read_bytes()


def test_a_killed_run_goes_on_to_the_same_folder(whole: Path, tmp_path: Path) -> None:
    command = [*SHORT, f"paths.results={tmp_path}", f"paths.cache={tmp_path}", *like(whole)]
    script = (
        "import sys, time\n"
        "from bigain.launch.compose import compose_config\n"
        "from bigain.engine.run import run\n"
        "from bigain.runs.images import RunImages\n"
        "write = RunImages.write\n"
        "def slow(self, index, image):\n"
        "    time.sleep(0.2)\n"
        "    return write(self, index, image)\n"
        "RunImages.write = slow\n"
        "run(compose_config(sys.argv[1:]), progress=False)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, *command])
    folder = tmp_path / "runs" / whole.name
    deadline = time.monotonic() + 120
    while len(list(folder.glob("images/*.png"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = hashes(folder)
    assert 10 <= len(before) < 14
    assert json.loads((folder / "manifest.json").read_text())["status"] == "running"
    again = generate(tmp_path, *like(whole))
    assert again == folder
    assert hashes(folder) == hashes(whole)
    assert (folder / "samples.csv").read_bytes() == (whole / "samples.csv").read_bytes()


def test_what_changes_the_images(whole: Path, tmp_path: Path) -> None:
    first = set(list(hashes(whole).values())[:3])
    backbone, *operator = like(whole)
    for other in (
        [*operator, "seed=1"],
        [*operator, "task.guidance_scale=4"],
        [*operator, "task.steps=3"],
        ["operator=none"],
    ):
        folder = generate(tmp_path, backbone, "dataset.limit=3", *other)
        assert not set(hashes(folder).values()) & first, other


def test_the_operator_sees_the_noise_of_the_baseline(each: Path, tmp_path: Path) -> None:
    """Paired: the same noise and class, so the images resemble each other more than others."""
    bare = generate(tmp_path, like(each)[0], "operator=none")
    from PIL import Image  # noqa: PLC0415

    def pixels(folder: Path) -> Any:
        files = sorted((folder / IMAGES).iterdir())
        return np.stack([np.asarray(Image.open(path)) for path in files]).astype(float)

    a, b = pixels(bare), pixels(each)
    assert np.abs(a - b).mean() < 0.5 * np.abs(a - np.roll(b, 1, axis=0)).mean()


class NotAgain(Sampler):
    """Draws nothing."""

    def sample(self, indices: Tensor, conditions: Tensor) -> Tensor:
        raise AssertionError(f"drawn again: {indices.tolist()}")


def test_judging_by_another_reference_draws_no_image_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = generate(tmp_path, *like(whole))
    monkeypatch.setattr(build, "Sampler", NotAgain)
    judged = generate(tmp_path, *like(whole), "task.reference=images")
    assert judged != first
    assert hashes(judged) == hashes(whole)
    assert json.loads((judged / "manifest.json").read_text())["adopted_from"] == [first.name]
    assert metrics_of(judged)["frechet_mini"] != metrics_of(whole)["frechet_mini"]
    with pytest.raises(AssertionError, match="drawn again"):
        generate(tmp_path, *like(whole), "seed=1")


def test_published_statistics_are_a_reference(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = generate(tmp_path, *like(whole))
    monkeypatch.setattr(build, "Sampler", NotAgain)
    (own,) = (tmp_path / "references").glob("*.npz")
    path, moments = tmp_path / "stats.npz", read_reference(own).moments
    np.savez(path, mu=moments.mean, sigma=moments.covariance)
    given = f"task.reference={path}"
    judged = generate(tmp_path, *like(whole), given)
    metrics = metrics_of(judged)
    assert list(metrics) == ["frechet_mini", "class_agreement"]
    assert metrics["frechet_mini"] == pytest.approx(metrics_of(first)["frechet_mini"], rel=1e-9)
    manifest = json.loads((judged / "manifest.json").read_text())
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["hashes"]["reference/fashion_mnist"] == content
    np.savez(path, mu=moments.mean + 1, sigma=moments.covariance)
    with pytest.raises(UserError, match="was made with another reference/fashion_mnist"):
        generate(tmp_path, *like(whole), given)


def test_a_run_does_not_go_on_with_other_statistics(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    command = [*like(whole), f"task.reference={path}", "shard.count=2"]
    np.savez(path, mu=np.zeros(64), sigma=np.eye(64))
    generate(tmp_path, *command, "shard.index=0")
    np.savez(path, mu=np.ones(64), sigma=np.eye(64))
    with pytest.raises(UserError, match="was started with another reference/fashion_mnist"):
        generate(tmp_path, *command, "shard.index=1")


def test_lost_images_are_drawn_again_and_no_others(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = generate(tmp_path, *like(whole), "shard.index=0", "shard.count=2")
    (folder / IMAGES / "000002.png").unlink()
    (folder / IMAGES / "000010.png").write_bytes(b"half")
    drawn: list[int] = []

    def noted(self: RunImages, index: int, *others: Any) -> str:
        drawn.append(index)
        return write(self, index, *others)

    write = RunImages.write
    monkeypatch.setattr(RunImages, "write", noted)
    generate(tmp_path, *like(whole), "shard.index=1", "shard.count=2")
    assert drawn == [2, 10, *range(1, 14, 2)]
    assert hashes(folder) == hashes(whole)
    assert (folder / "samples.csv").read_bytes() == (whole / "samples.csv").read_bytes()


def test_a_finished_run_with_a_lost_image_is_not_done_yet(whole: Path, tmp_path: Path) -> None:
    folder = generate(tmp_path, *like(whole))
    before = {name: (folder / name).read_bytes() for name in ("samples.csv", "metrics.csv")}
    (folder / IMAGES / "000003.png").unlink()
    (folder / IMAGES / "000011.png").write_bytes(b"half")
    command = [*SHORT, f"paths.results={tmp_path}", f"paths.cache={tmp_path}", *like(whole)]
    outcome = run(compose_config(command), progress=False)
    assert (outcome.status, outcome.computed) == ("done", 2)
    assert hashes(folder) == hashes(whole)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert run(compose_config(command), progress=False).computed == 0


def test_a_lost_image_that_comes_out_differently_is_named(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = generate(tmp_path, *like(whole))
    (folder / IMAGES / "000003.png").unlink()
    noise = Sampler.initial_noise
    monkeypatch.setattr(Sampler, "initial_noise", lambda self, i: noise(self, i + 1))
    with pytest.raises(UserError, match=r"000003\.png: .* gives other bytes .* force=true"):
        generate(tmp_path, *like(whole))
    assert not (folder / IMAGES / "000003.png").exists()
    monkeypatch.undo()
    forced = generate(tmp_path, *like(whole), "force=true")
    assert hashes(forced) == hashes(whole)
