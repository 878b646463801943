"""Appendix A: parts of the variance and Theorem 1, by hand, by simulation and beside a slow one."""

import numpy as np
import pytest

from bigain.metrics.margins import Estimate, criterion, margin_parts

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def drawn(n: int, profile: list[float], noise: float, images: float = 0.0, seed: int = 0) -> Floats:
    """Margins: a profile over timesteps, a level of each image, and noise."""
    draw = np.random.default_rng(seed)
    table = np.array(profile) + images * draw.normal(size=(n, 1))
    found: Floats = table + noise * draw.normal(size=(n, len(profile)))
    return found


def values(found: dict[str, Estimate]) -> dict[str, float]:
    return {name: each.value for name, each in found.items()}


def test_a_common_profile_is_between_timesteps_alone() -> None:
    """Levels of the images are neither: the paper's variance is that of the draws of an image."""
    found = values(margin_parts(drawn(6, [1.0, 2.0, 6.0], 0.0, images=1.0)))
    assert found["variance"] == pytest.approx(7)
    assert found["between"] == pytest.approx(7)
    assert found["within"] == pytest.approx(0, abs=1e-12)


def test_parts_by_hand() -> None:
    found = values(margin_parts(np.array([[1.0, 3.0], [2.0, 2.0]])))
    assert found["mean"] == 2
    assert found["variance"] == 1, "2 and 0"
    # Means of trials 1.5 and 2.5, residuals -+0.5: within = 4 * 0.25 / (1 * 1).
    assert found["within"] == 1
    assert found["between"] == 0
    assert (found["ratio"], found["ratio_within"]) == (0.25, 0.25)


def slow_parts(table: Floats) -> tuple[float, float, float]:
    n, trials = table.shape
    mean = table.sum() / (n * trials)
    of_image = [sum(row) / trials for row in table]
    of_trial = [sum(column) / n for column in table.T]
    variance = within = 0.0
    for i in range(n):
        for s in range(trials):
            variance += (table[i, s] - of_image[i]) ** 2 / (n * (trials - 1))
            left = table[i, s] - of_image[i] - of_trial[s] + mean
            within += left**2 / ((n - 1) * (trials - 1))
    return variance, within, variance - within


def test_a_slow_transcription_gives_the_same() -> None:
    table = drawn(30, [0.5, 1.0, 3.0, 0.1], 0.7, images=0.4)
    found = values(margin_parts(table))
    own = found["variance"], found["within"], found["between"]
    assert own == pytest.approx(slow_parts(table))
    assert found["ratio"] == pytest.approx(slow_parts(table)[0] / table.mean() ** 2)


def test_the_parts_are_unbiased() -> None:
    """Var of the profile 0, 3, 6 is 9; the noise adds 4."""
    tables = (drawn(8, [0.0, 3.0, 6.0], 2.0, images=5.0, seed=seed) for seed in range(60))
    found = [values(margin_parts(table)) for table in tables]
    for name, expected in {"within": 4.0, "between": 9.0, "variance": 13.0}.items():
        own = [each[name] for each in found]
        error = np.std(own, ddof=1) / np.sqrt(len(own))
        assert abs(np.mean(own) - expected) < 4 * error, name
        assert error < 1.2


def test_intervals_cover_and_repeat() -> None:
    covered = 0
    for seed in range(40):
        found = margin_parts(drawn(60, [1.0, 2.0], 1.0, seed=seed))["mean"]
        covered += found.ci_low <= 1.5 <= found.ci_high
    assert covered >= 34, "about 38 of 40"
    table = drawn(20, [1.0, 2.0], 1.0)
    assert margin_parts(table) == margin_parts(table)
    assert margin_parts(table)["variance"].ci_low < margin_parts(table)["variance"].value


def test_an_operator_that_changes_nothing_has_a_gain_of_zero() -> None:
    table = drawn(20, [1.0, 2.0, 3.0], 0.5)
    found = criterion(table, table)
    assert found.pop("baseline_mean") == margin_parts(table)["mean"]
    for each in found.values():
        assert (each.value, each.ci_low, each.ci_high, each.p) == (0, 0, 0, 1)
        assert each.sign == 0


@pytest.mark.parametrize("shrink", [0.5, 0.9, 1.5])
def test_a_common_factor_changes_no_ratio_and_so_gains_nothing(shrink: float) -> None:
    """Margins and their spread shrink alike; the first-order condition is stricter."""
    table = drawn(20, [1.0, 2.0, 3.0], 0.5)
    found = values(criterion(shrink * table, table))
    assert found["margin_cost"] == pytest.approx(1 - shrink)
    assert found["variance_saved"] == pytest.approx(1 - shrink**2)
    assert [found["gain"], found["gain_within"]] == pytest.approx([0, 0], abs=1e-12)
    assert found["first_order"] == pytest.approx(-((1 - shrink) ** 2))


def test_the_criterion_holds_exactly_when_the_ratio_falls() -> None:
    """Theorem 1, over operators of many kinds."""
    base = drawn(25, [1.0, 2.0, 3.0], 0.6, seed=1)
    before, signs = values(margin_parts(base)), set()
    for seed in range(12):
        own = 0.9 * base + drawn(25, [0.1, 0.0, 0.2], 0.3 * (seed % 3), seed=seed)
        own = own * (1 + 0.2 * (seed % 2))
        after, found = values(margin_parts(own)), values(criterion(own, base))
        for part, gain in (("ratio", "gain"), ("ratio_within", "gain_within")):
            assert (after[part] < before[part]) == (found[gain] > 0)
            cost, own_part = found["margin_cost"], 1 - after[part] / before[part]
            assert found[gain] == pytest.approx((1 - cost) ** 2 * own_part)
            signs.add(found[gain] > 0)
    assert signs == {True, False}


def test_where_margins_are_not_positive_the_theorem_says_nothing() -> None:
    good, bad = drawn(20, [1.0, 2.0], 0.3), drawn(20, [-1.0, -2.0], 0.3)
    lost, gained = criterion(bad, good), criterion(good, bad)
    for found in (lost, gained):
        assert np.isnan([found[name].value for name in ("gain", "first_order")]).all()
        assert found["gain"].sign == 0
    assert lost["margin_cost"].value > 1
    assert np.isnan(lost["gain"].ci_high), "no draw of the operator has a bound"
    assert np.isnan(gained["margin_cost"].value)
    assert (gained["gain"].ci_low, gained["gain"].ci_high) == (-np.inf, np.inf)
    assert (lost["snr_change"].sign, gained["snr_change"].sign) == (-1, 1)
    assert (lost["baseline_mean"].sign, gained["baseline_mean"].sign) == (1, -1)
    assert np.isnan([margin_parts(bad)["ratio"].value, margin_parts(bad)["ratio"].ci_low]).all()
    assert margin_parts(bad)["mean"].ci_high < 0


def near_zero(level: float, n: int = 400) -> Floats:
    """The mean is `level` standard errors from 0: the sum over images of a row is its level."""
    table = drawn(n, [0.0, 0.0], 1.0)
    error = table.mean(axis=1).std() / np.sqrt(n)
    return np.asarray(table - table.mean() + level * error)


def test_a_few_draws_without_a_positive_mean_do_not_take_the_interval_away() -> None:
    """At 2.2 standard errors 1.4 % of the draws are such ones; at 1.5, 6.7 %."""
    for level, has_end in ((2.2, True), (1.5, False)):
        found = margin_parts(near_zero(level))
        assert np.isfinite([found["ratio"].value, found["ratio"].ci_low]).all()
        assert np.isfinite(found["ratio"].ci_high) == has_end == (found["mean"].sign > 0)
        ends = found["snr"].ci_low, found["snr"].ci_high
        assert found["ratio"].ci_low == pytest.approx(ends[1] ** -2)
        assert not has_end or found["ratio"].ci_high == pytest.approx(ends[0] ** -2)
        assert found["snr"].value == pytest.approx(found["ratio"].value ** -0.5)
    below = margin_parts(near_zero(-1.0))["ratio"]
    assert np.isnan(below.value)
    assert below.ci_low > 0
    assert below.ci_high == np.inf


def test_the_criterion_is_decided_where_the_gain_has_no_end() -> None:
    """The means are 1.5 standard errors from 0, their difference many of its own."""
    base = near_zero(1.5)
    found = criterion(0.9 * base - 0.1, base)
    assert found["gain"].ci_low == -np.inf
    assert found["gain"].sign == 0
    assert found["snr_change"].sign == -1
    assert found["snr_change"].p == 1 / 20_000
    better = criterion(0.5 * (base + 0.1), base)
    assert better["snr_change"].sign == 1
    assert better["baseline_mean"].sign == 0


def test_the_change_has_the_sign_of_the_gain() -> None:
    base = drawn(25, [1.0, 2.0, 3.0], 0.6, seed=1)
    for seed in range(8):
        own = 0.9 * base + drawn(25, [0.1, 0.0, 0.2], 0.3 * (seed % 3), seed=seed)
        found = values(criterion(own, base))
        for part in ("", "_within"):
            assert (found[f"gain{part}"] > 0) == (found[f"snr_change{part}"] > 0)


def test_the_change_covers_and_rejects_as_it_says() -> None:
    """True change 0 with a mean near 0: about one in twenty intervals does not cover it."""
    wrong = 0
    for seed in range(100):
        base, own = (drawn(60, [0.1, 0.1], 1.0, seed=seed + shift) for shift in (0, 1000))
        change = criterion(own, base)["snr_change"]
        assert (change.p < 0.05) == (change.sign != 0) or 0.04 < change.p < 0.06
        wrong += change.sign != 0
    assert wrong <= 12


def test_a_single_image_has_no_interval() -> None:
    found = margin_parts(np.array([[1.0, 3.0]]))
    assert (found["mean"].value, found["variance"].value) == (2, 2)
    assert np.isnan([found["within"].value, found["mean"].ci_low, found["mean"].ci_high]).all()
    assert np.isnan(found["mean"].p)
