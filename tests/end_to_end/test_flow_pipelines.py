"""SD3 and FLUX from their folders to a finished run, with tiny weights in their place.

The result is held against a loop over images, classes and trials written with diffusers alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from bigain.cli.main import main
from bigain.config import RunConfig
from bigain.data.images import UnreadableImage
from bigain.engine import build
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.identity import describing_columns, run_id
from bigain.runs.samples import read_samples
from bigain.tasks.batches import keyed_noise
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny

CPU = torch.device("cpu")
NAMES = ["sd3_medium", "flux_dev"]
TRIALS = [250, 750]
SIDE = 64
Compose = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`<backbone>` and `pets`; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("flow")
    for name in NAMES:
        save_tiny_pipeline(name, folder / name)
    write_tiny("pets", folder / "pets")
    return folder


@pytest.fixture
def overrides(place: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def made(name: str, *more: str, results: str = "results") -> list[str]:
        return [
            *(f"backbone={name}", f"backbone.path={place / name}", f"backbone.image_side={SIDE}"),
            *("dataset=pets", f"dataset.root={place / 'pets'}", "dataset.limit=2"),
            *("task.trial_list=[2]", "task.keep_list=[1]", "cache.latents=false"),
            *(f"paths.results={tmp_path / results}", *more),
        ]

    return made


def pixels(image: np.ndarray[Any, Any]) -> torch.Tensor:
    opened = Image.fromarray(image).convert("RGB")
    width, height = opened.size
    shorter = min(width, height)
    size = (SIDE * width // shorter, SIDE * height // shorter)
    opened = opened.resize(size, Image.Resampling.BICUBIC)
    left, top = (round((side - SIDE) / 2) for side in opened.size)
    square = np.array(opened.crop((left, top, left + SIDE, top + SIDE)))
    return torch.from_numpy(square).permute(2, 0, 1)[None] / 127.5 - 1


class Plain:
    """The errors of the velocity, one evaluation at a time."""

    def __init__(self, folder: Path, name: str, prompts: tuple[str, ...], shift: float) -> None:
        load: Any = diffusers.DiffusionPipeline.from_pretrained
        self.pipeline, self.name, self.shift = load(folder, use_safetensors=True), name, shift
        texts = list(prompts)
        if name == "flux_dev":
            self.context, self.pooled, self.words = self.pipeline.encode_prompt(
                texts, texts, device=CPU
            )
        else:
            self.context, _, self.pooled, _ = self.pipeline.encode_prompt(
                texts, texts, texts, device=CPU, do_classifier_free_guidance=False
            )

    def velocity(self, x: torch.Tensor, s: float, c: int) -> torch.Tensor:
        given = {
            "encoder_hidden_states": self.context[c][None],
            "pooled_projections": self.pooled[c][None],
        }
        transformer = self.pipeline.transformer
        if self.name != "flux_dev":
            found: torch.Tensor = transformer(x, timestep=torch.tensor([1000 * s]), **given).sample
            return found
        pipeline: Any = diffusers.FluxPipeline
        tokens = transformer(
            pipeline._pack_latents(x, 1, 4, 8, 8),
            timestep=torch.tensor([s]),
            guidance=torch.ones(1),
            txt_ids=self.words,
            img_ids=pipeline._prepare_latent_image_ids(1, 4, 4, CPU, torch.float32),
            **given,
        ).sample
        unpacked: torch.Tensor = pipeline._unpack_latents(tokens, SIDE, SIDE, 8)
        return unpacked

    def errors(self, image_id: int, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Mean squared errors of the velocity, (trials, classes)."""
        encoded = self.pipeline.vae.encode(pixels(image)).latent_dist.mean
        x0 = (encoded - 0.0609) * 1.5305
        found = np.empty((len(TRIALS), len(self.context)))
        for row, t in enumerate(TRIALS):
            u = t / 1000
            s = self.shift * u / (1 + (self.shift - 1) * u)
            eps = keyed_noise(0, "classification", image_id, t, shape=tuple(x0.shape))
            for c in range(len(self.context)):
                v = self.velocity((1 - s) * x0 + s * eps, s, c)
                found[row, c] = float((v - (eps - x0)).square().mean())
        return found


@pytest.mark.parametrize(("name", "shift"), [("sd3_medium", 3.0), ("flux_dev", None)])
@torch.inference_mode()
def test_a_run_equals_the_plain_loop(
    overrides: Callable[..., list[str]], place: Path, name: str, shift: float | None
) -> None:
    config = compose_config(overrides(name, "batch_size=7"))
    outcome = run(config, progress=False)
    samples = read_samples(outcome.folder).set_index("image_id")
    dataset = build.build_dataset(config.dataset)
    shift = shift or float(np.exp(0.5 + 0.65 * (16 - 256) / 3840))
    plain = Plain(place / name, name, dataset.prompts, shift)
    compared = 0
    for position in range(len(dataset)):
        sample = dataset[position]
        try:
            errors = plain.errors(sample.image_id, sample.image)
        except UnreadableImage:
            continue
        row = samples.loc[sample.image_id]
        assert np.allclose(row["scores"], errors.mean(axis=0), rtol=1e-5, atol=0)
        assert row["prediction"] == int(np.argmin(errors.mean(axis=0)))
        compared += 1
    assert compared >= 1


def test_the_noise_score_weighs_each_timestep_by_the_square_of_one_minus_its_level(
    overrides: Callable[..., list[str]],
) -> None:
    """(1 - s)^2 E_v with one trial, so whole scores can be compared (rivals.md 3.1)."""
    one = ("task.trial_list=[1]", "backbone.schedule=uniform")
    found = {}
    for score in ("velocity", "noise", "x0"):
        command = overrides("sd3_medium", *one, f"task.score={score}", "dataset.limit=1")
        outcome = run(compose_config(command), progress=False)
        found[score] = np.array(read_samples(outcome.folder)["scores"][0])
    assert np.allclose(found["noise"], 0.25 * found["velocity"], rtol=1e-4)
    assert np.allclose(found["x0"], 0.25 * found["velocity"], rtol=1e-4)


def test_the_command_line_runs_both_and_says_what_tells_them_apart(
    overrides: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    command = overrides("flux_dev", "backbone.guidance=3.5", "task.trial_list=[1]")
    assert main(command) == 0
    config = compose_config(command)
    assert run_id(config) in capsys.readouterr().out
    told = describing_columns(config)["settings"]
    assert told == (
        "task.score=velocity backbone.schedule=shifted backbone.guidance=3.5 backbone.image_side=64"
    )
    assert run_id(config) != run_id(compose_config([*command, "backbone.guidance=1"]))
    assert run_id(config) != run_id(compose_config([*command, "task.score=noise"]))


def test_merging_changes_the_errors_of_sd3_whatever_the_batch(
    overrides: Callable[..., list[str]],
) -> None:
    def scores(*more: str, results: str) -> np.ndarray[Any, Any]:
        command = overrides("sd3_medium", "dataset.limit=1", *more, results=results)
        outcome = run(compose_config(command), progress=False)
        return np.array(read_samples(outcome.folder)["scores"][0])

    tome = ("operator=tome", "operator.ratio=0.5")
    merged, again = (scores(*tome, f"batch_size={n}", results=f"of {n}") for n in (5, 32))
    assert np.allclose(merged, again, rtol=0, atol=1e-5)
    assert not np.allclose(merged, scores(results="none"), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "operator", "told"),
    [
        ("flux_dev", "dip_go", "none, because backbone=flux_dev has blocks of image and text"),
        ("flux_dev", "tome", "none, because backbone=flux_dev turns queries and keys by one table"),
        ("sd3_medium", "todo", "one that merges tokens, such as tome or lgtm, because backbone=sd"),
        ("sd3_medium", "lgtm_enc_ie_kvd_dec", "on a backbone with encoder and decoder, such as"),
    ],
)
def test_an_operator_without_a_place_is_refused_by_name_before_anything_is_loaded(
    overrides: Callable[..., list[str]], name: str, operator: str, told: str
) -> None:
    command = overrides(name, f"operator={operator}", "backbone.path=/nowhere")
    with pytest.raises(UserError, match=f"^operator={operator}: allowed: {told}"):
        run(compose_config(command), progress=False)
