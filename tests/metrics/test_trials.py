"""Statistics of single trials: by hand, and beside a slow transcription of the definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bigain.metrics.trials import THIRDS, Trials


def trials_of(errors: object, *labels: int | tuple[int, ...], timesteps: object = None) -> Trials:
    table = np.array(errors, np.float64)
    truth = np.zeros((len(table), table.shape[2]), bool)
    for row, own in enumerate(labels):
        truth[row, own if isinstance(own, int) else list(own)] = True
    steps = np.arange(table.shape[1]) * 200 + 100 if timesteps is None else np.array(timesteps)
    return Trials(np.arange(len(table)) + 10, steps, table, truth)


def drawn(seed: int = 0, n: int = 12, trials: int = 5, classes: int = 4) -> Trials:
    draw = np.random.default_rng(seed)
    errors = draw.gamma(2.0, 1.0, (n, trials, classes)) * np.geomspace(1, 0.01, trials)[:, None]
    labels = [(0, 2), (), *draw.integers(0, classes, n - 2).tolist()]
    return trials_of(errors, *labels)


def test_a_margin_is_the_lead_over_the_best_wrong_class_of_its_trial() -> None:
    """Another wrong class may be best in each trial."""
    own = trials_of([[[1.0, 3.0, 2.0], [4.0, 3.5, 9.0]], [[5.0, 1.0, 2.0], [1.0, 1.0, 1.0]]], 0, 1)
    assert own.margins().to_numpy().tolist() == [[1.0, -0.5], [1.0, 0.0]]
    assert own.margins().index.tolist() == [10, 11]
    spread = np.array([2.0, 0.5])
    assert own.margins(spread).to_numpy().tolist() == [[0.5, -1.0], [0.5, 0.0]]
    assert own.mean_margins(replace(own.scale, spread=spread)).tolist() == [-0.25, 0.25]


def test_the_scale_is_the_mean_spread_over_classes_and_the_mean_error() -> None:
    own = trials_of([[[1.0, 3.0], [10.0, 10.0]], [[4.0, 12.0], [10.0, 30.0]]], 0, 1)
    assert own.scale.spread.tolist() == [(1 + 4) / 2, (0 + 10) / 2]
    assert own.scale.level.tolist() == [(1 + 12) / 2, (10 + 30) / 2]


def test_the_auc_counts_wrong_classes_that_lose_and_half_of_ties() -> None:
    own = trials_of([[[2.0, 3.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0]]], 0)
    assert own.pairwise_auc().tolist() == [((1 + 0 + 0.5) / 3 + 1) / 2]


def test_the_first_stage_decides_by_the_mean_and_ties_go_to_the_first_class() -> None:
    errors = [[[1.0, 5.0, 3.0], [9.0, 1.0, 3.0]], [[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]
    assert trials_of(errors, 1, 2).is_right().tolist() == [True, False]
    assert trials_of(errors, (1, 2), 0).is_right().tolist() == [True, True]
    assert trials_of(errors, 2, 0).is_right().tolist() == [False, True]
    assert trials_of(np.array(errors) * [[1], [0.1]], 0, 0).is_right().tolist() == [True, True]


def test_equal_weights_make_the_baselines_noise_error_one() -> None:
    base = drawn()
    assert base.noise_errors(base.scale).mean() == pytest.approx(1)
    for third in base.thirds:
        assert base.noise_errors(base.scale, third).mean() == pytest.approx(1)
    worse = replace(base, errors=base.errors * np.array([1.0, 1.0, 1.0, 1.0, 2.0])[:, None])
    assert worse.noise_errors(base.scale).mean() == pytest.approx(1.2), "the last of five"
    assert worse.noise_errors(base.scale, "high").mean() == pytest.approx(1.5), "700 and 900"
    assert worse.noise_errors(base.scale, "low").mean() == pytest.approx(1)
    raw = worse.noise_errors().mean() / base.noise_errors().mean()
    assert 1 < raw < 1.01, "in raw errors low noise speaks for everything"


def test_thirds_of_noise_share_all_timesteps_and_may_be_empty() -> None:
    own = trials_of(np.ones((1, 3, 2)), 0, timesteps=[333, 334, 667])
    assert own.thirds == ["low", "mid", "high"]
    assert trials_of(np.ones((1, 1, 2)), 0, timesteps=[500]).thirds == ["mid"]
    assert own.noise_errors(third="mid").tolist() == [1.0]
    edges = sorted(edge for third in THIRDS.values() for edge in third)
    assert (edges[0], edges[-1]) == (0, 1000)
    assert edges[1:-1:2] == edges[2:-1:2]


def test_images_without_a_true_or_a_wrong_class_have_a_decision_alone() -> None:
    own = trials_of(np.random.default_rng(1).random((3, 2, 3)), (), (0, 1, 2), 1)
    for values in (own.margins(), own.pairwise_auc(), own.noise_errors()):
        assert values.index.tolist() == [12]
    assert own.is_right().tolist()[:2] == [False, True]
    assert np.isfinite(own.scale.level).all()


def slow(own: Trials, base: Trials) -> dict[int, list[float]]:
    """The definitions of protocol 5, one number after the other."""
    found: dict[int, list[float]] = {}
    trials, classes = len(own.timesteps), own.errors.shape[2]
    sigma, level = [], []
    for s in range(trials):
        spreads, trues = [], []
        for i in range(len(base.image_ids)):
            row = [float(e) for e in base.errors[i, s]]
            mean = sum(row) / classes
            spreads.append(math.sqrt(sum((e - mean) ** 2 for e in row) / classes))
            true = [row[c] for c in range(classes) if base.truth[i, c]]
            if true:
                trues.append(sum(true) / len(true))
        sigma.append(sum(spreads) / len(spreads))
        level.append(sum(trues) / len(trues))
    for i, image_id in enumerate(own.image_ids.tolist()):
        labels = [c for c in range(classes) if own.truth[i, c]]
        if not labels:
            continue
        margin, auc, raw, equal = 0.0, 0.0, 0.0, 0.0
        for s in range(trials):
            row = own.errors[i, s]
            true = sum(row[c] for c in labels) / len(labels)
            wrong = [row[c] for c in range(classes) if c not in labels]
            margin += (min(wrong) - true) / sigma[s] / trials
            pairs = [(w > row[c]) + 0.5 * (w == row[c]) for w in wrong for c in labels]
            auc += sum(pairs) / len(pairs) / trials
            raw += true / trials
            equal += true / level[s] / trials
        found[image_id] = [margin, auc, raw, equal]
    return found


def test_a_slow_transcription_gives_the_same() -> None:
    base, own = drawn(0), drawn(0)
    own = replace(own, errors=own.errors * drawn(1).errors ** 0.1)
    columns = [own.mean_margins(base.scale), own.pairwise_auc(), own.noise_errors()]
    columns.append(own.noise_errors(base.scale))
    expected = slow(own, base)
    for at, column in enumerate(columns):
        assert column.to_dict() == pytest.approx({i: row[at] for i, row in expected.items()})
