"""What part of the trials says about the sum of all, against linear algebra and simulations."""

import pytest
import torch

from bigain.tasks.race_model import (
    RIDGE,
    WEIGHTS,
    RaceModel,
    covariance,
    fit_ratios,
    greedy_order,
    held_out_fit,
    spread_order,
)
from tests.tasks.races import drawn, model_of, positive

ONES = WEIGHTS["ones"]


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


@pytest.mark.parametrize("weights", ["ones", "spread"])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_gain_and_rest_are_those_of_a_normal_vector(k: int, weights: str) -> None:
    """Against v(Q) = w^T S w - b^T S_QQ^-1 b, each prefix the best of all next trials."""
    s = positive(6)
    model = model_of(s, weights)
    w = torch.ones(6).double() if weights == "ones" else 1 / s.diagonal().sqrt()
    assert torch.allclose(model.weights, w)

    def v(chosen: list[int]) -> float:
        b = s[chosen] @ w
        return float(w @ s @ w - b @ torch.linalg.solve(s[chosen][:, chosen], b))

    taken = list(model.order[:k])
    assert model.left(k) == pytest.approx(v(taken), abs=1e-9)
    before = taken[:-1]
    others = [trial for trial in range(6) if trial not in before]
    assert taken[-1] == min(others, key=lambda trial: v([*before, trial]))
    chosen = s[taken][:, taken]
    assert torch.allclose(chosen @ model.gains(k), s[taken] @ w)
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


def test_the_fit_is_that_of_the_weighted_score() -> None:
    """Weights that make all trials alike give what ones give for such trials."""
    s, spreads = positive(12), torch.linspace(1, 20, 12).double()
    errors = drawn(s, images=300, classes=5)
    alike = s / s.diagonal().sqrt()[:, None] / s.diagonal().sqrt()
    plain = fit_ratios(model_of(alike), errors / s.diagonal().sqrt()[:, None])
    wide = s * spreads[:, None] * spreads
    found = fit_ratios(model_of(wide, "spread"), errors * spreads[:, None])
    assert list(found.values()) == pytest.approx(list(plain.values()))


def test_the_spread_is_over_classes_and_falls_in_its_order() -> None:
    s = torch.diag(torch.tensor([1.0, 4.0, 1.0, 9.0]).double())
    assert spread_order(s) == (3, 1, 0, 2)


def test_with_few_images_more_is_unseen_than_the_model_says() -> None:
    """The order is the one that leaves least by accident, too; more images make it smaller.

    Trials are independent and alike, so all orders leave as much.
    """
    ratios = {}
    for images in (40, 600):
        found = []
        for seed in range(20):
            errors = drawn(torch.eye(12).double(), images=images, classes=3, seed=seed)
            model = RaceModel.learned(errors, ONES)
            assert torch.equal(model.s, covariance(errors))
            assert model.order == greedy_order(model.s, model.weights)
            fresh = drawn(torch.eye(12).double(), images=400, classes=3, seed=100 + seed)
            found.append(fit_ratios(model, fresh)[5])
        ratios[images] = sum(found) / len(found)
    assert ratios[40] > 1.5
    assert ratios[600] < 1.15


def test_images_that_are_held_out_fit_if_all_are_alike_and_not_if_each_is_its_own() -> None:
    alike = held_out_fit(drawn(positive(6), images=300, classes=5), ONES)
    assert list(alike) == [2, 5]
    assert max(alike.values()) < 1.15
    own = torch.cat([drawn(positive(6, seed), 1, 4, seed) for seed in range(10)])
    assert max(held_out_fit(own, ONES).values()) > 1.5
