"""One network as a noise model and as a velocity model: which decisions change, which do not."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bigain.backbones.base import Backbone, PredictsNoise
from bigain.backbones.noise_schedules import Score
from bigain.data.fashion_mnist import FashionMNIST
from bigain.engine import build
from bigain.launch.compose import compose_config
from bigain.tasks.classifier import LOSSES, Classification, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol

CPU = torch.device("cpu")
IMAGES = 30


class AsVelocity(PredictsNoise):
    """A backbone that predicts noise, behind the protocol as one that predicts the velocity."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.schedule = replace(backbone.schedule, predicts="velocity")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        noise = self._backbone.predict(latents, timesteps, classes)
        abar = self._backbone.schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1).float()
        return (noise - (1 - abar).sqrt() * latents) / abar.sqrt()


@pytest.fixture(scope="module", params=["mini_unet", "mini_dit"])
def mini(request: pytest.FixtureRequest) -> Backbone:
    config = compose_config([f"backbone={request.param}"])
    return build.build_backbone(config.backbone, CPU, "float32")


def classified(
    backbone: Backbone, score: Score = "noise", images: int = 3, keep: int = 5
) -> list[Classification]:
    protocol = StagedProtocol((5, 20), (keep, 1)) if keep < 10 else StagedProtocol((5,), (1,))
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"].of(score), seed=4, batch_size=32, device=CPU
    )
    dataset = FashionMNIST(limit=images)
    latents = ((dataset[i].image_id, backbone.encode(dataset[i].image)) for i in range(images))
    return list(classifier.classify(latents))


def test_a_velocity_model_that_is_scored_by_its_noise_decides_as_the_noise_model(
    mini: Backbone,
) -> None:
    pairs = zip(classified(mini), classified(AsVelocity(mini)), strict=True)
    for own, wrapped in pairs:
        assert own.prediction == wrapped.prediction
        assert torch.allclose(own.errors, wrapped.errors, rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("score", ["velocity", "x0"])
def test_another_score_is_a_weight_of_the_timestep_for_either_model(
    mini: Backbone, score: Score
) -> None:
    """1/a for the velocity, (1 - a)/a for clean latents, a = abar_t (rivals.md 3.1, 3.4)."""
    plain = classified(mini, keep=10)
    abar = mini.schedule.alphas_cumprod[list(plain[0].timesteps)].float()[:, None]
    weight = 1 / abar if score == "velocity" else (1 - abar) / abar
    for backbone in (mini, AsVelocity(mini)):
        for own, other in zip(plain, classified(backbone, score, keep=10), strict=True):
            assert torch.allclose(other.errors, own.errors * weight, rtol=1e-3, atol=1e-6)


def test_decisions_differ_between_scores_only_where_timesteps_disagree(mini: Backbone) -> None:
    """Strong noise counts a hundred times as much in the velocity: images whose timesteps want
    different classes are decided by other timesteps.
    """
    plain = classified(mini, images=IMAGES, keep=10)
    velocity = classified(AsVelocity(mini), "velocity", images=IMAGES, keep=10)
    differ = 0
    for own, other in zip(plain, velocity, strict=True):
        assert torch.equal(own.errors.argmin(dim=1), other.errors.argmin(dim=1))
        wanted = set(own.errors.argmin(dim=1).tolist())
        assert {own.prediction, other.prediction} & wanted
        if own.prediction != other.prediction:
            differ += 1
            assert len(wanted) > 1
    assert 0 < differ < IMAGES
