"""`bigain analysis` from the command line."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bigain.cli import main as cli
from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id
from bigain.runs.samples import read_samples

ONE = ["task.trial_list=[3]", "task.keep_list=[1]", "dataset.limit=6"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for operator in ("none", "tome"):
        assert cli.main([*ONE, f"operator={operator}", f"paths.results={folder}"]) == 0
    return folder


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["analysis", *words]) == 0
    return str(capsys.readouterr().out)


def test_three_formats_have_the_same_runs(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--results", str(results)]
    names = sorted(path.name for path in (results / "runs").iterdir())
    found = json.loads(output(capsys, *place, "--format", "json"))
    assert {record["run"] for record in found} == set(names)
    assert len({record["reference"] for record in found}) == 1
    reference = found[0]["reference"]
    assert {record["n"] for record in found} == {6}
    rows = list(csv.DictReader(io.StringIO(output(capsys, *place, "--format", "csv"))))
    assert [row["quantity"] for row in rows] == [record["quantity"] for record in found]
    for row, record in zip(rows, found, strict=True):
        value = record["value"]
        assert (float(row["value"]) if row["value"] else None) == value
    text = output(capsys, *place)
    assert [line.count("|") for line in text.splitlines() if line.startswith("| ")] == [16] * 6
    (other,) = (name for name in names if name != reference)
    assert output(capsys, other[:8], reference, *place) == text


def test_every_timestep_alone_has_its_accuracy(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["timesteps", "--results", str(results)]
    rows = list(csv.DictReader(io.StringIO(output(capsys, *place, "--format", "csv"))))
    assert [int(row["timestep"]) for row in rows] == [166, 499, 832] * 2
    name = rows[0]["run"]
    errors = np.load(results / "runs" / name / "errors.npz")
    samples = read_samples(results / "runs" / name)
    labels = samples["label"].to_numpy()
    right = errors["errors"].argmin(axis=2) == labels[:, None]
    of_true = errors["errors"][np.arange(6), :, labels].mean(axis=0)
    for column, row in enumerate(rows[:3]):
        assert float(row["accuracy"]) == pytest.approx(right[:, column].mean())
        assert float(row["error"]) == pytest.approx(of_true[column], rel=1e-5)
        assert float(row["chance"]) == pytest.approx(0.1)
        assert float(row["ci_low"]) <= float(row["accuracy"]) <= float(row["ci_high"])
    text = output(capsys, "timesteps", name[:8], "--results", str(results))
    assert [line.split("|")[5].strip() for line in text.splitlines()[2:]] == ["166", "499", "832"]


def test_a_race_leaves_the_reference_alone_which_is_a_mistake(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    place = f"paths.results={tmp_path}"
    halving = ["task.race.rule=halving", "task.race.stages=[[2,4]]"]
    race = [*ONE, "task.allocation=racing", *halving, place]
    assert cli.main(race) == 0
    names = [run_id(compose_config([*own, place])) for own in (race, ONE)]
    capsys.readouterr()
    assert cli.main(["analysis", *names, "--results", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines()[-1].startswith(f"analysis: left out: {names[0]}: has no errors")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["abcd"], "analysis abcd: allowed: RUN"),
        (["a", "b", "--profile", "mini"], "--profile=mini: allowed: without run ids"),
        (["--format", "xml"], "--format=xml: allowed: markdown, csv, json"),
        (["--profile", "paper"], "no classification in .* has errors and a baseline"),
    ],
)
def test_mistakes_are_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert cli.main(["analysis", *words, "--results", str(results)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(line)
