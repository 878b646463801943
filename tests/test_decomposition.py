"""The registered tests of docs/decomposition.md, on errors whose margins are known."""

import zlib
from pathlib import Path
from typing import Any

import decomposition_results
import numpy as np
import pytest
from decomposition import BASELINE, Run, exploratory, narrowing, planned, registered
from decomposition_results import DELTA, HYPOTHESES, TESTS, Finished, rows, verdict

from bigain.launch.compose import compose_config
from bigain.metrics.trials import Scale, Trials
from bigain.runs.pairing import FinishedRun

IMAGES, TRIALS, CLASSES = 60, 5, 10
SCALE = Scale(np.full(TRIALS, 2.0), np.ones(TRIALS))


def finished(run: Run, gap: float, scatter: float = 0.0) -> Finished:
    """Errors 1 of the true class and 1 + gap of all others, so a margin of gap / 2."""
    noise = np.random.default_rng(zlib.crc32(repr(run).encode())).normal(size=(IMAGES, 1, 1))
    labels = np.arange(IMAGES) % CLASSES
    truth = np.eye(CLASSES, dtype=bool)[labels]
    errors = np.ones((IMAGES, TRIALS, CLASSES)) + gap + scatter * noise
    errors[np.broadcast_to(truth[:, None, :], errors.shape)] = 1.0
    trials = Trials(np.arange(IMAGES), np.arange(TRIALS) * 200 + 100, errors, truth)
    return Finished(f"{run.variant} {run.ratio}", trials, SCALE)


def test_the_plan_has_every_variant_at_every_ratio_and_three_seeds_at_the_largest() -> None:
    runs = list(registered())
    assert len(runs) == len(set(runs)) == 2 * (3 + 7 * 5)
    assert {(run.ratio, run.seed) for run in runs if run.variant != BASELINE} == {
        *((0.3, 0), (0.5, 0), (0.7, 0), (0.7, 1), (0.7, 2))
    }
    # The operators of the pair exist, and what must name the run does.
    shared, forward = (
        compose_config(Run("mini_unet", variant, 0.7, 0).overrides).operator.model_dump()
        for variant in ("L-GTM, shared", "ToMe, per forward")
    )
    assert shared["plan"] == "shared"
    assert forward["draws"] == "per_forward"


def test_runs_that_were_added_later_are_planned_and_not_registered() -> None:
    added = [*exploratory()]
    assert [*planned()] == [*registered(), *added, *narrowing()]
    assert not {*added, *narrowing()} & {*registered()}
    settings = [compose_config(run.overrides).operator.model_dump() for run in added]
    assert {(own["name"], own["plan"], own["ratio"]) for own in settings} == {
        ("tome", "shared", 0.7)
    }
    assert {run.backbone for run in added} == {"mini_unet", "mini_dit"}


def test_what_narrows_h2_has_its_two_runs_for_each_seed_and_the_spread_of_seed_0() -> None:
    more = [*narrowing()]
    first, second, _ = HYPOTHESES["H2"]
    seeds = {run.seed for run in more}
    assert len(more) == 2 * len(seeds)
    assert {(run.variant, run.ratio) for run in more} == {(first, 0.7), (second, 0.7)}
    assert not seeds & {run.seed for run in registered()}
    assert {run.backbone for run in more} == {"mini_dit"}
    assert {run.baseline for run in more} == {Run("mini_dit", BASELINE, 0.0, 0)}
    assert all(run.baseline.seed == run.seed for run in registered())


@pytest.mark.parametrize("lacking", [0, 1])
def test_further_seeds_are_read_all_together_with_the_spread_of_seed_0(
    lacking: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent = {*narrowing()} - {*[*narrowing()][lacking:]}
    by_id = {str(run): run for run in planned() if run not in absent}
    paired = []

    def read(_results: Path, run: Run) -> FinishedRun | None:
        manifest: Any = {"config": {"seed": run.seed}}
        unread: Any = None
        return FinishedRun(str(run), manifest, unread, unread) if str(run) in by_id else None

    def check(first: FinishedRun, second: FinishedRun) -> None:
        assert first.config == second.config
        paired.append((by_id[first.run_id], by_id[second.run_id]))

    monkeypatch.setattr(decomposition_results, "_read", read)
    monkeypatch.setattr(decomposition_results, "check_pair", check)
    trials = finished(Run("mini_dit", BASELINE, 0.0, 0), 1.0, 0.1).trials
    monkeypatch.setattr(decomposition_results, "read_trials", lambda _: trials)
    found = decomposition_results.read_runs(tmp_path)
    further = {run for run in found if run in {*narrowing()}}
    assert further == (set() if lacking else {*narrowing()})
    assert {*registered()} < set(found)
    assert all(second == first.baseline for first, second in paired)


def test_a_difference_is_that_of_the_margins_over_the_spread() -> None:
    gaps = {BASELINE: 1.0, "ToMe, paired": 0.5, "L-GTM, Eq. 7": 0.8}
    runs = {
        (run := Run("mini_dit", name, 0.7 if name != BASELINE else 0.0, 0)): finished(run, gap, 0.1)
        for name, gap in gaps.items()
    }
    found = rows(runs)
    margins = {(row["first"], row["second"]): row for row in found if row["quantity"] == "margin"}
    own = margins["L-GTM, Eq. 7", "ToMe, paired"]
    assert own["value"] == pytest.approx(0.15, abs=0.03)
    assert own["ci_low"] < own["value"] < own["ci_high"]
    assert own["hypothesis"] == "H2"
    assert own["p_holm"] == pytest.approx(min(1, 12 * own["p"]))  # of twelve registered tests
    assert own["verdict"] == "supported"
    assert own["n"] == IMAGES
    alone = margins["ToMe, paired", BASELINE]
    assert alone["value"] == pytest.approx(-0.25, abs=0.03)
    assert (alone["p_holm"], alone["verdict"]) == (None, "")


def test_all_tests_of_the_largest_ratio_are_one_family_and_no_others() -> None:
    runs = {
        run: finished(run, 1.0 - 0.1 * number, 0.3)
        for number, run in enumerate(run for run in registered() if run.backbone == "mini_unet")
    }
    tested = [row for row in rows(runs) if row["p_holm"] is not None]
    assert [row["hypothesis"] for row in tested] == list(HYPOTHESES)
    assert {(row["ratio"], row["seed"], row["quantity"]) for row in tested} == {
        (0.7, "0", "margin")
    }
    smallest = min(tested, key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, TESTS * smallest["p"]))
    assert TESTS == 12


def test_several_seeds_are_also_described_by_the_mean_of_each_image() -> None:
    names = ("ToMe, paired", "L-GTM, Eq. 7", BASELINE)
    keys = [
        Run("mini_unet", n, 0.7 if n != BASELINE else 0.0, s) for s in (0, 1, 2, 3) for n in names
    ]
    runs = {run: finished(run, 1.0 + (run.variant == names[1]), 0.5) for run in keys}
    compared = [row for row in rows(runs) if row["quantity"] == "margin"]
    h2 = {row["seed"]: row for row in compared if row["hypothesis"] == "H2"}
    # The registered seeds keep a row of their own when there are more.
    assert set(h2) == {"0", "1", "2", "0 1 2", "0 1 2 3"}
    further = [row for row in rows(runs) if "3" in row["seed"]]
    assert {row["quantity"] for row in further} == {"margin"}
    assert {row["p"] for row in further} == {None}
    pooled, single = h2["0 1 2"], [h2[each] for each in "012"]
    assert pooled["value"] == pytest.approx(np.mean([row["value"] for row in single]))
    # The seeds' noises are independent, so that of their mean is smaller by sqrt(3).
    widths = [row["ci_high"] - row["ci_low"] for row in (pooled, *single)]
    assert widths[0] == pytest.approx(np.mean(widths[1:]) / 3**0.5, rel=0.25)
    assert pooled["n"] == IMAGES
    assert (pooled["p_holm"], pooled["verdict"]) == (None, "")
    assert pooled["first_run"] == " ".join(row["first_run"] for row in single)


@pytest.mark.parametrize(
    ("value", "half", "p", "expected", "answer"),
    [
        (0.10, 0.05, 0.001, "above", "supported"),
        (0.10, 0.05, 0.001, "below", "contradicted"),
        (0.10, 0.05, 0.20, "above", "inconclusive"),
        (0.01, 0.005, 0.001, "above", "level"),
        (0.0, DELTA / 2, 0.9, "level", "supported"),
        (0.10, 0.05, 0.001, "level", "contradicted"),
        (0.10, 0.15, 0.20, "level", "inconclusive"),
    ],
)
def test_verdicts_are_those_that_were_registered(
    value: float, half: float, p: float, expected: str, answer: str
) -> None:
    row = {"value": value, "ci_low": value - half, "ci_high": value + half, "p_holm": p}
    assert verdict(row, expected) == answer
