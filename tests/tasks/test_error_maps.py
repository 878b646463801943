"""Error maps are those of the classifier, in the same trials, whatever the batches."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bigain.backbones.base import Backbone
from bigain.errors import UserError
from bigain.metrics.bands import BandErrors
from bigain.tasks.batches import MicroBatches
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.error_maps import BandRecorder
from bigain.tasks.protocol import StagedProtocol

CPU = torch.device("cpu")
TIMESTEPS = StagedProtocol((3,), (1,)).timesteps
LATENTS = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))


class Wave:
    """Adds a wave of frequency (0, 1) to what the denoiser returns."""

    def __call__(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return output + torch.cos(torch.pi * (torch.arange(8) + 0.5) / 8)


@contextmanager
def with_a_wave(denoiser: nn.Module) -> Iterator[None]:
    handle = denoiser.register_forward_hook(Wave())
    yield
    handle.remove()


def recorded(backbone: Backbone, batch_size: int = 64, wave: bool = True) -> list[BandErrors]:
    def operator() -> AbstractContextManager[object]:
        return with_a_wave(backbone.denoiser) if wave else nullcontext()

    batches = MicroBatches(batch_size)
    recorder = BandRecorder(backbone, TIMESTEPS, [operator], 4, batches, CPU)
    return recorder.errors(7, LATENTS, 2)


@pytest.mark.parametrize("wave", [False, True])
def test_bands_sum_to_the_errors_of_the_classifier(backbone: Backbone, wave: bool) -> None:
    protocol = StagedProtocol((3,), (1,))
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=4, batch_size=16, device=CPU
    )
    _, found = recorded(backbone, wave=wave)
    plain = next(classifier.classify([(7, LATENTS)])).errors.numpy()
    plain[:, 2] = np.inf
    wrong = [np.delete(plain, trial, axis=0).sum(axis=0).argmin() for trial in range(3)]
    with with_a_wave(backbone.denoiser) if wave else nullcontext():
        errors = next(classifier.classify([(7, LATENTS)])).errors.numpy()
    assert found.true.shape == (1, 3, 3)
    assert found.true[0].sum(axis=1) == pytest.approx(errors[:, 2], rel=1e-6)
    assert found.wrong[0].sum(axis=1) == pytest.approx(errors[range(3), wrong], rel=1e-6)


def test_a_smooth_change_is_in_the_low_band(backbone: Backbone) -> None:
    """The backbone scales what the denoiser returns by t/1000; a cosine has mean square 1/2."""
    baseline, own = recorded(backbone)
    expected = (np.array(TIMESTEPS) / 1000) ** 2 / 2
    assert own.change[0, :, 0] == pytest.approx(expected, rel=1e-5)
    assert own.change[0, :, 1:] == pytest.approx(0, abs=1e-12)
    assert own.true[0, :, 1:] == pytest.approx(baseline.true[0, :, 1:], rel=1e-5)
    assert not baseline.change.any()


def test_an_operator_without_effect_gives_exactly_the_baseline(backbone: Backbone) -> None:
    """All evaluations of both are in batches of one, so that nothing is rounded otherwise."""
    baseline, own = recorded(backbone, 1, wave=False)
    assert not own.change.any()
    assert (own.true == baseline.true).all()
    assert (own.wrong == baseline.wrong).all()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_size_does_not_matter(backbone: Backbone, batch_size: int) -> None:
    for own, other in zip(recorded(backbone), recorded(backbone, batch_size), strict=True):
        assert own.true == pytest.approx(other.true, rel=1e-5)
        assert own.wrong == pytest.approx(other.wrong, rel=1e-5)
        assert own.change == pytest.approx(other.change, rel=1e-4, abs=1e-12)


def test_an_overflow_is_one_line(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        return torch.full_like(latents, torch.inf)

    monkeypatch.setattr(backbone, "predict_noise", overflowing)
    with pytest.raises(UserError, match="image_id=7: a noise error is not finite"):
        recorded(backbone)
