"""The race of the classes, where its outcome is known in closed form."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain.backbones.base import Backbone
from bigain.tasks.batches import keyed_noise
from bigain.tasks.classifier import LOSSES, Classification, DiffusionClassifier
from bigain.tasks.protocol import Allocation, Ledger, StagedProtocol
from tests.tasks.races import drawn, ledger_of, positive, protocol_of, race, spent_of

CPU = torch.device("cpu")


def classify(backbone: Backbone, protocol: Allocation, batch_size: int) -> list[Classification]:
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=4, batch_size=batch_size, device=CPU
    )
    images = [(i, keyed_noise(0, "image", i, shape=(1, 1, 8, 8))) for i in range(12)]
    return list(classifier.classify(images))


def test_of_a_single_factor_two_trials_decide() -> None:
    g = torch.tensor([1.0, 3.0, 2.0, 1.0]).double()
    s = torch.outer(g, g) + 1e-6 * torch.diag(g.square())
    decision = race(torch.outer(g, torch.tensor([0.5, -1.0, 2.0]).double()), s)
    assert decision.prediction == 1
    ledger = ledger_of(decision)
    assert (ledger.evaluations, ledger.rounds) == (6, 1)
    assert ledger.spent == pytest.approx(0)


def test_without_a_threshold_it_is_the_protocol_of_one_stage(backbone: Backbone) -> None:
    protocol = protocol_of(positive(7), z=math.inf)
    staged = StagedProtocol((7,), (1,))
    pairs = zip(classify(backbone, protocol, 16), classify(backbone, staged, 16), strict=True)
    places = [protocol.timesteps.index(t) for t in staged.timesteps]
    for raced, plain in pairs:
        assert raced.prediction == plain.prediction
        assert torch.allclose(raced.errors[places], plain.errors, atol=1e-6)
        assert raced.ledger == Ledger(evaluations=70, spent=0.0, rounds=6)


def test_one_class_takes_the_minimum() -> None:
    decision = race(torch.ones(6, 1), positive(6))
    assert (decision.prediction, ledger_of(decision).evaluations) == (0, 2)


def test_equal_classes_are_never_separated_and_the_first_wins() -> None:
    table = drawn(positive(6), 1, 1)[0].expand(6, 2)
    decision = race(table, positive(6))
    assert (decision.prediction, ledger_of(decision).evaluations) == (0, 12)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.permutations(range(5)))
def test_what_must_not_change_a_race(seed: int, order: list[int]) -> None:
    """A constant of each trial, the scale of all errors, and the numbers of the classes."""
    s = positive(8, seed)
    table = drawn(s, 1, 5, seed)[0]
    plain = race(table, s)
    shifted = race(table + torch.linspace(-1, 2, 8)[:, None], s)
    scaled = race(8 * table, 64 * s)
    permuted = race(table[:, order], s)
    for other in (shifted, scaled):
        assert other.prediction == plain.prediction
        assert ledger_of(other).evaluations == ledger_of(plain).evaluations
    assert spent_of(scaled) == pytest.approx(spent_of(plain))
    assert order[permuted.prediction] == plain.prediction
    assert ledger_of(permuted).evaluations == ledger_of(plain).evaluations


def test_batches_and_shards_change_no_race(backbone: Backbone) -> None:
    protocol = protocol_of(0.01 * positive(7), audit=0.3)
    one, many = classify(backbone, protocol, 1), classify(backbone, protocol, 64)
    assert [each.prediction for each in one] == [each.prediction for each in many]
    assert [each.trials.tolist() for each in one] == [each.trials.tolist() for each in many]
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=4, batch_size=64, device=CPU
    )
    shard = [(i, keyed_noise(0, "image", i, shape=(1, 1, 8, 8))) for i in range(1, 12, 2)]
    for part, whole in zip(classifier.classify(shard), many[1::2], strict=True):
        assert torch.equal(part.errors.nan_to_num(), whole.errors.nan_to_num())
        assert part.ledger == whole.ledger


def test_scores_are_predicted_differences_to_the_winner() -> None:
    s = positive(8)
    table = drawn(s, 1, 6, seed=3)[0]
    decision = race(table, s, z=math.inf)
    sums = table.sum(dim=0)
    assert torch.allclose(decision.scores, sums - sums.min(), atol=1e-5)


def test_looks_decide_at_these_trials_alone() -> None:
    table = drawn(positive(8), 1, 6, seed=3)[0]
    assert protocol_of(positive(8), looks=(2, 5)).rule.ends == (2, 5, 8)
    assert ledger_of(race(table, positive(8), looks=(2, 5), z=math.inf)).rounds == 3


def test_audited_images_take_all_trials_and_decide_as_before() -> None:
    s = positive(8)
    tables = drawn(s, 200, 6)
    audited = [race(t, s, z=1.0, audit=0.5, image_id=i) for i, t in enumerate(tables)]
    plain = [race(t, s, z=1.0, image_id=i) for i, t in enumerate(tables)]
    fulls = [ledger_of(each).full_prediction for each in audited]
    sums = tables.float().double().sum(dim=1).argmin(dim=1).tolist()
    assert 70 < sum(each is not None for each in fulls) < 130
    assert all(full in (None, true) for full, true in zip(fulls, sums, strict=True))
    for other, each in zip(audited, plain, strict=True):
        assert other.prediction == each.prediction
        assert replace(ledger_of(other), full_prediction=None) == each.ledger
        assert torch.equal(other.scores, each.scores)
