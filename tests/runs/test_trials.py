"""Statistics of single trials of finished runs, paired with a reference."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.launch.compose import compose_config
from bigain.metrics import paired_accuracy, paired_difference, relative_rise
from bigain.runs.archive import Archive
from bigain.runs.baselines import making_baseline
from bigain.runs.compare import as_plain, compare_runs, describe
from bigain.runs.errors import ERRORS, packed
from bigain.runs.files import Evaluation
from bigain.runs.identity import baseline_id, run_id
from bigain.runs.pairing import read_finished
from bigain.runs.store import RunStore
from bigain.runs.trials import DECISIONS, ERROR_RISES, SCALED, TrialPairs, read_trials, scale_of

Make = Callable[..., RunConfig]
MakeRecord = Callable[..., dict[str, Any]]
IMAGES = range(30)
TIMESTEPS = [125, 325, 525, 725, 925]
NEW = (*DECISIONS, *ERROR_RISES)


def finished(results: Path, config: RunConfig, make_record: MakeRecord, seed: int) -> str:
    """A run whose errors are drawn: those of `seed` 0, with more noise for a larger seed."""
    common, own = (np.random.default_rng(each) for each in (0, seed))
    with RunStore(results, run_id(config)).open(config, list(IMAGES), {}) as session:
        for image_id in IMAGES:
            errors = common.gamma(4.0, 0.1, (5, 10)) + 0.05 * seed * own.random((5, 10))
            record = make_record(image_id)
            errors[:, record["label"]] -= 0.1
            table = errors.astype(np.float32)
            true_errors = table[:, record["label"]].astype(float).tolist()
            record |= {"true_errors": true_errors, "first_stage": packed(TIMESTEPS, table)}
            session.append(record)
        assert session.finish(lambda records: Evaluation(records, []))
    return run_id(config)


@pytest.fixture
def names(
    tmp_path: Path, make_config: Make, make_record: MakeRecord, tome: dict[str, Any]
) -> list[str]:
    """Two operators and the baseline, in this order."""
    configs = [make_config(operator={**tome, "ratio": ratio}) for ratio in (0.7, 0.5)]
    configs.append(make_config())
    return [
        finished(tmp_path, c, make_record, seed) for c, seed in zip(configs, (2, 1, 0), strict=True)
    ]


def test_an_operator_against_another_is_scaled_by_the_baseline(
    tmp_path: Path, names: list[str]
) -> None:
    first, second, baseline = (read_finished(tmp_path, name) for name in names)
    pairs = TrialPairs(second)
    found, absent = pairs.against(first)
    a, b, base = (read_trials(run) for run in (first, second, baseline))
    assert a is not None
    assert b is not None
    assert base is not None
    assert pairs.scaled_by is not None
    assert (pairs.scaled_by.run_id, pairs.scaled_by.n) == (names[-1], 30)
    scale = base.scale
    alone = scale_of(baseline)
    assert alone is not None
    for each in (pairs.scaled_by.scale, alone.scale):
        assert np.array_equal(each.spread, scale.spread)
        assert np.array_equal(each.level, scale.level)
    assert found["best_margin"] == paired_difference(a.mean_margins(scale), b.mean_margins(scale))
    assert found["pairwise_auc"] == paired_difference(a.pairwise_auc(), b.pairwise_auc())
    assert found["acc1_first"] == paired_accuracy(a.is_right(), b.is_right())
    errors = a.noise_errors(scale, "mid"), b.noise_errors(scale, "mid")
    assert found["eps_rise_mid"] == relative_rise(*errors)
    assert set(found) == set(NEW)
    assert absent == {}
    assert found["best_margin"].n == 30


def test_labels_and_errors_are_those_of_the_records(tmp_path: Path, names: list[str]) -> None:
    run = read_finished(tmp_path, names[0])
    own = read_trials(run)
    assert own is not None
    assert own.timesteps.tolist() == TIMESTEPS
    assert own.truth.argmax(axis=1).tolist() == run.samples["label"].tolist()
    expected = [np.mean(each) for each in run.samples["true_errors"]]
    assert own.noise_errors().tolist() == pytest.approx(expected)


def test_a_run_without_errors_has_empty_cells(tmp_path: Path, names: list[str]) -> None:
    """Whether it is the run, the reference, or the baseline that gives the scale."""
    archive = Archive(tmp_path, "mini")
    for lacking, absent in ((names[0], NEW), (names[1], NEW), (names[2], SCALED)):
        path = archive.errors_path(lacking)
        shutil.move(path, tmp_path / "kept")
        comparison = compare_runs(tmp_path, *names[:2])
        assert set(comparison.absent) == set(absent)
        assert not set(comparison.absent) & set(comparison.differences)
        everything = set(comparison.absent) | set(comparison.differences)
        assert everything == {*NEW, "acc1", "eps_error_rise"}
        assert comparison.scaled_by is None
        lines = [line for line in describe([comparison]).splitlines() if "—" in line]
        assert len(lines) == 1
        assert lacking in lines[0]
        empty = [record for record in as_plain([comparison]) if record["metric"] in absent]
        assert len(empty) == len(absent)
        assert {record["value"] for record in empty} == {record["n"] for record in empty} == {None}
        assert all(record.keys() == empty[0].keys() for record in as_plain([comparison]))
        shutil.move(tmp_path / "kept", path)
    assert compare_runs(tmp_path, *names[:2]).absent == {}


def test_a_baseline_that_was_not_made_is_told_from_one_without_errors(
    tmp_path: Path, names: list[str]
) -> None:
    shutil.rmtree(tmp_path / "runs" / names[2])
    (why,) = set(compare_runs(tmp_path, *names[:2]).absent.values())
    assert why.startswith(f"the baseline, run {names[2]}, was not made; make it: ")
    command = shlex.split(why.partition("make it: ")[2])
    assert command[:3] == ["python", "-m", "bigain"]
    assert run_id(compose_config(command[3:])) == names[2]


@pytest.mark.parametrize(
    "overrides",
    [
        ["backbone=mini_unet", "dataset.limit=7", "seed=3", "dtype=bfloat16"],
        ["task.trial_list=[5]", "task.keep_list=[1]", "operator.draws=per_forward"],
        ["backbone=sd20", "profile=paper", "dataset=pets", "dataset.limit=null"],
        ["backbone=dit_xl2_512", "dataset=imagenet100", 'backbone.revision="12345e678901"'],
        ["backbone=sd20", "dataset=pets", "backbone.path='/a/folder with spaces,x'"],
    ],
)
def test_the_command_makes_the_baseline(overrides: list[str]) -> None:
    config = compose_config(["operator=tome", *overrides])
    command = shlex.split(making_baseline(config))
    assert run_id(compose_config(command[3:])) == baseline_id(config)


def test_published_errors_are_compared_as_in_the_folders(tmp_path: Path, names: list[str]) -> None:
    before = compare_runs(tmp_path, *names[1:])
    for name in names:
        folder = tmp_path / "runs" / name
        published = Archive(tmp_path, "mini").published_errors_path(name)
        published.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / ERRORS, published)
    assert compare_runs(tmp_path, *names[1:]) == before


def test_images_without_errors_are_left_out(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "runs" / names[0] / ERRORS
    with np.load(path) as found:
        parts = dict(found)
    parts["errors"][3] = np.nan
    np.savez(path, **parts)
    comparison = compare_runs(tmp_path, names[0], names[2])
    assert comparison.n == 30
    assert {comparison.differences[name].result.n for name in NEW} == {29}
