"""The choice of z: which values are tried, which are accepted, and on which images."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from scipy import stats
from torch import Tensor

from bigain.cli.main import main
from bigain.config import DatasetConfig
from bigain.data.base import Dataset, load_dataset
from bigain.engine import choose_z as module
from bigain.engine.choose_z import CANDIDATES, TriedZ, chosen, tried
from bigain.engine.race_errors import RaceErrors
from bigain.launch.compose import compose_config
from bigain.metrics import highest_share
from bigain.runs.calibrations import write_calibration
from bigain.tasks.race_rules import GaussianRule
from tests.tasks.races import drawn, model_of

TABLES = load_file(Path(__file__).parents[1] / "tasks" / "race_tables.safetensors")
S = TABLES["mini_dit.covariance"]
RACING = "task.allocation=racing"


@pytest.mark.parametrize(("changed", "n"), [(0, 150), (1, 150), (3, 400), (150, 150)])
def test_the_bound_is_that_of_the_binomial_distribution(changed: int, n: int) -> None:
    """With this share as few changes, or fewer, have a chance of 5 %."""
    bound = highest_share(changed, n)
    assert bound == 1 or stats.binom.cdf(changed, n, bound) == pytest.approx(0.05)
    assert (bound == 1) is (changed == n)


def test_149_images_without_a_change_suffice_and_148_do_not() -> None:
    assert TriedZ(2.0, 50.0, 0, 149).is_accepted
    assert not TriedZ(2.0, 50.0, 0, 148).is_accepted
    assert not TriedZ(2.0, 50.0, 1, 150).is_accepted


def test_z_falls_until_the_first_that_changes_too_much() -> None:
    rule = GaussianRule(model_of(S), 2.54, 2, None)
    results = list(tried(rule, drawn(S, 160, 10, seed=1)))
    assert tuple(each.z for each in results) == CANDIDATES[: len(results)]
    assert [each.is_accepted for each in results] == [True] * (len(results) - 1) + [False]
    assert chosen(results) == results[-2]
    taken = [each.evaluations for each in results]
    assert taken == sorted(taken, reverse=True)
    assert results[-1].changed > 0


@pytest.fixture(autouse=True)
def shipped_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset has the 1,000 images that ship, also where all 10,000 are."""

    def first(config: DatasetConfig) -> Dataset:
        return load_dataset(config.model_copy(update={"limit": 1000, "index": None}))

    monkeypatch.setattr(module, "load_whole", first)


def calibrated(folder: Path, s: Tensor, *overrides: str) -> list[str]:
    """Arguments of a race whose calibration has this covariance."""
    place = [f"paths.results={folder}", f"paths.cache={folder}", "dataset.limit=4", *overrides]
    content: dict[str, Any] = {"hashes": {}, "image_ids": [], "fit": {"2": 1.0}}
    content |= {"covariance": s.tolist(), "order": model_of(s).order}
    write_calibration(compose_config([*place, RACING]), content)
    return ["calibrate", *place]


def test_the_choice_is_printed_as_an_override_and_takes_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def gathered(config: Any, images: Any, positions: range) -> RaceErrors:
        asked.append((positions, config.task.race.classes))
        return RaceErrors(drawn(S, len(positions), 10, seed=1), {}, 0)

    monkeypatch.setattr(module, "gather_errors", gathered)
    assert main([*calibrated(tmp_path, S, "task.race.classes=4"), "--choose-z"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert asked == [(range(700, 850), 10)]
    assert lines[1].startswith("  z=5: ")
    assert lines[-2].endswith(", too many")
    assert lines[-1].endswith(f"task.race.z={lines[-3].split(':')[0].split('=')[1]}")
    assert compose_config([RACING, lines[-1].split()[-1]])


def test_if_no_z_is_accepted_none_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gathered(config: Any, images: Any, positions: range) -> RaceErrors:
        return RaceErrors(drawn(S, len(positions), 10, seed=1), {}, 0)

    monkeypatch.setattr(module, "gather_errors", gathered)
    monkeypatch.setattr(module, "CANDIDATES", (0.01,))
    assert main([*calibrated(tmp_path, S), "--choose-z"]) == 2
    assert capsys.readouterr().err.startswith("--choose-z: ")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("task.race.images=148", "task.race.images=148: allowed: at least 149 with --choose-z"),
        ("task.race.images=500", "task.race.images=500: allowed: at most 499 with --choose-z"),
        ("task.race.rule=t_test", "task.race.rule=t_test: allowed: gaussian with --choose-z"),
        ("dataset.limit=800", "dataset.limit=800: 100 of the 800 images calibrate the race"),
    ],
)
def test_a_choice_that_cannot_be_made_is_one_line(
    override: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", f"paths.results={tmp_path}", override, "--choose-z"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1
