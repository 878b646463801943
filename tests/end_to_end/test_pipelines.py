"""Published backbones from their folders to a finished run, with tiny weights in their place.

Everything is what a real run uses: the hub's layout, loading, tokenizer, text encoder, VAE, caches,
a tiny dataset's files, the command line's configuration, the run store.  The result is held against
a loop over images, classes and trials that is written with diffusers alone.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from bigain.backbones.stable_diffusion import StableDiffusion
from bigain.cli.main import main
from bigain.data.base import Dataset
from bigain.data.images import UnreadableImage
from bigain.engine import build
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id
from bigain.runs.samples import read_samples
from bigain.tasks.batches import keyed_noise
from bigain.tasks.protocol import StagedProtocol
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DATASETS = {"sd20": "pets", "sd21": "pets", "sdxl": "pets", "dit_xl2_512": "imagenet100"}
IMAGES = 3
Overrides = Callable[..., list[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/<backbone>` and `data/<dataset>`; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("published")
    for name, dataset in DATASETS.items():
        save_tiny_pipeline(name, folder / "models" / name)
        if not (folder / "data" / dataset).exists():
            write_tiny(dataset, folder / "data" / dataset)
    return folder


@pytest.fixture
def overrides(place: Path, tmp_path: Path) -> Overrides:
    """The command line of a short run of a tiny backbone."""

    def make(name: str, *more: str, results: str = "results") -> list[str]:
        return [
            *(f"backbone={name}", f"backbone.path={place / 'models' / name}"),
            *(f"dataset={DATASETS[name]}", f"dataset.root={place / 'data' / DATASETS[name]}"),
            *(f"dataset.limit={IMAGES}", "task.trial_list=[2,4]", "task.keep_list=[3,1]"),
            *(f"paths.results={tmp_path / results}", *more),
        ]

    return make


def finished(command: list[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Samples by image and manifest of a run that is made now."""
    outcome = run(compose_config(command), progress=False)
    assert outcome.status == "done"
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    return read_samples(outcome.folder).set_index("image_id"), manifest


def alike(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether two runs gave the same scores, image by image, up to rounding."""
    pairs = zip(a["scores"], b["scores"], strict=True)
    return all(np.allclose(x, y, rtol=0, atol=1e-6, equal_nan=True) for x, y in pairs)


class Plain:
    """The diffusion classifier as the protocol reads, one evaluation at a time."""

    def __init__(self, folder: Path, name: str, dataset: Dataset) -> None:
        load: Any = diffusers.DiffusionPipeline.from_pretrained
        self.pipeline = load(folder, use_safetensors=True)
        self.vae = self.pipeline.vae
        self.abar = self.pipeline.scheduler.alphas_cumprod.double()
        self.conditions = list(getattr(self, f"_{name}")(dataset))

    def _sd20(self, dataset: Dataset) -> Any:
        for prompt in dataset.prompts:
            tokens = self.pipeline.tokenizer(
                prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
            )
            context = self.pipeline.text_encoder(tokens.input_ids)[0]
            yield lambda x, t, c=context: self.pipeline.unet(x, t, encoder_hidden_states=c).sample

    def _sd21(self, dataset: Dataset) -> Any:
        """The noise that the velocity says: sqrt(abar) v + sqrt(1 - abar) x."""
        for velocity in self._sd20(dataset):
            yield (
                lambda x, t, v=velocity: (
                    self.abar[t].sqrt() * v(x, t).double() + (1 - self.abar[t]).sqrt() * x
                )
            )

    def _sdxl(self, dataset: Dataset) -> Any:
        for prompt in dataset.prompts:
            context, _, pooled, _ = self.pipeline.encode_prompt(
                prompt, device=torch.device("cpu"), do_classifier_free_guidance=False
            )
            added = {"text_embeds": pooled, "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]])}
            yield (
                lambda x, t, c=context, a=added: (
                    self.pipeline.unet(x, t, encoder_hidden_states=c, added_cond_kwargs=a).sample
                )
            )

    def _dit_xl2_512(self, dataset: Dataset) -> Any:
        assert dataset.condition_ids is not None
        for index in dataset.condition_ids:
            label = torch.tensor([index])
            yield lambda x, t, c=label: self.pipeline.transformer(
                x, timestep=t[None], class_labels=c
            ).sample[:, :4]

    def latents(self, image: np.ndarray[Any, Any]) -> torch.Tensor:
        opened = Image.fromarray(image).convert("RGB")
        width, height = opened.size
        shorter = min(width, height)
        opened = opened.resize(
            (16 * width // shorter, 16 * height // shorter), Image.Resampling.BICUBIC
        )
        left, top = (round((side - 16) / 2) for side in opened.size)
        square = np.array(opened.crop((left, top, left + 16, top + 16)))
        pixels = torch.from_numpy(square).permute(2, 0, 1)[None] / 127.5 - 1
        mean: torch.Tensor = self.vae.encode(pixels).latent_dist.mean
        return mean * 0.18215

    def classify(self, image_id: int, image: np.ndarray[Any, Any]) -> tuple[int, list[float]]:
        """Prediction, and the mean error of each class over the trials that it took."""
        x0 = self.latents(image)
        errors: list[list[float]] = [[] for _ in self.conditions]
        alive = list(range(len(self.conditions)))
        for timesteps, keep in zip(StagedProtocol((2, 4), (3, 1)).stages(), (3, 1), strict=True):
            for t in timesteps:
                eps = keyed_noise(0, "classification", image_id, t, shape=tuple(x0.shape))
                abar = float(self.abar[t])
                noisy = math.sqrt(abar) * x0 + math.sqrt(1 - abar) * eps
                for c in alive:
                    predicted = self.conditions[c](noisy, torch.tensor(t))
                    errors[c].append(float((predicted - eps).square().mean()))
            alive = sorted(sorted(alive, key=lambda c: float(np.mean(errors[c])))[:keep])
        return alive[0], [float(np.mean(e)) for e in errors]


@pytest.mark.parametrize("name", list(DATASETS))
@torch.inference_mode()
def test_a_run_equals_the_plain_loop(overrides: Overrides, place: Path, name: str) -> None:
    samples, _ = finished(overrides(name, "batch_size=7"))
    config = compose_config(overrides(name))
    dataset = build.build_dataset(config.dataset)
    plain = Plain(place / "models" / name, name, dataset)
    compared = 0
    for position in range(IMAGES):
        sample = dataset[position]
        try:
            image = sample.image
        except UnreadableImage:
            continue
        prediction, scores = plain.classify(sample.image_id, image)
        row = samples.loc[sample.image_id]
        assert row["prediction"] == prediction
        assert np.allclose(row["scores"], scores, rtol=0, atol=1e-6)
        compared += 1
    assert compared >= IMAGES - 1
    assert len(plain.conditions) == {"pets": 37, "imagenet100": 100}[DATASETS[name]]


@pytest.mark.parametrize(("name", "shards"), [("sd20", 2), ("dit_xl2_512", 3)])
def test_batches_and_shards_change_nothing(overrides: Overrides, name: str, shards: int) -> None:
    operator = ["operator=tome", "operator.ratio=0.5"]
    whole, _ = finished(overrides(name, *operator, "batch_size=64"))
    for index in reversed(range(shards)):
        shard = [f"shard.index={index}", f"shard.count={shards}", f"batch_size={3 + index}"]
        command = overrides(name, *operator, *shard, results="sharded")
        outcome = run(compose_config(command), progress=False)
    assert outcome.status == "done"
    parts = read_samples(outcome.folder).set_index("image_id")
    assert parts["prediction"].equals(whole["prediction"])
    assert alike(parts, whole)


def test_the_manifest_says_what_was_loaded_and_how_it_went(
    overrides: Overrides, place: Path
) -> None:
    _, manifest = finished(overrides("sd20"))
    assert manifest["source"]["place"] == "path"
    assert manifest["source"]["folder"] == str(place / "models" / "sd20")
    assert {name for name in manifest["hashes"] if not name.endswith((".json", ".txt"))} == {
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "dataset/pets",
        "dataset/pets/files",
    }
    assert manifest["peak_memory_bytes"] > 50e6
    assert manifest["micro_batch"] == 32


def test_caches_are_used_and_change_nothing(overrides: Overrides, tmp_path: Path) -> None:
    cached = f"paths.cache={tmp_path / 'cache'}"
    first, _ = finished(overrides("sd20", cached))
    entries = sorted((tmp_path / "cache").rglob("*.safetensors"))
    off = ["cache.latents=false", "cache.prompts=false", f"paths.cache={tmp_path / 'unused'}"]
    without, _ = finished(overrides("sd20", *off))
    assert not (tmp_path / "unused").exists()
    assert {path.parts[len(tmp_path.parts) + 1] for path in entries} == {"latents", "prompts"}
    second, _ = finished(overrides("sd20", cached, results="again"))
    assert entries == sorted((tmp_path / "cache").rglob("*.safetensors"))
    for path in entries:
        path.write_bytes(b"damaged")
    third, _ = finished(overrides("sd20", cached, results="third"))
    for other in (second, without, third):
        assert other["prediction"].equals(first["prediction"])
        assert all(np.array_equal(*pair) for pair in zip(other.scores, first.scores, strict=True))


def test_memory_that_runs_out_under_an_operator_changes_nothing_but_the_batch(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forward fails in the middle, after the operator's hooks have run at some sites."""
    operator = ["operator=lgtm", "operator.ratio=0.7"]
    expected, _ = finished(overrides("sd20", *operator))
    original = StableDiffusion.predict

    def predict(self: StableDiffusion, *arguments: torch.Tensor) -> torch.Tensor:
        denoiser: Any = self.denoiser
        handle = denoiser.conv_out.register_forward_pre_hook(exhausted)
        try:
            return original(self, *arguments)
        finally:
            handle.remove()

    def exhausted(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StableDiffusion, "predict", predict)
    found, manifest = finished(overrides("sd20", *operator, results="small"))
    assert manifest["micro_batch"] == 4
    assert found["prediction"].equals(expected["prediction"])
    assert alike(found, expected)


def test_weights_that_change_in_the_middle_of_a_run_are_refused(
    overrides: Overrides, place: Path, tmp_path: Path
) -> None:
    """Another folder is another run; the same folder with other weights stops the same run."""
    folder = tmp_path / "own"
    shutil.copytree(place / "models" / "sd20", folder)
    own = f"backbone.path={folder}"
    first = compose_config(overrides("sd20", own, "shard.count=2", "shard.index=0"))
    assert run(first, progress=False).status == "running"
    assert run_id(first) != run_id(compose_config(overrides("sd20")))
    save_tiny_pipeline("sd20", folder, seed=1)
    second = overrides("sd20", own, "shard.count=2", "shard.index=1")
    with pytest.raises(
        UserError, match=r"was started with another text_encoder/model\.safetensors"
    ):
        run(compose_config(second), progress=False)


@pytest.fixture
def hub(tmp_path: Path, place: Path) -> Path:
    """HF_HOME with the tiny sd20 in its cache, as `hf download` of a mirror leaves it."""
    cached = tmp_path / "hf" / "hub" / "models--mirror--sd2"
    shutil.copytree(place / "models" / "sd20", cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    return tmp_path / "hf"


@pytest.fixture
def from_the_hub(overrides: Overrides) -> list[str]:
    own = ["backbone.path=null", "backbone.repository=gone/sd2", "backbone.mirrors=[mirror/sd2]"]
    return overrides("sd20", *own, "dataset.limit=2", results="hub")


def test_offline_from_the_hubs_cache_through_the_command_line(
    hub: Path, from_the_hub: list[str], overrides: Overrides
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bigain", *from_the_hub],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(hub)},
    )
    assert done.returncode == 0, done.stderr
    config = compose_config(from_the_hub)
    folder = config.paths.results / "runs" / run_id(config)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["source"]["differs_from_published"]
    assert manifest["source"].pop("fingerprint")
    assert manifest["source"] == {
        "place": "cache",
        "repository": "mirror/sd2",
        "revision": "main",
        "commit": COMMIT,
        "folder": None,
        "variant": None,
    }
    from_path, _ = finished(overrides("sd20", "dataset.limit=2"))
    found = read_samples(folder).set_index("image_id")
    assert found["prediction"].equals(from_path["prediction"])


def test_a_missing_model_is_one_line_and_nothing_is_written(
    hub: Path,
    from_the_hub: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main([*from_the_hub, "backbone.revision=v9"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("backbone=sd20: no weights found (gone/sd2 at v9: not in the hub's")
    assert "mirror/sd2 at v9: the cache has no such revision of it, but main" in stderr
    assert stderr.count("\n") == 1
    assert not compose_config(from_the_hub).paths.results.exists()
