"""The paper's own architectures at full size on a CPU, with seeded random weights.

Without the published weights this proves that shapes, conditions, operators and memory are right:
one classification step (one trial, a few classes) and one sampling step of SD-2.0 and DiT-XL/2-512.
"""

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

import bigain
from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.backbones.schedules import alphas_cumprod
from bigain.operators import LGTM, Operator
from bigain.tasks.classifier import DiffusionClassifier
from bigain.tasks.losses import LOSSES
from bigain.tasks.noise import keyed_noise
from bigain.tasks.protocol import StagedProtocol

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SCHEDULES: dict[str, dict[str, Any]] = {
    "sd20": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "dit_xl2_512": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
}
SITES = {"sd20": (5, 4096), "dit_xl2_512": (10, 1024)}
CLASSES = 2


class RandomBackbone:
    """A denoiser of full size behind the protocol; conditions are random but different."""

    num_classes = CLASSES

    def __init__(self, name: str, denoiser: nn.Module) -> None:
        self.hashes: dict[str, str] = {}
        self.source: dict[str, Any] = {}
        self.denoiser = denoiser
        self._name = name
        settings = {"num_train_timesteps": 1000, **SCHEDULES[name]}
        self.alphas_cumprod = alphas_cumprod(settings, "test")
        self._context = example_inputs("sd20", CLASSES)["encoder_hidden_states"]

    def condition_on(self, classes: object) -> None:
        """The conditions are fixed."""

    def encode(self, image: object) -> Tensor:
        raise NotImplementedError

    def predict_noise(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        if self._name == "sd20":
            context = self._context[classes]
            output: Tensor = self.denoiser(latents, timesteps, encoder_hidden_states=context).sample
            return output
        output = self.denoiser(latents, timestep=timesteps, class_labels=classes * 300).sample
        return output[:, :4]


@pytest.fixture(scope="module", params=list(SCHEDULES))
def named(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    torch.manual_seed(0)
    return request.param, build_denoiser(request.param)


@pytest.mark.parametrize("operator", [None, LGTM(ratio=0.7)])
def test_one_classification_step(named: tuple[str, nn.Module], operator: Operator | None) -> None:
    name, denoiser = named
    classifier = DiffusionClassifier(
        RandomBackbone(name, denoiser),
        StagedProtocol((1,), (1,)),
        LOSSES["l2"],
        seed=0,
        batch_size=2,
        device=CPU,
    )
    latents = keyed_noise(0, "image", 0, shape=(1, 4, 64, 64))
    if operator is None:
        result = classifier.classify(0, latents)
    else:
        with bigain.apply(denoiser, operator) as report:
            result = classifier.classify(0, latents)
        count, tokens = SITES[name]
        assert len(report.sites) == count
        assert {site.before for site in report.sites} == {tokens}
    assert result.errors.shape == (1, CLASSES)
    assert bool(result.errors.isfinite().all())
    assert len(set(result.errors[0].tolist())) == CLASSES, "the condition counts"
    assert result.prediction == int(result.errors[0].argmin())


@torch.inference_mode()
def test_one_sampling_step(named: tuple[str, nn.Module]) -> None:
    name, denoiser = named
    backbone = RandomBackbone(name, denoiser)
    schedulers: dict[str, Callable[..., Any]] = {
        "sd20": diffusers.EulerDiscreteScheduler,
        "dit_xl2_512": diffusers.DDIMScheduler,
    }
    scheduler = schedulers[name](**SCHEDULES[name])
    scheduler.set_timesteps(50)
    x = keyed_noise(0, "sample", 0, shape=(1, 4, 64, 64)) * scheduler.init_noise_sigma
    t = scheduler.timesteps[0]
    scaled = scheduler.scale_model_input(x, t)
    noise = backbone.predict_noise(scaled, t.long()[None], torch.tensor([0]))
    after = scheduler.step(noise, t, x).prev_sample
    assert after.shape == x.shape
    assert bool(after.isfinite().all())
    assert not torch.equal(after, x)
