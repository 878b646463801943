"""A race from the command line: calibrated, run, compared, refused."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from bigain.cli.main import main
from bigain.data.fashion_mnist import FashionMNIST
from bigain.launch.compose import compose_config
from bigain.runs.calibrations import calibration_path
from bigain.runs.files import METRICS, read_csv
from bigain.runs.identity import run_id
from bigain.runs.samples import read_samples

OWN = ["backbone=mini_unet", "dataset.limit=4", "task.trial_list=[2,6]", "task.keep_list=[3,1]"]
RACE = ["task.allocation=racing", "task.race.images=60", "task.race.audit=0.5"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration, a race and the staged run of the same images."""
    folder = tmp_path_factory.mktemp("results")
    place = f"paths.results={folder}"
    assert main(["calibrate", *OWN, *RACE, place]) == 0
    assert main([*OWN, *RACE, place]) == 0
    assert main([*OWN, place]) == 0
    return folder


def name_of(results: Path, *overrides: str) -> str:
    return run_id(compose_config([*OWN, *overrides, f"paths.results={results}"]))


def test_a_race_without_calibration_is_refused_and_the_command_makes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*OWN, *RACE, "task.trial_list=[1,2]", f"paths.results={tmp_path}"]
    assert main(command) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert not (tmp_path / "runs").exists()
    assert main(shlex.split(line.partition("with: bigain ")[2])) == 0
    assert main(command) == 0


def test_a_race_has_a_ledger_and_no_errors_of_a_first_stage(results: Path) -> None:
    folder = results / "runs" / name_of(results, *RACE)
    samples = read_samples(folder)
    assert not (folder / "errors.npz").exists()
    assert samples[["true_errors", "margin_mean", "margin_variance"]].isna().all(axis=None)
    assert samples["evaluations"].between(20, 60).all()
    audited = samples["full_prediction"].notna()
    assert [sum(trials) == 60 for trials in samples["trials"][audited]] == [True] * audited.sum()
    taken = samples["trials"].map(sum)
    assert (taken[~audited] == samples["evaluations"][~audited]).all()
    metrics = {row["metric"]: row for row in read_csv(folder / METRICS)}
    assert list(metrics) == ["acc1", "evaluations", "race_spent", "race_agreement"]
    assert float(metrics["evaluations"]["value"]) == samples["evaluations"].mean()
    assert int(metrics["race_agreement"]["n"]) == audited.sum()


def test_the_published_rules_race_without_a_promise(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The t test takes its order from the calibration of the race; halving has none."""
    place = f"paths.results={results}"
    halving = ["task.race.rule=halving", "task.race.stages=[[2,4],[4,2]]", RACE[0], RACE[2]]
    for own in ([*RACE, "task.race.rule=t_test", "task.race.minimum=3"], halving):
        assert main([*OWN, *own, place]) == 0
        folder = results / "runs" / name_of(results, *own)
        samples = read_samples(folder)
        assert samples["spent"].isna().all()
        metrics = [row["metric"] for row in read_csv(folder / METRICS)]
        assert metrics == ["acc1", "evaluations", "race_agreement"]
    assert set(samples["evaluations"]) == {2 * 10 + 2 * 4 + 2 * 2}
    assert (
        main(["compare", name_of(results, *halving), name_of(results), "--results", str(results)])
        == 0
    )
    assert main(["calibrate", *OWN, *halving, place]) == 2
    assert "task.race.rule=halving: needs no calibration" in capsys.readouterr().err


def test_the_calibration_is_of_the_last_images_and_says_what_it_belongs_to(results: Path) -> None:
    config = compose_config([*OWN, *RACE, f"paths.results={results}"])
    content = json.loads(calibration_path(config).read_text())
    assert len(content["image_ids"]) == 60
    assert sorted(content["order"]) == list(range(6))
    assert content["settings"]["operator"] == {"name": "none"}
    assert content["settings"]["task"]["trials"] == 6
    assert list(content["fit"]) == ["2", "5"]


def test_a_second_calibration_computes_nothing(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = calibration_path(compose_config([*OWN, *RACE, f"paths.results={results}"]))
    before = path.read_bytes()
    assert main(["calibrate", *OWN, *RACE, f"paths.results={results}"]) == 0
    assert "(0 images computed" in capsys.readouterr().out
    assert path.read_bytes() == before


def test_a_calibration_of_too_few_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of six images the order, of six others the covariance of six trials."""
    own = [*OWN, *RACE, "task.race.images=12", f"paths.results={tmp_path}"]
    assert main(["calibrate", *own]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("task.race.images=12: the calibration does not fit images")
    assert "task.race.images=24" in line
    assert not (tmp_path / "calibrations").exists()


def test_a_bad_fit_is_no_fault_where_the_order_alone_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rules share the file, so a Gaussian race checks what it reads."""
    own = [*OWN, *RACE, "task.race.images=12", f"paths.results={tmp_path}"]
    t_test = [*own, "task.race.rule=t_test", "task.race.minimum=3", "dataset.limit=1"]
    assert main(["calibrate", *t_test]) == 0
    assert "over the predicted one: " in capsys.readouterr().out
    assert main(t_test) == 0
    for verb in (["calibrate"], []):
        assert main([*verb, *own]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "task.race.images=12: the calibration does not fit images" in line


def test_all_runs_are_checked_before_the_first_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [f"paths.results={tmp_path}", f"paths.cache={tmp_path / 'cache'}"]
    sweep = ["calibrate", "-m", *OWN, *RACE, *place, "task.race.images=60,5000000"]
    assert main(sweep) == 2
    assert capsys.readouterr().err.startswith("task.race.images=5000000: allowed: ")
    assert not list(tmp_path.iterdir())


def test_a_calibration_is_of_races_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in ([], ["-m"]):
        own = [*flags, *OWN, "task.allocation=staged", f"paths.results={tmp_path}"]
        assert main(["calibrate", *own]) == 2
        assert capsys.readouterr().err.startswith("task.allocation=staged: allowed: racing")


def test_a_calibration_that_is_there_is_kept_unless_it_is_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With another batch size its digits, and so the name of the race, could be others."""
    own = [*OWN, *RACE, "task.trial_list=[1,2]", f"paths.results={tmp_path}"]
    own += [f"paths.cache={tmp_path / 'cache'}"]
    assert main(["calibrate", *own]) == 0
    path = calibration_path(compose_config(own))
    before, name = path.read_bytes(), run_id(compose_config(own))
    shutil.rmtree(tmp_path / "cache")
    capsys.readouterr()
    assert main(["calibrate", *own, "batch_size=3"]) == 0
    assert "(0 images computed" in capsys.readouterr().out
    assert path.read_bytes() == before
    assert run_id(compose_config([*own, "batch_size=3"])) == name
    path.write_text("{}")
    assert main(["calibrate", *own]) == 2
    assert "force=true" in capsys.readouterr().err
    assert main(["calibrate", *own, "force=true"]) == 0
    assert "(60 images computed" in capsys.readouterr().out
    assert path.read_bytes() == before


@pytest.mark.parametrize("verb", [["calibrate"], []])
def test_a_race_is_not_compiled(
    results: Path, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    command = [*verb, *OWN, *RACE, "compile=true", f"paths.results={results}"]
    assert main(command) == 2
    line = capsys.readouterr().err
    assert line.startswith("compile=true: allowed: false or task.allocation=staged")
    assert line.count("\n") == 1


def test_a_race_is_compared_by_its_decisions(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [name_of(results, *RACE), name_of(results)]
    page = tmp_path / "page.html"
    assert main(["compare", *pair, "--results", str(results), "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "acc1 " in out
    assert "eps_error_rise  — (a race" in out
    assert "A race has no noise errors" in page.read_text()


def test_images_of_the_calibration_are_not_raced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = len(FashionMNIST.open_all(None)) - 5  # the whole split, where a machine has it
    files = [f"paths.results={tmp_path}", *RACE, *OWN]
    assert main(["calibrate", *files, f"dataset.limit={limit}"]) == 2
    assert f"dataset.limit={limit}: 55 of the {limit} images" in capsys.readouterr().err
    assert not (tmp_path / "calibrations").exists()


def test_tables_are_of_the_staged_protocol(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "4", "--dry-run", RACE[0], f"paths.results={results}"]) == 2
    assert capsys.readouterr().err.startswith("task.allocation=racing: a race has no noise errors")
