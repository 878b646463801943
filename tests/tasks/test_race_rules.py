"""The published rules of a race, beside what they say by hand."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from bigain.tasks.protocol import Decision, StagedProtocol
from bigain.tasks.race_rules import HalvingRule, RaceRule, StudentRule
from bigain.tasks.racing import RacingProtocol, decide
from tests.tasks.races import drawn, ledger_of, positive, race

HALVING = HalvingRule(20, ((3, 5), (6, 3), (12, 2)))


def raced(rule: RaceRule, table: Tensor, audit: float = 0.0) -> Decision:
    return decide(RacingProtocol(rule, audit, seed=0), 0, table)


def student(p: float = 0.05, minimum: int = 5) -> StudentRule:
    return StudentRule((3, 1, 0, 2, 4, 5, 6, 7), p, minimum)


# Halving.


def test_halving_takes_79_evaluations_of_ten_classes_whatever_they_are() -> None:
    for table in drawn(positive(20), 5, 10):
        ledger = ledger_of(raced(HALVING, table))
        assert (ledger.evaluations, ledger.rounds, ledger.spent) == (79, 4, None)


def test_each_stage_of_halving_takes_its_trials_evenly() -> None:
    assert sorted(HALVING.order) == list(range(20))
    assert HALVING.order[:3] == (3, 10, 16)
    for end in HALVING.ends[:-1]:
        edges = [-1, *sorted(HALVING.order[:end]), 20]
        assert max(b - a for a, b in pairwise(edges)) <= 2 * 20 / end


def test_halving_keeps_the_smallest_sums() -> None:
    """By hand: after 2 trials the classes 0 and 3, after 4 of the grid the class 3."""
    rule = HalvingRule(4, ((2, 2),))
    table = torch.tensor([[1.0, 9, 2, 3], [1, 9, 6, 2], [4, 0, 0, 1], [4, 0, 0, 0.5]])
    assert rule.order == (1, 3, 0, 2)
    decision = raced(rule, table)
    assert decision.prediction == 3
    sums = {3: 6.5, 0: 10.0}
    assert decision.scores[0] == pytest.approx(sums[0] - sums[3])
    assert decision.scores[3] == 0
    # Class 1 has two trials: trials 1 and 3 of the grid, its difference counts twice.
    assert decision.scores[1] == pytest.approx(2 * ((9 + 0) - (2 + 0.5)))


def test_of_equal_classes_halving_keeps_the_first() -> None:
    assert raced(HALVING, torch.ones(20, 10)).prediction == 0


# Student's t.


@pytest.mark.parametrize("k", [5, 7])
def test_a_class_is_dropped_as_a_paired_t_test_says(k: int) -> None:
    errors, alive = drawn(positive(8), 1, 30, seed=2)[0][:k], torch.arange(30)
    errors[:, 10:] += 2.0
    kept, chance = student().keep(errors, alive)
    leader = int(errors.mean(dim=0).argmin())
    values = [
        stats.ttest_rel(errors[:, c], errors[:, leader], alternative="greater").pvalue
        for c in range(30)
    ]
    expected = [c for c in range(30) if c == leader or not values[c] < 0.05]
    assert kept.tolist() == expected
    assert 1 < len(expected) < 30
    assert chance is None


def test_the_t_test_begins_after_its_minimum_in_its_own_order() -> None:
    table = torch.zeros(8, 3)
    table[:, 1:] = torch.tensor([10.0, 11.0]) + 0.1 * drawn(positive(8), 1, 2)[0]
    decision = raced(student(), table)
    assert (decision.prediction, ledger_of(decision).evaluations) == (0, 15)
    assert ledger_of(decision).spent is None
    assert RacingProtocol(student(), 0.0, 0).timesteps[:2] == (437, 187)
    assert ledger_of(raced(student(minimum=8), table)).evaluations == 24


def test_equal_classes_are_not_dropped_and_a_constant_difference_is() -> None:
    table = torch.ones(8, 3)
    table[:, 2] = 2.0
    decision = raced(student(), table)
    assert (decision.prediction, ledger_of(decision).evaluations) == (0, 8 + 8 + 5)


def test_a_smaller_level_takes_more_evaluations() -> None:
    tables = drawn(positive(8), 60, 10)
    taken = [
        sum(ledger_of(raced(student(p), table)).evaluations for table in tables)
        for p in (0.05, 0.01, 1e-4)
    ]
    assert taken[0] < taken[1] < taken[2]


@pytest.mark.parametrize("rule", [student(), HALVING])
def test_what_must_not_change_a_race(rule: RaceRule) -> None:
    """A constant of each trial, the scale of all errors, and the numbers of the classes."""
    trials = len(rule.order)
    table, order = drawn(positive(trials), 1, 10, seed=5)[0], torch.randperm(10)
    plain = raced(rule, table)
    shifted = raced(rule, table + torch.linspace(-1, 2, trials)[:, None])
    scaled, permuted = raced(rule, 8 * table), raced(rule, table[:, order])
    assert shifted.prediction == scaled.prediction == plain.prediction
    assert int(order[permuted.prediction]) == plain.prediction
    assert shifted.ledger == scaled.ledger == permuted.ledger == plain.ledger


@pytest.mark.parametrize("rule", [student(), HALVING])
def test_the_audit_says_what_all_trials_say(rule: RaceRule) -> None:
    for table in drawn(positive(len(rule.order)), 20, 10):
        decision = raced(rule, table, audit=1.0)
        plain = decide(StagedProtocol((len(table),), (1,)), 0, table)
        assert ledger_of(decision).full_prediction == plain.prediction


# Weights.


def test_weights_of_the_spread_make_the_score_that_of_errors_with_spread_one() -> None:
    s, spreads = positive(8), torch.linspace(1, 4, 8).double()
    spreads = spreads / s.diagonal().sqrt()
    alike = s / s.diagonal().sqrt()[:, None] / s.diagonal().sqrt()
    for table in drawn(s, 20, 6):
        weighted = race(table * spreads[:, None], s * spreads[:, None] * spreads, 1.0, "spread")
        plain = race(table / s.diagonal().sqrt()[:, None], alike, 1.0)
        assert weighted.prediction == plain.prediction
        assert ledger_of(weighted).evaluations == ledger_of(plain).evaluations
        assert ledger_of(weighted).full_prediction == ledger_of(plain).full_prediction
        assert torch.allclose(weighted.scores, plain.scores, atol=1e-4)


def test_without_a_threshold_weights_decide_by_the_weighted_sum() -> None:
    s = torch.diag(torch.tensor([100.0, 1.0, 1.0]).double())
    table = torch.tensor([[0.0, 5.0], [1.0, 0.0], [1.0, 0.0]])
    assert race(table, s, z=math.inf).prediction == 0
    assert race(table, s, z=math.inf, weights="spread").prediction == 1
