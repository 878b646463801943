"""The race of the classes, where its outcome is known in closed form."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.tasks import racing
from bigain.tasks.batches import keyed_noise
from bigain.tasks.classifier import LOSSES, Classification, DiffusionClassifier
from bigain.tasks.protocol import Allocation, Decision, Ledger, StagedProtocol
from bigain.tasks.race_model import (
    RIDGE,
    RaceModel,
    covariance,
    fit_ratios,
    greedy_order,
    held_out_fit,
)
from bigain.tasks.racing import RaceRule, RacingProtocol

RULE = RaceRule(z=2.54, minimum=2, looks=None, audit=0.0)
NEVER = replace(RULE, z=math.inf)
CPU = torch.device("cpu")


def positive(trials: int, seed: int = 0) -> Tensor:
    """A covariance without structure."""
    root = torch.randn(trials, trials, generator=torch.Generator().manual_seed(seed)).double()
    return root @ root.T + 0.1 * torch.eye(trials)


def model_of(s: Tensor) -> RaceModel:
    """The model whose order is that of its covariance."""
    return RaceModel(s, greedy_order(s))


def drawn(s: Tensor, images: int, classes: int, seed: int = 0) -> Tensor:
    """Errors with covariance `s`, shape (images, trials, classes)."""
    root = torch.linalg.cholesky(s)
    generator = torch.Generator().manual_seed(seed)
    plain = torch.randn(images, len(s), classes, generator=generator, dtype=torch.float64)
    errors: Tensor = root @ plain
    return errors


def race(table: Tensor, s: Tensor, rule: RaceRule = RULE, image_id: int = 0) -> Decision:
    """The decision about one image whose errors, on the grid, are `table` (trials, classes)."""
    protocol = RacingProtocol(model_of(s), rule, seed=0)
    ordered = table[list(protocol.model.order)].float()
    errors = torch.full_like(ordered, math.nan)
    rounds = protocol.rounds(image_id, errors)
    try:
        while True:
            trials, classes = next(rounds)
            rows = slice(trials.start, trials.stop)
            errors[rows, list(classes)] = ordered[rows, list(classes)]
    except StopIteration as end:
        decision: Decision = end.value
        return decision


def ledger_of(decision: Decision) -> Ledger:
    assert decision.ledger is not None
    return decision.ledger


def classify(backbone: Backbone, protocol: Allocation, batch_size: int) -> list[Classification]:
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=4, batch_size=batch_size, device=CPU
    )
    images = [(i, keyed_noise(0, "image", i, shape=(1, 1, 8, 8))) for i in range(12)]
    return list(classifier.classify(images))


# What part of the trials says about the sum of all.


def test_independent_trials_are_taken_by_falling_variance_and_say_nothing_of_each_other() -> None:
    model = model_of(torch.diag(torch.tensor([1.0, 4.0, 2.0, 0.5]).double()))
    assert model.order == (1, 2, 0, 3)
    assert model.gains(2).tolist() == [1.0, 1.0]
    assert [model.left(k) for k in (1, 2, 3, 4)] == [3.5, 1.5, 0.5, 0.0]


def test_equal_trials_are_taken_in_their_order() -> None:
    assert model_of(torch.eye(5).double()).order == (0, 1, 2, 3, 4)


def test_of_a_single_factor_one_trial_says_all() -> None:
    g = torch.tensor([1.0, 3.0, 2.0]).double()
    model = model_of(torch.outer(g, g) + 1e-9 * torch.eye(3))
    assert model.order[0] == 1
    assert model.left(1) < 1e-8
    assert model.gains(1).item() == pytest.approx(6 / 3)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_gain_and_rest_are_those_of_a_normal_vector(k: int) -> None:
    """Against v(Q) = 1^T S 1 - b^T S_QQ^-1 b, each prefix the best of all next trials."""
    s = positive(6)
    model = model_of(s)

    def v(chosen: list[int]) -> float:
        b = s[chosen].sum(dim=1)
        return float(s.sum() - b @ torch.linalg.solve(s[chosen][:, chosen], b))

    taken = list(model.order[:k])
    assert model.left(k) == pytest.approx(v(taken), abs=1e-9)
    before = taken[:-1]
    others = [trial for trial in range(6) if trial not in before]
    assert taken[-1] == min(others, key=lambda trial: v([*before, trial]))
    chosen = s[taken][:, taken]
    assert torch.allclose(chosen @ model.gains(k), s[taken].sum(dim=1))
    assert torch.allclose(chosen @ model.precision(k), torch.eye(k).double(), atol=1e-8)


def test_after_all_trials_the_sum_is_known() -> None:
    model = model_of(positive(6))
    assert model.left(6) == 0
    assert torch.allclose(model.gains(6), torch.ones(6).double())


def test_covariance_is_that_of_the_errors_without_what_classes_share() -> None:
    s = positive(4)
    errors = drawn(s, images=4000, classes=6)
    shared = torch.randn(4000, 4, 1, dtype=torch.float64)
    found = covariance(errors + 100 * shared)
    assert torch.allclose(found, s + RIDGE * torch.diag(s.diagonal()), rtol=0.06, atol=0.06)
    assert torch.allclose(found, covariance(errors), atol=1e-9)


def test_the_fit_of_the_right_covariance_is_one_and_of_a_quarter_is_four() -> None:
    s = positive(12)
    errors = drawn(s, images=2000, classes=5)
    right, wrong = fit_ratios(model_of(s), errors), fit_ratios(model_of(s / 4), errors)
    assert list(right) == [2, 5, 10]
    assert list(right.values()) == pytest.approx([1, 1, 1], abs=0.06)
    assert list(wrong.values()) == pytest.approx([4 * each for each in right.values()])


def test_with_few_images_more_is_unseen_than_the_model_says() -> None:
    """The order is the one that leaves least by accident, too; more images make it smaller.

    Trials are independent and alike, so all orders leave as much.
    """
    ratios = {}
    for images in (40, 600):
        found = []
        for seed in range(20):
            errors = drawn(torch.eye(12).double(), images=images, classes=3, seed=seed)
            model = RaceModel.learned(errors)
            assert torch.equal(model.s, covariance(errors))
            assert model.order == greedy_order(model.s)
            fresh = drawn(torch.eye(12).double(), images=400, classes=3, seed=100 + seed)
            found.append(fit_ratios(model, fresh)[5])
        ratios[images] = sum(found) / len(found)
    assert ratios[40] > 1.5
    assert ratios[600] < 1.15


def test_images_that_are_held_out_fit_if_all_are_alike_and_not_if_each_is_its_own() -> None:
    alike = held_out_fit(drawn(positive(6), images=300, classes=5))
    assert list(alike) == [2, 5]
    assert max(alike.values()) < 1.15
    own = torch.cat([drawn(positive(6, seed), 1, 4, seed) for seed in range(10)])
    assert max(held_out_fit(own).values()) > 1.5


# The race.


def test_of_a_single_factor_two_trials_decide() -> None:
    g = torch.tensor([1.0, 3.0, 2.0, 1.0]).double()
    s = torch.outer(g, g) + 1e-6 * torch.diag(g.square())
    decision = race(torch.outer(g, torch.tensor([0.5, -1.0, 2.0]).double()), s)
    assert decision.prediction == 1
    ledger = ledger_of(decision)
    assert (ledger.evaluations, ledger.rounds) == (6, 1)
    assert ledger.spent == pytest.approx(0)


def test_without_a_threshold_it_is_the_protocol_of_one_stage(backbone: Backbone) -> None:
    protocol = RacingProtocol(model_of(positive(7)), NEVER, seed=0)
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


@settings(max_examples=30, deadline=None)
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
    assert ledger_of(scaled).spent == pytest.approx(ledger_of(plain).spent)
    assert order[permuted.prediction] == plain.prediction
    assert ledger_of(permuted).evaluations == ledger_of(plain).evaluations


def test_batches_and_shards_change_no_race(backbone: Backbone) -> None:
    protocol = RacingProtocol(model_of(0.01 * positive(7)), replace(RULE, audit=0.3), seed=0)
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


def test_reversed_decisions_are_as_many_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes of known scale: `spent` is the chance of another decision, not a bound."""
    monkeypatch.setattr(racing, "_PRIOR_WEIGHT", 1e12)
    s = positive(5)
    found = []
    for table in drawn(s, 1500, 2):
        decision = race(table, s, replace(RULE, z=1.0, minimum=1))
        is_other = decision.prediction != int(table.sum(dim=0).argmin())
        found.append(is_other - ledger_of(decision).spent)
    differences = torch.tensor(found)
    error = float(differences.std()) / len(found) ** 0.5
    assert abs(float(differences.mean())) < 3 * error
    assert sum(each > 0 for each in found) > 20


def test_ten_classes_are_reversed_less_often_than_promised() -> None:
    s = positive(8)
    spent, others, evaluations = 0.0, 0, 0
    for table in drawn(s, 200, 10):
        decision = race(table, s, replace(RULE, z=1.5))
        spent += ledger_of(decision).spent
        evaluations += ledger_of(decision).evaluations
        others += decision.prediction != int(table.sum(dim=0).argmin())
    assert 0 < others < spent
    assert evaluations < 200 * 80 * 0.8


def test_of_two_classes_with_heavy_tails_more_are_reversed_than_promised() -> None:
    """One difference of two classes cannot tell the scale of its image: a limit of the method."""
    s, freedom = positive(5), 3
    normal = torch.randn(1000, freedom, generator=torch.Generator().manual_seed(1)).double()
    scales = (freedom / normal.square().sum(dim=1)).sqrt()
    spent, others = 0.0, 0
    for table in drawn(s, 1000, 2) * scales[:, None, None]:
        decision = race(table, s, replace(RULE, z=2.0))
        spent += ledger_of(decision).spent
        others += decision.prediction != int(table.sum(dim=0).argmin())
    assert others > 2 * spent > 0


def test_scores_are_predicted_differences_to_the_winner() -> None:
    s = positive(8)
    table = drawn(s, 1, 6, seed=3)[0]
    decision = race(table, s, NEVER)
    sums = table.sum(dim=0)
    assert torch.allclose(decision.scores, sums - sums.min(), atol=1e-5)


def test_looks_decide_at_these_trials_alone() -> None:
    rule = replace(RULE, looks=(2, 5))
    table = drawn(positive(8), 1, 6, seed=3)[0]
    assert rule.ends(8) == (2, 5, 8)
    assert ledger_of(race(table, positive(8), replace(rule, z=math.inf))).rounds == 3


def test_audited_images_take_all_trials_and_decide_as_before() -> None:
    s = positive(8)
    tables = drawn(s, 200, 6)
    audited = [race(t, s, replace(RULE, z=1.0, audit=0.5), i) for i, t in enumerate(tables)]
    plain = [race(t, s, replace(RULE, z=1.0), i) for i, t in enumerate(tables)]
    fulls = [ledger_of(each).full_prediction for each in audited]
    sums = tables.float().double().sum(dim=1).argmin(dim=1).tolist()
    assert 70 < sum(each is not None for each in fulls) < 130
    assert all(full in (None, true) for full, true in zip(fulls, sums, strict=True))
    for other, each in zip(audited, plain, strict=True):
        assert other.prediction == each.prediction
        assert replace(ledger_of(other), full_prediction=None) == each.ledger
        assert torch.equal(other.scores, each.scores)
