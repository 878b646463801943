"""The classifier's batches: filled with several images, all of one size."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.devices import Fetched
from bigain.patching.sharing import Sharing
from bigain.tasks.batches import keyed_noise
from bigain.tasks.classifier import LOSSES, Classification, DiffusionClassifier
from bigain.tasks.evaluations import Batch
from bigain.tasks.protocol import StagedProtocol

CPU = torch.device("cpu")


def make(backbone: Backbone, batch_size: int, *, per_forward: bool = False) -> DiffusionClassifier:
    return DiffusionClassifier(
        backbone,
        StagedProtocol((2, 7), (5, 1)),  # 20 evaluations of an image, then 25
        LOSSES["l2"],
        seed=4,
        batch_size=batch_size,
        device=CPU,
        draws_per_forward=per_forward,
    )


def images(count: int) -> Iterator[tuple[int, Tensor]]:
    for image_id in range(count):
        yield image_id, keyed_noise(0, "image", image_id, shape=(1, 1, 8, 8))


def sizes(backbone: Backbone) -> list[int]:
    """Of each forward from now on."""
    seen: list[int] = []
    original = backbone.predict_noise

    def spy(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        seen.append(len(latents))
        return original(latents, timesteps, classes)

    backbone.predict_noise = spy  # type: ignore[method-assign]
    return seen


def same(found: list[Classification], expected: list[Classification]) -> bool:
    pairs = list(zip(found, expected, strict=True))
    return all(
        a.prediction == b.prediction and torch.equal(a.errors.nan_to_num(), b.errors.nan_to_num())
        for a, b in pairs
    )


def test_batches_are_full_and_only_the_last_images_leave_room(backbone: Backbone) -> None:
    seen = sizes(backbone)
    found = list(make(backbone, 32).classify(images(8)))
    assert len(found) == 8
    assert seen == [30] * (-(-8 * 2 // 3) + -(-8 * 5 // 6))  # three trials of ten, six of five


def batches(
    backbone: Backbone,
    monkeypatch: pytest.MonkeyPatch,
    trials: tuple[int, ...],
    keep: tuple[int, ...],
) -> list[Batch]:
    """Those of eight images."""
    seen: list[Batch] = []
    original = DiffusionClassifier._launch

    def spy(self: DiffusionClassifier, batch: Batch, sharing: Sharing) -> Fetched:
        seen.append(batch)
        return original(self, batch, sharing)

    monkeypatch.setattr(DiffusionClassifier, "_launch", spy)
    protocol = StagedProtocol(trials, keep)
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=4, batch_size=32, device=CPU
    )
    assert len(list(classifier.classify(images(8)))) == 8
    return seen


def test_all_batches_have_as_many_distinct_latents(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = batches(backbone, monkeypatch, (2, 7), (5, 1))
    counts = {(len(b.classes.unique()), len(b.trials.unique_consecutive())) for b in seen}
    assert {distinct for _, distinct in counts} == {3, 6}


def test_rows_that_count_as_equal_are_equal(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages that keep all ten classes share batches, and have different numbers of trials."""
    for batch in batches(backbone, monkeypatch, (2, 7), (10, 1)):
        same = batch.trials[1:] == batch.trials[:-1]
        assert torch.equal(batch.noisy[1:][same], batch.noisy[:-1][same])
        assert torch.equal(batch.timesteps[1:][same], batch.timesteps[:-1][same])


def test_an_evaluation_does_not_depend_on_what_else_is_in_its_batch(backbone: Backbone) -> None:
    whole = list(make(backbone, 32).classify(images(6)))
    alone = [next(make(backbone, 32).classify([image])) for image in images(6)]
    rest = list(make(backbone, 32).classify(list(images(6))[3:]))
    assert same(whole, alone)
    assert same(whole[3:], rest)


@pytest.mark.parametrize("ahead", [1, 3])
def test_launching_ahead_of_the_errors_changes_no_result(backbone: Backbone, ahead: int) -> None:
    classifier = make(backbone, 16)
    expected = list(classifier.classify(images(5)))
    classifier._ahead = ahead
    assert same(list(classifier.classify(images(5))), expected)


def test_images_begin_only_when_a_batch_has_room(backbone: Backbone) -> None:
    begun: list[int] = []

    def noted() -> Iterator[tuple[int, Tensor]]:
        for image_id, latents in images(9):
            begun.append(image_id)
            yield image_id, latents

    in_flight = [len(begun) - done for done, _ in enumerate(make(backbone, 8).classify(noted()))]
    assert max(in_flight) <= 2


def test_a_trial_with_more_classes_than_fit_is_cut(backbone: Backbone) -> None:
    seen = sizes(backbone)
    cut = list(make(backbone, 4).classify(images(2)))
    assert set(seen) == {4}
    for found, expected in zip(cut, make(backbone, 64).classify(images(2)), strict=True):
        assert torch.allclose(found.errors, expected.errors, atol=1e-6, equal_nan=True)


def test_draws_per_forward_have_one_image_and_stage_in_a_batch(backbone: Backbone) -> None:
    seen = sizes(backbone)
    list(make(backbone, 16, per_forward=True).classify(images(2)))
    assert seen == [16, 4, 16, 9] * 2
