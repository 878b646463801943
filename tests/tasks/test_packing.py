"""The classifier's batches: filled with several images, all of one size."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.devices import Fetched
from bigain.errors import UserError
from bigain.tasks.batches import keyed_noise
from bigain.tasks.classifier import LOSSES, Classification, DiffusionClassifier
from bigain.tasks.evaluations import Batch
from bigain.tasks.packing import Filled, Packed, Separate, Waiting, WholeTrials
from bigain.tasks.protocol import StagedProtocol

CPU = torch.device("cpu")


def make(
    backbone: Backbone,
    batch_size: int,
    *,
    packing: Callable[[], Waiting] = Packed,
) -> DiffusionClassifier:
    return DiffusionClassifier(
        backbone,
        StagedProtocol((2, 7), (5, 1)),  # 20 evaluations of an image, then 25
        LOSSES["l2"],
        seed=4,
        batch_size=batch_size,
        device=CPU,
        packing=packing,
    )


def images(count: int) -> Iterator[tuple[int, Tensor]]:
    for image_id in range(count):
        yield image_id, keyed_noise(0, "image", image_id, shape=(1, 1, 8, 8))


def sizes(backbone: Backbone) -> list[int]:
    """Of each forward from now on."""
    seen: list[int] = []
    original = backbone.predict

    def spy(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        seen.append(len(latents))
        return original(latents, timesteps, classes)

    backbone.predict = spy  # type: ignore[method-assign]
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
    assert seen == [32] * (8 * 20 // 32 + -(-8 * 25 // 32))


def batches(
    backbone: Backbone,
    monkeypatch: pytest.MonkeyPatch,
    trials: tuple[int, ...],
    keep: tuple[int, ...],
    packing: Callable[[], Waiting] = Packed,
) -> list[Batch]:
    """Those of eight images, of at most 32 rows."""
    seen: list[Batch] = []
    original = DiffusionClassifier._launch

    def spy(self: DiffusionClassifier, batch: Batch, *contexts: Any) -> Fetched:
        seen.append(batch)
        return original(self, batch, *contexts)

    monkeypatch.setattr(DiffusionClassifier, "_launch", spy)
    protocol = StagedProtocol(trials, keep)
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=4, batch_size=32, device=CPU, packing=packing
    )
    assert len(list(classifier.classify(images(8)))) == 8
    return seen


def test_all_batches_with_the_same_number_of_classes_count_as_many_trials(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = batches(backbone, monkeypatch, (2, 7), (5, 1))
    counts = {(len(b.parts[0].work.round.classes), b.distinct) for b in seen}
    assert counts == {(10, 5), (5, 8)}, "32 rows touch at most 5 trials of ten, 8 of five"
    assert all(len(b.trials.unique_consecutive()) <= (b.distinct or 0) for b in seen)


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
    assert max(in_flight) <= 3


def test_a_trial_with_more_classes_than_fit_is_cut(backbone: Backbone) -> None:
    seen = sizes(backbone)
    cut = list(make(backbone, 4).classify(images(2)))
    assert set(seen) == {4}
    for found, expected in zip(cut, make(backbone, 64).classify(images(2)), strict=True):
        assert torch.allclose(found.errors, expected.errors, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("size", [1, 7, 32, 500])
def test_races_share_batches_whatever_their_numbers_of_classes(
    backbone: Backbone, size: int
) -> None:
    seen = sizes(backbone)
    filled = make(backbone, size, packing=Filled)
    found = list(filled.classify(images(6)))
    assert sum(seen) == 6 * 45, "nothing is filled up"
    assert max(seen) <= size
    for result, expected in zip(found, make(backbone, 64).classify(images(6)), strict=True):
        assert torch.allclose(result.errors, expected.errors, atol=1e-6, equal_nan=True)


def test_images_without_latents_have_their_place(backbone: Backbone) -> None:
    """And those at the front are there before any other image is waited for."""
    given: list[int] = []

    def noted() -> Iterator[tuple[int, Tensor | None]]:
        for image_id, latents in images(6):
            given.append(image_id)
            yield image_id, None if image_id in (0, 1, 4) else latents

    results = make(backbone, 8).classify(noted())
    assert next(results) is next(results) is None
    assert given == [0, 1]
    assert [result is None for result in results] == [False, False, True, False]
    assert list(make(backbone, 8).classify((i, None) for i in range(3))) == [None] * 3


def test_draws_per_forward_have_one_image_and_stage_in_a_batch(backbone: Backbone) -> None:
    seen = sizes(backbone)
    list(make(backbone, 16, packing=Separate).classify(images(2)))
    assert seen == [16, 4, 16, 9] * 2


def test_a_trial_with_all_its_classes_is_in_one_batch(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight images: 20 evaluations of each with ten classes, then 25 with five."""
    seen = batches(backbone, monkeypatch, (2, 7), (5, 1), WholeTrials)
    kinds = [(len(batch.parts[0].work.round.classes), len(batch)) for batch in seen]
    assert kinds.count((10, 30)) == -(-8 * 2 // 3)
    assert kinds.count((5, 30)) == len(seen) - kinds.count((10, 30)) == -(-8 * 5 // 6)
    for batch in seen:
        classes = len(batch.parts[0].work.round.classes)
        _, rows = batch.trials.unique_consecutive(return_counts=True)
        assert rows.tolist() == [classes] * (30 // classes)
        for trial in batch.classes.split(classes):
            assert tuple(trial.tolist()) in {part.work.round.classes for part in batch.parts}
        same = batch.trials[1:] == batch.trials[:-1]
        assert torch.equal(batch.noisy[1:][same], batch.noisy[:-1][same])


@pytest.mark.parametrize("size", [10, 20, 37])
def test_whole_trials_give_the_same_whatever_the_batch_size(backbone: Backbone, size: int) -> None:
    found = list(make(backbone, size, packing=WholeTrials).classify(images(6)))
    for result, expected in zip(found, make(backbone, 64).classify(images(6)), strict=True):
        assert torch.allclose(result.errors, expected.errors, atol=1e-6, equal_nan=True)


def test_a_batch_without_room_for_all_classes_is_refused(backbone: Backbone) -> None:
    with pytest.raises(UserError, match=r"^batch_size=9: allowed: at least 10, .*plan=shared"):
        next(make(backbone, 9, packing=WholeTrials).classify(images(1)))
