import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from bigain.cli import demo
from bigain.cli.demo import BACKBONES, OPERATORS, demo_configs, main
from bigain.cli.main import main as bigain
from bigain.config import RunConfig
from bigain.engine.run import RunOutcome
from bigain.launch.compose import compose_config
from bigain.metrics import image_errors, relative_rise
from bigain.runs.identity import baseline_id, run_id
from bigain.runs.samples import read_samples


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIGAIN_RESULTS", raising=False)
    return tmp_path


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> RunOutcome:
        raise AssertionError("a run was started")

    monkeypatch.setattr(demo, "run", run)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Results and what was printed by the demo and by its repetition."""
    results = tmp_path_factory.mktemp("demo")
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_PROTOCOL", ("task.trial_list=[1,2]", "task.keep_list=[2,1]"))
        patch.setenv("COLUMNS", "80")
        for attempt in ("first", "second"):
            log = results / f"{attempt}.txt"
            with log.open("w", encoding="utf-8") as stream:
                patch.setattr("sys.stdout", stream)
                assert main(["--images", "2", "--results", str(results)]) == 0
            printed.append(log.read_text(encoding="utf-8"))
            if attempt == "first":
                times = modified(results)
                patch.setattr(demo, "_draw", lambda _: None)
    assert modified(results) == times
    return results, printed[0], printed[1]


def modified(results: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (results / "runs").rglob("*.csv")}


def samples_of(results: Path, name: str) -> pd.DataFrame:
    return read_samples(results / "runs" / name)


# What it is made of.


def test_baselines_come_before_what_is_compared_with_them(tmp_path: Path) -> None:
    configs = demo_configs(5, tmp_path)
    assert len(configs) == len(BACKBONES) * len(OPERATORS)
    names = [(config.backbone.name, config.operator.name) for _, _, config in configs]
    for backbone in BACKBONES:
        own = [operator for name, operator in names if name == backbone]
        assert own == ["none", "tome", "lgtm", "todo", "ie_kvd"]
    assert all(config.dataset.limit == 5 for _, _, config in configs)
    assert all(config.paths.results == tmp_path for _, _, config in configs)


def test_the_name_shows_the_alpha_of_the_backbone(tmp_path: Path) -> None:
    names = {(backbone, name) for backbone, name, _ in demo_configs(5, tmp_path)}
    assert ("mini_dit", "IE-KVD 2x, a=0 (avg)") in names
    assert ("mini_unet", "IE-KVD 2x, a=0.9") in names


def test_results_may_lie_in_a_folder_with_any_name(tmp_path: Path) -> None:
    results = tmp_path / "a folder, (new)=[1]"
    assert {config.paths.results for _, _, config in demo_configs(5, results)} == {results}


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--images x", "--images=x: allowed: a whole number"),
        ("--foo", "bigain demo: unrecognized arguments: --foo; usage: bigain demo"),
        ("--image 3", ".*; did you mean --images[?]"),
        ("--images 0", "dataset.limit=0: allowed: "),
        ("--results file", "paths.results=.*/file: allowed: a folder that you can write to"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    arguments: str,
    expected: str,
    here: Path,
    forbidden: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (here / "file").touch()
    assert bigain(["demo", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.match(expected, err)
    assert [path.name for path in here.iterdir()] == ["file"]


# Where it writes.


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        (None, [], "results/demo"),
        ("elsewhere", [], "elsewhere/demo"),
        ("elsewhere", ["--results", "mine"], "mine"),
    ],
)
def test_results_follow_the_configuration(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: str | None,
    arguments: list[str],
    expected: str,
) -> None:
    if environment:
        monkeypatch.setenv("BIGAIN_RESULTS", environment)
    seen: list[tuple[Path, bool]] = []

    def run(config: RunConfig, *, progress: bool) -> RunOutcome:
        seen.append((config.paths.results, progress))
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", run)
    with pytest.raises(KeyboardInterrupt):
        main(arguments)
    assert seen == [(here / expected, False)]
    assert (here / expected).is_dir()


# What it says.


def test_all_runs_are_made_once_and_the_picture_is_drawn(ran: tuple[Path, str, str]) -> None:
    results, _, _ = ran
    assert len(list((results / "runs").iterdir())) == len(BACKBONES) * len(OPERATORS)
    assert (results / "merge_maps.png").read_bytes().startswith(b"\x89PNG")


def test_every_operator_has_its_row_on_both_backbones(ran: tuple[Path, str, str]) -> None:
    for printed in ran[1:]:
        for name in OPERATORS:
            assert len(re.findall(rf"^ {re.escape(name)}[ ,]", printed, re.MULTILINE)) == 2
        for backbone in BACKBONES:
            assert len(re.findall(rf"^{backbone} *$", printed, re.MULTILINE)) == 1


def test_the_table_fits_with_the_widest_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    configs = demo_configs(40, Path("x"))
    outcomes = [RunOutcome(run_id(config), Path("x"), "done", 0) for _, _, config in configs]
    frames = iter([frame(wrong=operator == "none") for _, operator, _ in configs])
    monkeypatch.setattr(demo, "read_samples", lambda _: next(frames))
    console = Console()
    with console.capture() as capture:
        console.print(demo._table(configs, outcomes, 40))
    printed = capture.get()
    assert "…" not in printed
    assert "+100.0 [" in printed
    assert len([line for line in printed.splitlines() if "[" in line]) == 10
    assert max(map(len, printed.splitlines())) <= 80


def frame(*, wrong: bool) -> pd.DataFrame:
    errors = [[1.0 + (0.0 if wrong else 0.05 * i)] for i in range(40)]
    columns = {"image_id": range(40), "correct": [not wrong] * 40, "true_errors": errors}
    return pd.DataFrame(columns)


def test_the_rise_of_the_noise_error_comes_from_the_samples(ran: tuple[Path, str, str]) -> None:
    """Not from metrics.csv, which may have been written before the baseline was there."""
    results, first, _ = ran
    run = compose_config(
        [
            *("backbone=mini_unet", "operator=todo", "dataset.limit=2"),
            *("task.trial_list=[1,2]", "task.keep_list=[2,1]", f"paths.results={results}"),
        ]
    )
    own, baseline = samples_of(results, run_id(run)), samples_of(results, baseline_id(run))
    rise = relative_rise(image_errors(own), image_errors(baseline))
    row = [line for line in first.splitlines() if line.startswith(" ToDo 2x")][-1]
    expected = f"{100 * rise.mean:+.1f} [{100 * rise.ci_low:.1f}, {100 * rise.ci_high:.1f}]"
    assert row.rstrip().endswith(expected)


def test_one_image_gives_no_interval_of_a_mean() -> None:
    single = {"image_id": [3], "correct": [True]}
    own = pd.DataFrame({**single, "true_errors": [[0.3]]})
    baseline = pd.DataFrame({**single, "true_errors": [[0.2]]})
    assert demo._against(own, baseline)[1] == "+50.0"
