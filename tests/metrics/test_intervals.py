"""Intervals and paired comparisons against scipy and statsmodels, and by their coverage."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from bigain.errors import UserError
from bigain.metrics.intervals import (
    PairedResult,
    holm,
    mean_interval,
    paired_accuracy,
    paired_bootstrap,
    paired_difference,
    relative_rise,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 400), (400, 400), (1, 7), (823, 1000), (5, 10_000)]
)
def test_wilson_equals_statsmodels(successes: int, n: int) -> None:
    expected = proportion_confint(successes, n, alpha=0.05, method="wilson")
    assert wilson(successes, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"successes={successes}, n={n}"):
        wilson(successes, n)


def test_mean_interval_equals_scipy() -> None:
    values = np.random.default_rng(0).normal(3, 2, 25)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx(tuple(expected))


def test_mean_interval_of_too_few_values_does_not_exist() -> None:
    assert all(math.isnan(end) for end in mean_interval([1.0]))
    assert all(math.isnan(end) for end in mean_interval([]))


# Two runs over the same images.

RNG = np.random.default_rng(20)
COMPARISONS = [paired_difference, paired_accuracy, relative_rise, paired_bootstrap]


def series(values: object, first: int = 0) -> "pd.Series[float]":
    array = np.asarray(values)
    return pd.Series(array, index=range(first, first + len(array)))


def counts(both: int, gains: int, losses: int, neither: int) -> PairedResult:
    a = [True] * both + [True] * gains + [False] * losses + [False] * neither
    b = [True] * both + [False] * gains + [True] * losses + [False] * neither
    return paired_accuracy(series(a), series(b))


def test_difference_equals_the_paired_t_test() -> None:
    a, b = RNG.normal(1.1, 1, 40), RNG.normal(1, 1, 40)
    expected = stats.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    result = paired_difference(series(a), series(b))
    assert result.mean == pytest.approx(np.mean(a - b))
    assert (result.ci_low, result.ci_high) == pytest.approx((low, high))
    assert result.z == pytest.approx(expected.statistic)
    assert result.p == pytest.approx(expected.pvalue)
    assert result.n == 40


def test_equal_runs_differ_by_nothing() -> None:
    values = series(RNG.uniform(0.1, 0.2, 30))
    for result in (paired_difference(values, values), relative_rise(values, values)):
        assert result == PairedResult(mean=0.0, ci_low=0.0, ci_high=0.0, z=0.0, p=1.0, n=30)


def test_a_constant_difference_is_infinitely_significant() -> None:
    result = paired_difference(series([2.0, 3.0, 4.0]), series([3.0, 4.0, 5.0]))
    assert (result.mean, result.z, result.p) == (-1.0, -math.inf, 0.0)


def test_one_image_gives_an_estimate_without_interval() -> None:
    for result in (
        paired_difference(series([2.0]), series([1.0])),
        relative_rise(series([2.0]), series([1.0])),
    ):
        assert (result.mean, result.n) == (1.0, 1)
        assert all(math.isnan(x) for x in (result.ci_low, result.ci_high, result.z, result.p))


def test_relative_rise_is_a_ratio_of_means_not_a_mean_of_ratios() -> None:
    errors, baseline = series([2.0, 12.0]), series([1.0, 10.0])
    assert relative_rise(errors, baseline).mean == pytest.approx(14 / 11 - 1)


def test_relative_rise_has_the_standard_error_of_the_delta_method() -> None:
    errors, baseline = RNG.uniform(1, 3, 50), RNG.uniform(1, 2, 50)
    result = relative_rise(series(errors), series(baseline))
    (vx, cov), (_, vy) = np.cov(errors, baseline)
    mx, my = errors.mean(), baseline.mean()
    variance = (vx / my**2 - 2 * mx * cov / my**3 + mx**2 * vy / my**4) / 50
    assert result.z == pytest.approx(result.mean / math.sqrt(variance))
    half = stats.t.ppf(0.975, 49) * math.sqrt(variance)
    assert (result.ci_low, result.ci_high) == pytest.approx(
        (result.mean - half, result.mean + half)
    )


def test_relative_rise_needs_something_to_rise_from() -> None:
    with pytest.raises(UserError, match=r"baseline=0\.0: its mean error must be > 0"):
        relative_rise(series([1.0, 2.0]), series([0.0, 0.0]))


def test_a_diverged_run_has_no_number_instead_of_a_wrong_one() -> None:
    result = relative_rise(series([1.0, np.nan]), series([1.0, 1.0]))
    assert math.isnan(result.mean)
    assert math.isnan(relative_rise(series([1.0, 1.0]), series([1.0, np.nan])).mean)


def test_the_interval_of_the_relative_rise_covers_the_truth_95_times_in_100() -> None:
    """Lognormal image difficulty, operator noise on top, true rise 20 %."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(800):
        baseline = rng.lognormal(-2, 0.6, 200)
        errors = baseline * (1.2 + 0.3 * rng.standard_normal(200))
        result = relative_rise(series(errors), series(baseline))
        covered += result.ci_low <= 0.2 <= result.ci_high
    assert 0.93 <= covered / 800 <= 0.97


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (1, 0), (0, 9), (5, 5), (12, 30), (150, 60)])
def test_accuracy_p_is_the_exact_mcnemar_test(gains: int, losses: int) -> None:
    result = counts(300, gains, losses, 20)
    table = [[300, gains], [losses, 20]]
    assert result.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    if gains + losses:
        expected = stats.binomtest(gains, gains + losses).pvalue
        assert result.p == pytest.approx(expected)


def test_accuracy_difference_and_interval() -> None:
    result = counts(700, 40, 120, 140)
    assert (result.mean, result.n) == (-0.08, 1000)
    assert result.z == pytest.approx(-80 / math.sqrt(160))
    half = 1.959964 * math.sqrt(41 - 1 + 121 - 80**2 / 1002) / 1002
    assert result.ci_low == pytest.approx(-80 / 1002 - half, abs=1e-8)
    assert result.ci_high == pytest.approx(-80 / 1002 + half, abs=1e-8)


@pytest.mark.parametrize("cells", [[0.75, 0.02, 0.10, 0.13], [0.5, 0.2, 0.2, 0.1]])
def test_accuracy_interval_covers_the_truth_95_times_in_100(cells: list[float]) -> None:
    rng = np.random.default_rng(3)
    truth = cells[1] - cells[2]
    covered = 0
    for _ in range(600):
        result = counts(*(int(count) for count in rng.multinomial(150, cells)))
        covered += result.ci_low <= truth <= result.ci_high
    assert 0.93 <= covered / 600 <= 0.98


def test_bootstrap_equals_scipys() -> None:
    """Percentile intervals agree within Monte-Carlo error, here of skewed precisions."""
    rng = np.random.default_rng(5)
    a, b = rng.beta(5, 1, 150), rng.beta(4, 1, 150)
    result = paired_bootstrap(series(a), series(b))
    expected = stats.bootstrap(
        ((a - b),), np.mean, method="percentile", n_resamples=10_000, random_state=1
    )
    assert result.mean == pytest.approx(np.mean(a - b))
    error = float(np.std(a - b)) / math.sqrt(150)
    low, high = expected.confidence_interval
    assert (result.ci_low, result.ci_high) == pytest.approx((low, high), abs=0.1 * error)
    assert result.z == pytest.approx(result.mean / expected.standard_error, rel=0.05)
    assert result.n == 150


def test_bootstrap_p_is_the_share_of_draws_on_the_other_side() -> None:
    """Against a plain loop: images drawn anew, twice the smaller share on a side of zero."""
    rng = np.random.default_rng(6)
    differences = rng.normal(0.1, 1, 60)
    means = [differences[rng.integers(0, 60, 60)].mean() for _ in range(4000)]
    expected = 2 * min(np.mean([m <= 0 for m in means]), np.mean([m >= 0 for m in means]))
    result = paired_bootstrap(series(differences), series(np.zeros(60)))
    assert 0.03 < expected < 0.9
    assert result.p == pytest.approx(expected, abs=0.02)


def test_bootstrap_of_equal_runs_and_of_a_constant_difference() -> None:
    values = series(RNG.uniform(0.1, 0.2, 30))
    assert paired_bootstrap(values, values) == PairedResult(0.0, 0.0, 0.0, 0.0, 1.0, 30)
    constant = paired_bootstrap(series(np.full(20, 0.75)), series(np.full(20, 0.5)))
    assert (constant.mean, constant.ci_low, constant.ci_high) == (0.25, 0.25, 0.25)
    assert constant.p == 1e-4, "no smaller than the draws can tell"


def test_images_are_paired_by_id_and_only_common_ones_count() -> None:
    a = pd.Series([1.0, 2.0, 3.0], index=[7, 8, 9])
    b = pd.Series([3.1, 0.9, 2.0, 50.0], index=[9, 7, 8, 6])
    result = paired_difference(a, b)
    assert result.n == 3
    assert result.mean == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("compare", COMPARISONS)
def test_no_common_image_and_an_image_twice_are_refused(compare: object) -> None:
    assert callable(compare)
    plain, twice = series([1.0, 0.0]), pd.Series([1.0, 0.0], index=[3, 3])
    with pytest.raises(UserError, match="no image in common"):
        compare(plain, series([1.0, 0.0], first=5))
    for pair in ((twice, plain), (plain, twice)):
        with pytest.raises(ValueError, match="twice"):
            compare(*pair)


def test_the_bootstrap_depends_on_its_seed_alone() -> None:
    a, b = series(RNG.uniform(0, 1, 40)), series(RNG.uniform(0, 1, 40))
    assert paired_bootstrap(a, b) == paired_bootstrap(a, b)
    assert paired_bootstrap(a, b) != paired_bootstrap(a, b, seed=1)


def test_the_interval_of_an_accuracy_difference_is_never_empty_nor_outside() -> None:
    assert counts(90, 0, 0, 10).ci_low < -0.01 < 0.01 < counts(90, 0, 0, 10).ci_high
    assert counts(0, 3, 0, 0).ci_high == 1.0
    assert counts(0, 0, 3, 0).ci_low == -1.0


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, 0.005], [0.6, 0.5], [0.03], [0.02] * 3])
def test_holm_equals_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_leaves_out_what_has_no_p() -> None:
    corrected = holm([0.01, math.nan, 0.2])
    assert corrected[::2] == pytest.approx([0.02, 0.2])
    assert math.isnan(corrected[1])
    assert holm([]) == []
