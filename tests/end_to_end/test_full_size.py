"""The paper's own architectures at full size on a CPU, with seeded random weights.

Without the published weights this proves that shapes, conditions, operators and memory are right:
one classification step (one trial, a few classes) and one sampling step of SD-2.0 and DiT-XL/2-512.
"""

from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import bigain
from bigain.backbones.base import PredictsNoise
from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.backbones.noise_schedules import variance_preserving
from bigain.backbones.schedules import alphas_cumprod
from bigain.operators import LGTM, Operator
from bigain.tasks.batches import keyed_noise
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol
from bigain.tasks.sampling import Sampler

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SCHEDULES: dict[str, dict[str, Any]] = {
    "sd20": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "dit_xl2_512": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
}
SITES = {"sd20": (5, 4096), "dit_xl2_512": (10, 1024)}
CLASSES = 2


class RandomBackbone(PredictsNoise):
    """A denoiser of full size behind the protocol; conditions are random but different."""

    num_classes = CLASSES
    null_class = 0
    latent_shape = (4, 64, 64)

    def __init__(self, name: str, denoiser: nn.Module) -> None:
        self.encoder_hidden_states: Tensor | None = None
        self.hashes: dict[str, str] = {}
        self.source: dict[str, Any] = {}
        self.denoiser = denoiser
        self._name = name
        settings = {"num_train_timesteps": 1000, **SCHEDULES[name]}
        self.schedule = variance_preserving(alphas_cumprod(settings, "test"))
        self._context = example_inputs("sd20", CLASSES)["encoder_hidden_states"]

    def condition_on(self, classes: object) -> None:
        """The conditions are fixed."""

    def encode(self, image: object) -> Tensor:
        raise NotImplementedError

    def decode(self, latents: object) -> npt.NDArray[np.uint8]:
        raise NotImplementedError

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
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
        result = next(classifier.classify([(0, latents)]))
    else:
        with bigain.apply(denoiser, operator) as report:
            result = next(classifier.classify([(0, latents)]))
        count, tokens = SITES[name]
        assert len(report.sites) == count
        assert {site.before for site in report.sites} == {tokens}
    assert result.errors.shape == (1, CLASSES)
    assert bool(result.errors.isfinite().all())
    assert len(set(result.errors[0].tolist())) == CLASSES, "the condition counts"
    assert result.prediction == int(result.errors[0].argmin())


@pytest.mark.parametrize("operator", [None, LGTM(ratio=0.7)])
def test_one_sampling_step(named: tuple[str, nn.Module], operator: Operator | None) -> None:
    """With guidance: the condition and nothing in one forward of two rows."""
    name, denoiser = named
    sampler = Sampler(
        RandomBackbone(name, denoiser),
        scheduler={"sd20": "euler", "dit_xl2_512": "ddim"}[name],
        steps=1,
        guidance_scale=7.5,
        seed=0,
        images_per_forward=1,
        device=CPU,
    )
    with nullcontext() if operator is None else bigain.apply(denoiser, operator):
        latents = sampler.sample(torch.tensor([0]), torch.tensor([1]))
    assert latents.shape == (1, 4, 64, 64)
    assert bool(latents.isfinite().all())
    assert not torch.equal(latents, sampler.initial_noise(torch.tensor([0])))
