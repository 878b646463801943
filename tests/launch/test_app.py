"""The runner with a stand-in for `bigain.engine.run.run`: Hydra is real, no model is loaded."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import bigain
import bigain.engine.run
from bigain.cli.main import main
from bigain.config import RunConfig
from bigain.engine.run import RunOutcome
from bigain.errors import UserError
from bigain.runs.files import Evaluation
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore

Ran = list[RunConfig]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIGAIN_RESULTS", raising=False)
    return tmp_path


@pytest.fixture
def ran(here: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """The runs made so far; seed 1 is a mistake of the user, 2 a bug, 3 an interrupt."""
    runs: Ran = []
    endings = {1: UserError("dataset.root=x: is\nempty"), 2: RuntimeError("a bug")}

    def run(config: RunConfig, **_: object) -> RunOutcome:
        runs.append(config)
        if config.seed == 3:
            raise KeyboardInterrupt
        store = RunStore(config.paths.results, run_id(config))
        with store.open(config, [1], {}) as session:
            if config.seed in endings:
                raise endings[config.seed]
            for image_id in session.todo():
                session.append({"image_id": image_id})
            session.finish(lambda records: Evaluation(records, []))
        return RunOutcome(store.run_id, store.folder, store.status(), 1)

    monkeypatch.setattr(bigain.engine.run, "run", run)
    return runs


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# One run.


def test_a_run_gets_its_configuration_and_leaves_nothing_but_its_folder(
    here: Path, ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["operator=tome", "operator.ratio=0.3", "seed=7"]) == 0
    assert [(run.operator.name, run.seed) for run in ran] == [("tome", 7)]
    out, err = capsys.readouterr()
    assert out.startswith(f"{run_id(ran[0])}  done  mini_dit tome ratio=0.3  {here}/results")
    assert err == ""
    assert {path.name for path in here.iterdir()} == {"results"}
    assert {path.name for path in (here / "results").iterdir()} == {"runs"}


def test_a_users_mistake_at_run_time_is_one_line_and_code_2(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["seed=1"]) == 2
    assert capsys.readouterr() == ("", "dataset.root=x: is empty\n")


def test_a_bug_shows_its_trace_back_and_code_1(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["seed=2"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Traceback")
    assert err.endswith("RuntimeError: a bug\n")
    assert "HYDRA_FULL_ERROR" not in err


def test_an_interrupt_is_one_line(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seed=3"]) == 1
    assert capsys.readouterr().err == "interrupted; the same command continues where it stopped\n"


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_job_in_another_folder_uses_the_paths_as_planned(
    here: Path, ran: Ran, sweep: list[str]
) -> None:
    raw = here / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-images-idx3-ubyte").touch()
    elsewhere = ["hydra.job.chdir=true", "hydra.run.dir=run", "hydra.sweep.dir=run"]
    assert main([*sweep, "seed=0", *elsewhere, "paths.results=mine"]) == 0
    assert (ran[0].paths.results, ran[0].dataset.root) == (here / "mine", here / "data")
    assert {path.name for path in here.iterdir()} == {"data", "mine", "run"}
    assert main(["status", "--results", "mine"]) == 0
    assert RunStore(here / "mine", run_id(ran[0])).status() == "done"


# Sweeps.


def test_a_sweep_makes_every_run_once_and_keeps_its_record_with_the_results(
    here: Path, ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["operator=tome,lgtm", "--multirun", "operator.ratio=0.3"]) == 0
    made = [(run.operator.name, run.operator.settings()["ratio"]) for run in ran]
    assert made == [("tome", 0.3), ("lgtm", 0.3)]
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == [run_id(run) for run in ran]
    assert "failed" not in err
    assert {path.name for path in here.iterdir()} == {"results"}
    elsewhere = {name for name in files(here / "results") if not name.startswith("runs/")}
    names = sorted(Path(name).name for name in elsewhere)
    assert names == ["0000.json", "0001.json", "ended", "multirun.yaml", "sweep.json"]


def test_failures_do_not_stop_a_sweep_and_are_listed_together(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", "seed=1,2,0"]) == 1
    assert [run.seed for run in ran] == [1, 2, 0]
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines()] == ["done"]
    listed = err[err.index("2 of 3 runs failed:\n") :].splitlines()[1:]
    assert listed == [
        f"  {run_id(ran[0])}  seed=1  dataset.root=x: is empty",
        f"  {run_id(ran[1])}  seed=2  RuntimeError: a bug",
    ]


def test_a_sweep_with_users_mistakes_alone_failed_too(ran: Ran) -> None:
    assert main(["-m", "seed=1"]) == 1


def test_nothing_of_a_run_reaches_the_next(ran: Ran) -> None:
    """The same runs, in one sweep and each alone, get equal configurations."""
    main(["-m", "operator=ie_kvd,none", "backbone=mini_unet"])
    swept = list(ran)
    ran.clear()
    for name in ("ie_kvd", "none"):
        main([f"operator={name}", "backbone=mini_unet"])
    assert ran == swept
    assert len({run_id(run) for run in ran}) == 2


def test_an_experiment_sweeps_without_a_flag(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment=merging_sweep", "operator=tome", "operator.ratio=0.3"]) == 0
    assert [run.operator.settings()["ratio"] for run in ran] == [0.3]
    assert "Launching 1 jobs" in capsys.readouterr().err


# What is refused before anything happens.


@pytest.mark.parametrize(
    "arguments",
    [
        ["+operator.ratoi=0.7"],
        ["operator=tome", "operator.cell=[2"],
        ["backbone=mini_dit", "backbone.sites.blocks=[4]"],
        ["backbone=mini_unet", "backbone.sites.levels=[2]"],
        ["-m", "seed=range(1,0)"],
        ["-m", "operator=tome,none", "operator.ratio=0.5"],
        ["operator=tome,lgtm"],
        ["seed=0", "status"],
        ["--cfg", "job", "-m"],
        ["--cfg", "job", "operator=tomee"],
        ["--resolve"],
        ["--config-name", "train_mini"],
        ["--config-dir", "x"],
        ["--experimental-rerun", "x"],
    ],
)
def test_a_wrong_command_line_is_one_line_and_does_nothing(
    arguments: list[str], here: Path, ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert ran == []
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--mutlirun seed=0", "--mutlirun: no such flag; .*; did you mean --multirun[?]"),
        ("--cfg jobs", r"--cfg/-c: invalid choice: 'jobs'; allowed: '?job'?, '?hydra'?, '?all'?"),
        ("--cfg job -p foo", "--package foo: nothing to show; allowed: profile, backbone, .*paths"),
        ("--cfg job -p backbon.sites", ".*; did you mean backbone.sites\\?"),
        ("--cfg hydra -p foo", "package 'foo' not found in config"),
    ],
)
def test_a_wrong_flag_is_one_line(
    arguments: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(f"{expected}\n", err)


@pytest.mark.parametrize("package", ["operator", "backbone.sites.levels", "_global_"])
def test_a_part_of_the_configuration_is_shown(
    package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--cfg", "job", "-p", package]) == 0
    out, err = capsys.readouterr()
    assert out
    assert err == ""


@pytest.mark.parametrize("results", ["file", "file/below"])
@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_results_need_a_folder(
    here: Path, ran: Ran, capsys: pytest.CaptureFixture[str], results: str, flags: list[str]
) -> None:
    (here / "file").touch()
    assert main([*flags, f"paths.results={results}"]) == 2
    message = capsys.readouterr().err
    expected = f"paths.results={here / results}: allowed: a folder that you can write to"
    assert message.startswith(expected)
    assert message.count("\n") == 1
    assert ran == []


# What only shows something.


def test_the_configuration_is_shown_and_nothing_runs(
    here: Path, ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--cfg", "job", "operator=tome", "seed=4"]) == 0
    out, err = capsys.readouterr()
    shown = OmegaConf.create(out)
    assert (shown.operator.name, shown.seed, err) == ("tome", 4, "")
    assert "hydra" not in shown
    assert ran == []
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], ["usage: python -m bigain", "verbs", "groups", "operator.ratio", "examples"]),
        (["--hydra-help"], ["--multirun"]),
        (["--version"], [f"bigain {bigain.__version__}\n"]),
    ],
)
def test_help_is_printed(
    arguments: list[str], expected: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in expected)
    assert list(here.iterdir()) == []
