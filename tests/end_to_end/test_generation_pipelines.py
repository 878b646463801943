"""Published backbones draw what diffusers' own pipelines draw, over every kind of dataset.

The pipelines are tiny ones in the hub's layout and the datasets tiny ones in theirs; code, loading,
prompts, captions, guidance, sampler, VAE, Inception's network and the run store are the real ones.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.dit import pipeline_dit
from PIL import Image

from bigain.config import RunConfig
from bigain.engine import build
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.features import inception
from bigain.launch.compose import compose_config
from bigain.runs.samples import read_samples
from bigain.tasks.batches import keyed_noise
from bigain.tasks.generation import conditions_of
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny
from bigain.testing.runs import read_metrics

CPU = torch.device("cpu")
DATASETS = {
    "sd20": "pets",
    "sd21": "pets",
    "sd15": "imagenet1k",
    "sdxl": "coco2017",
    "dit_xl2_512": "imagenet100",
}
IMAGES, STEPS = 3, 4
MakeConfig = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/<backbone>` and `data/<dataset>`; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("published")
    for name, dataset in DATASETS.items():
        save_tiny_pipeline(name, folder / "models" / name)
        write_tiny(dataset, folder / "data" / dataset)
    return folder


@pytest.fixture
def make(place: Path, tmp_path: Path) -> MakeConfig:
    def composed(name: str, *more: str, dataset: str | None = None) -> RunConfig:
        dataset = dataset or DATASETS[name]
        return compose_config(
            [
                *("task=generation", f"task.steps={STEPS}", "task.images_per_forward=2"),
                *(f"backbone={name}", f"backbone.path={place / 'models' / name}"),
                *(f"dataset={dataset}", f"dataset.root={place / 'data' / dataset}"),
                *(f"dataset.limit={IMAGES}", "task.reference=images"),
                *(f"paths.results={tmp_path}", f"paths.cache={tmp_path / 'cache'}", *more),
            ]
        )

    return composed


def ours(config: RunConfig) -> list[Any]:
    """The images of a run, drawn by its own objects."""
    dataset = build.build_dataset(config.dataset)
    conditions = conditions_of(dataset)
    backbone = build.build_backbone(config.backbone, CPU, config.dtype)
    backbone.condition_on(conditions.classes)
    sampler = build.build_sampler(config, backbone, CPU)
    latents = sampler.sample(torch.arange(IMAGES), torch.tensor(conditions.numbers))
    return [backbone.decode(own[None]) for own in latents]


def assert_alike(images: list[Any], theirs: Any) -> None:
    """Up to a rounding of the last bit of a byte."""
    for image, expected in zip(images, theirs, strict=True):
        assert image.shape == expected.shape
        assert np.abs(image.astype(float) - 255 * expected).max() <= 1.01
    assert not np.array_equal(images[0], images[1])


@pytest.mark.parametrize("name", ["sd20", "sd21", "sd15", "sdxl"])
def test_images_are_those_of_the_text_pipeline(make: MakeConfig, place: Path, name: str) -> None:
    config = make(name)
    conditions = conditions_of(build.build_dataset(config.dataset))
    load: Any = diffusers.DiffusionPipeline.from_pretrained
    pipeline = load(place / "models" / name, use_safetensors=True)
    settings = {
        k: pipeline.scheduler.config[k]
        for k in ("beta_start", "beta_end", "beta_schedule", "prediction_type")
    }
    pipeline.scheduler = diffusers.EulerDiscreteScheduler(num_train_timesteps=1000, **settings)
    pipeline.set_progress_bar_config(disable=True)
    shape = (1, 4, 8, 8)
    theirs = [
        pipeline(
            conditions.classes.prompts[conditions.numbers[i]],
            num_inference_steps=STEPS,
            guidance_scale=7.5,
            negative_prompt="",
            latents=keyed_noise(0, "generation", i, shape=shape[1:])[None],
            output_type="np",
            height=16,
            width=16,
        ).images[0]
        for i in range(IMAGES)
    ]
    assert_alike(ours(config), theirs)


def test_images_are_those_of_the_class_pipeline(
    make: MakeConfig, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make("dit_xl2_512")
    dataset = build.build_dataset(config.dataset)
    assert dataset.condition_ids is not None
    load: Any = diffusers.DiffusionPipeline.from_pretrained
    pipeline = load(place / "models" / "dit_xl2_512", use_safetensors=True)
    pipeline.scheduler = diffusers.DDIMScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = []
    for i, number in enumerate(conditions_of(dataset).numbers):
        noise = keyed_noise(0, "generation", i, shape=(4, 8, 8))[None]
        monkeypatch.setattr(pipeline_dit, "randn_tensor", lambda *_, x=noise, **__: x)
        drawn = pipeline(
            [dataset.condition_ids[number]],
            guidance_scale=4.0,
            num_inference_steps=STEPS,
            output_type="np",
        )
        theirs.append(drawn.images[0])
    assert_alike(ours(config), theirs)


class FewFeatures(inception.InceptionExtractor):
    """64 features of Inception's first layers in place of 2,048, whose distance takes seconds."""

    block = IMAGES

    def __init__(self, weights: Path | None, device: torch.device) -> None:
        super().__init__(weights, device, dimension=64)


@pytest.fixture
def few_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "InceptionExtractor", FewFeatures)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_run_ends_with_a_distance(
    make: MakeConfig, few_features: None, random_inception: Path, name: str
) -> None:
    weights = f"task.extractor_weights={random_inception}"
    merging = ["operator=lgtm", "operator.ratio=0.5"]
    outcome = run(make(name, weights, *merging), progress=False)
    assert outcome.status == "done"
    files = sorted((outcome.folder / "images").iterdir())
    assert [path.name for path in files] == [f"{i:06d}.png" for i in range(IMAGES)]
    with Image.open(files[0]) as image:
        assert (image.mode, image.size) == ("RGB", (16, 16))
    samples = read_samples(outcome.folder)
    conditions = conditions_of(build.build_dataset(make(name).dataset))
    assert list(samples["condition"]) == list(conditions.texts)
    metrics = read_metrics(outcome.folder)
    fid = {row["metric"]: row for row in metrics.to_dict("records")}["fid"]
    assert fid["value"] > 0
    assert fid["n"] == IMAGES
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    assert "extractor/inception" in manifest["hashes"]


OTHERS = [
    (name, dataset)
    for name in sorted(DATASETS)
    for dataset in sorted(DATASETS.values())
    if dataset != DATASETS[name] and (name != "dit_xl2_512" or dataset.startswith("imagenet"))
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dataset"), OTHERS)
def test_every_other_pair_ends_with_a_distance(
    make: MakeConfig, random_inception: Path, name: str, dataset: str
) -> None:
    weights = f"task.extractor_weights={random_inception}"
    outcome = run(make(name, weights, "operator=none", dataset=dataset), progress=False)
    assert outcome.status == "done"
    assert len(list((outcome.folder / "images").iterdir())) == IMAGES
    assert "fid" in set(read_metrics(outcome.folder)["metric"])


def test_a_damaged_real_image_is_named_when_the_reference_is_made(
    make: MakeConfig, tmp_path: Path, random_inception: Path, place: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(place / "data" / "pets", broken)
    for path in broken.glob("oxford-iiit-pet/images/*.jpg"):
        path.write_bytes(path.read_bytes()[:40])
    weights = f"task.extractor_weights={random_inception}"
    config = make("sd20", weights, f"dataset.root={broken}")
    with pytest.raises(UserError, match=r"a reference needs all its images"):
        run(config, progress=False)
    assert not list(tmp_path.glob("runs/*/images/*")), "before an image is drawn"


def test_missing_inception_ends_a_run_before_it_begins(
    make: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None, raising=False)
    with pytest.raises(UserError, match="Inception"):
        run(make("sd20"), progress=False)
    assert not (tmp_path / "runs").exists()
