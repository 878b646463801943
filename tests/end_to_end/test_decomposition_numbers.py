"""Every number of the decomposition, again from the committed errors, without the library."""

import csv
import gzip
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

ROOT = Path(__file__).parents[2]
MINI = ROOT / "results" / "mini"
DELTA = 0.02
EXPECTED = {"H1": -1, "H2": 1, "H3": 0, "H4": 1, "H5": 1, "H6": 1}

Floats = NDArray[np.float64]


def rows() -> list[dict[str, str]]:
    with (MINI / "decomposition.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


ROWS = rows()
TESTED = [row for row in ROWS if row["p_holm"]]


@cache
def read(run: str) -> tuple[Floats, Floats]:
    """Errors (images, trials, classes) of a run and the labels, both by image id."""
    with np.load(MINI / "errors" / f"{run}.npz", allow_pickle=False) as found:
        order = np.argsort(found["image_ids"])
        errors, ids = found["errors"][order].astype(np.float64), found["image_ids"][order]
    with gzip.open(MINI / "samples" / f"{run}.csv.gz", "rt", encoding="utf-8") as handle:
        labels = {int(row["image_id"]): int(row["label"]) for row in csv.DictReader(handle)}
    return errors, np.array([labels[each] for each in ids.tolist()])


def baseline_of(row: dict[str, str]) -> str:
    """The run without an operator of each seed; of seed 0 for the seeds after 2."""
    own = baselines(row["backbone"])
    return " ".join(own.get(seed, own["0"]) for seed in row["seed"].split())


@cache
def baselines(backbone: str) -> dict[str, str]:
    """Seed -> the run without an operator."""
    own = [row for row in ROWS if (row["backbone"], row["second"]) == (backbone, "baseline")]
    found = {(row["seed"], row["second_run"]) for row in own if " " not in row["seed"]}
    assert sorted(seed for seed, _ in found) == ["0", "1", "2"]
    return dict(found)


def values(runs: str, quantity: str, baselines: str) -> Floats:
    """The quantity of each image, the mean over the seeds."""
    pairs = zip(runs.split(), baselines.split(), strict=True)
    own = [values_of_one(run, quantity, baseline) for run, baseline in pairs]
    return np.asarray(np.mean(own, axis=0))


def values_of_one(run: str, quantity: str, baseline: str) -> Floats:
    errors, labels = read(run)
    images, trials, _ = errors.shape
    own = errors[np.arange(images)[:, None], np.arange(trials)[None, :], labels[:, None]]
    wrong = np.stack([np.delete(e, c, axis=1) for e, c in zip(errors, labels, strict=True)])
    reference, true = read(baseline)
    if quantity == "margin":
        spread = np.sqrt(((reference - reference.mean(2, keepdims=True)) ** 2).mean(2)).mean(0)
        return np.asarray(((wrong.min(axis=2) - own) / spread).mean(axis=1))
    if quantity == "accuracy":
        return np.asarray(100.0 * (errors.mean(axis=1).argmin(axis=1) == labels))
    if quantity == "auc":
        wins = (wrong > own[:, :, None]) + 0.5 * (wrong == own[:, :, None])
        return np.asarray(100.0 * wins.mean(axis=(1, 2)))
    level = reference[np.arange(images)[:, None], np.arange(trials)[None, :], true[:, None]]
    return np.asarray(100.0 * (own / level.mean(axis=0)).mean(axis=1))


@pytest.mark.parametrize("quantity", ["margin", "accuracy", "auc", "noise_error"])
def test_values_and_intervals_follow_from_the_errors(quantity: str) -> None:
    checked = [row for row in ROWS if row["quantity"] == quantity]
    further = [row for row in ROWS if not row["p"]]
    assert len(checked) == (len(ROWS) - len(further)) / 4 + len(further) * (quantity == "margin")
    assert len(further) <= 1 < len(checked)
    for row in checked:
        first, second = (
            values(row[which], quantity, baseline_of(row)) for which in ("first_run", "second_run")
        )
        difference = first - second
        n = len(difference)
        assert int(row["n"]) == n == 1000
        assert float(row["value"]) == pytest.approx(difference.mean(), rel=1e-4, abs=1e-6)
        if quantity == "accuracy" and " " not in row["seed"]:
            continue  # McNemar's test, and an interval of its own (below)
        error = difference.std(ddof=1) / math.sqrt(n)
        half = stats.t.ppf(0.975, n - 1) * error
        assert float(row["ci_low"]) == pytest.approx(difference.mean() - half, abs=1e-4 * half)
        assert float(row["ci_high"]) == pytest.approx(difference.mean() + half, abs=1e-4 * half)
        p = 2 * stats.t.sf(abs(difference.mean() / error), n - 1)
        assert not row["p"] or float(row["p"]) == pytest.approx(p, rel=1e-3)


def test_accuracies_have_the_test_of_mcnemar() -> None:
    for row in (r for r in ROWS if r["quantity"] == "accuracy" and " " not in r["seed"]):
        first, second = _decisions(row)
        gained, lost = int((first > second).sum()), int((first < second).sum())
        p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        assert float(row["p"]) == pytest.approx(p, rel=1e-4)
        assert float(row["ci_low"]) < float(row["value"]) < float(row["ci_high"])


def _decisions(row: dict[str, str]) -> tuple[Floats, Floats]:
    baseline = baseline_of(row)
    return (
        values(row["first_run"], "accuracy", baseline),
        values(row["second_run"], "accuracy", baseline),
    )


def test_the_twelve_tests_are_corrected_together_and_the_verdicts_follow() -> None:
    raw = sorted(float(row["p"]) for row in TESTED)
    for row in TESTED:
        own = float(row["p"])
        steps = [min(1.0, (12 - k) * p) for k, p in enumerate(raw) if p <= own]
        assert float(row["p_holm"]) == pytest.approx(max(steps), rel=1e-4)
        assert row["verdict"] == _verdict(row)


def _verdict(row: dict[str, str]) -> str:
    low, high = float(row["ci_low"]), float(row["ci_high"])
    sign = EXPECTED[row["hypothesis"]]
    if max(-low, high) < DELTA:
        return "level" if sign else "supported"
    if not sign:
        return "contradicted" if low > 0 or high < 0 else "inconclusive"
    if float(row["p_holm"]) >= 0.05:
        return "inconclusive"
    return "supported" if float(row["value"]) * sign > 0 else "contradicted"
