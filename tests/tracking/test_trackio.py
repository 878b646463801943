"""Trackio's files, read back with its own command line."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from bigain.cli.main import main
from bigain.runs.files import METRICS, SAMPLES, read_csv
from bigain.runs.store import run_folders
from bigain.tracking.view import history
from tests.tracking.commands import QUICK, ROOT, bigain, environment, pages, query, started


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a sweep of three runs that W&B and Trackio show."""
    results = tmp_path_factory.mktemp("swept")
    done = bigain(
        *("-m", "operator=none,todo,lgtm", "tracking=[trackio,wandb]", "tracking.mode=offline"),
        *(*QUICK, "tracking.tags=[mine]", f"paths.results={results}"),
        TRACKIO_SERVER_URL="http://127.0.0.1:9/?write_token=x",
    )
    assert done.returncode == 0, done.stderr
    assert "the run continues" not in done.stderr
    assert "Trackio" not in done.stdout
    return results


def test_each_run_of_a_sweep_is_one_page_and_equals_the_csv(swept: Path) -> None:
    runs = {folder.name: folder for folder in run_folders(swept)}
    shown = pages(swept / "trackio")
    assert shown.keys() == runs.keys()
    assert len(runs) == 3
    for name, (config, points) in shown.items():
        (*_, (step, final)) = points
        rows = [row for row in read_csv(runs[name] / METRICS) if row["value"] is not None]
        assert {row["metric"]: final[row["metric"]] for row in rows} == pytest.approx(
            {row["metric"]: row["value"] for row in rows}
        )
        table = {row["metric"]: row for row in final["metrics_with_intervals"]["_value"]}
        assert table["acc1"]["ci_low"] == pytest.approx(
            next(row["ci_low"] for row in rows if row["metric"] == "acc1")
        )
        assert step == 3
        assert (swept / "trackio" / "media" / final["confusion_matrix"]["file_path"]).is_file()
        assert len(final["hardest_images"]["_value"]) == 3
        steps = [at for at, point in points if "running_acc1" in point]
        assert steps == sorted(set(steps))
        last = next(point for at, point in points if at == 3 and "running_acc1" in point)
        expected = history(read_csv(runs[name] / SAMPLES), "classification")[-1][1]
        assert {key: last[key] for key in expected} == pytest.approx(expected)
        assert {"mini_unet", "fashion_mnist", "mine"} < set(config["tags"])
        assert (config["operator_name"], config["task_name"]) == (
            config["operator"]["name"],
            "classification",
        )
        assert config["_Group"]


def test_both_trackers_are_shown_the_same(swept: Path) -> None:
    wandb = {path.name.rpartition("-")[2] for path in (swept / "wandb").glob("offline-run-*")}
    assert wandb == pages(swept / "trackio").keys()


def test_nothing_that_is_shown_names_a_folder_or_a_user(swept: Path) -> None:
    text = "".join(
        str(list(row.values()))
        for table in ("configs", "metrics")
        for row in query(swept / "trackio", f"SELECT * FROM {table}")
    )
    for secret in (str(swept), str(Path.home()), str(ROOT), f'"{os.uname().nodename}"'):
        assert secret not in text
    assert '"_Username": null' in text or '"_Username":null' in text


def test_published_runs_are_shown_once_and_served(tmp_path: Path) -> None:
    """A fresh clone has no folders of runs.  The page is served on loopback until Ctrl-C."""
    (tmp_path / "mini").symlink_to(ROOT / "results" / "mini")
    name = sorted((ROOT / "results/mini/manifests").glob("*.json"))[0].stem
    arguments = ("dashboard", name, "--results", str(tmp_path))
    first = bigain(*arguments, "--no-page")
    assert first.stdout == "1 runs shown, 0 were there already\n", first.stderr
    ((found, (config, points)),) = pages(tmp_path / "trackio").items()
    assert found == name
    rows = [row for row in read_csv(ROOT / "results/mini/runs.csv") if row["run_id"] == name]
    expected = {row["metric"]: row["value"] for row in rows if row["value"] is not None}
    assert {key: points[-1][1][key] for key in expected} == pytest.approx(expected)
    assert not [tag for tag in config["tags"] if tag.startswith("table") and tag[5:] not in NUMBERS]

    port = str(20000 + os.getpid() % 10000)  # tests may not ask the system for a free one
    # A proxy that is not there: nothing but loopback is asked.
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    served = started(*arguments, "--port", port, **proxies)
    try:
        assert served.stdout is not None
        assert served.stdout.readline() == "0 runs shown, 1 were there already\n"
        assert served.stdout.readline().startswith(f"http://127.0.0.1:{port}/?project=bigain")
        served.send_signal(signal.SIGINT)
        rest, _ = served.communicate(timeout=20)
    finally:
        served.kill()
    assert (served.returncode, rest.strip()) == (0, "")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (["--port", "8000"], OSError("Cannot find empty port"), "--port=8000: is taken"),
        ([], OSError("Cannot find empty port"), "dashboard: Cannot find empty port; allowed: --po"),
        (
            ["--port", "8000"],
            OSError(errno.EMFILE, "Too many"),
            "dashboard: the page cannot be",
        ),
    ],
    ids=str,
)
def test_a_page_that_cannot_be_served_says_why(
    given: list[str],
    error: OSError,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = Mock()
    page.show.side_effect = error
    monkeypatch.setattr("bigain.tracking.trackio_client.load_trackio", lambda _: page)
    monkeypatch.setattr("bigain.cli.dashboard.show_runs", lambda *_: None)
    monkeypatch.setattr("bigain.cli.dashboard._curves", lambda *_: {})
    name = sorted((ROOT / "results/mini/manifests").glob("*.json"))[0].stem
    assert main(["dashboard", name, *given, "--results", str(ROOT / "results")]) == 2
    assert capsys.readouterr().err.startswith(message)


NUMBERS = {f"{number:02d}" for number in range(1, 19)}


def test_without_trackio_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    monkeypatch.delitem(sys.modules, "bigain.tracking.trackio_client", raising=False)
    (tmp_path / "mini").symlink_to(ROOT / "results" / "mini")
    for arguments in (
        ["dashboard", "--results", str(tmp_path)],
        ["tracking=[trackio,wandb]", *QUICK, f"paths.results={tmp_path}"],
    ):
        assert main(arguments) == 2
        assert "bigain[trackio]" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_trackers_are_imported_when_asked_for_only() -> None:
    code = (
        "import sys; from bigain.cli.main import main; main(['tracking=[wandb,trackio]', '--cfg', "
        "'job']); print(sorted({'torch', 'wandb', 'trackio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("fault", ["file", "damaged"])
def test_files_that_cannot_be_written_are_one_warning(tmp_path: Path, fault: str) -> None:
    """A file in place of the folder, or no database in its file, as SQLite says."""
    if fault == "file":
        (tmp_path / "trackio").write_text("a file")
    else:
        (tmp_path / "trackio").mkdir()
        (tmp_path / "trackio" / "bigain.db").write_text("no database" * 1000)
    place = f"paths.results={tmp_path}"
    done = bigain("-m", "tracking=trackio", "seed=0,1", *QUICK, place)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("tracking: trackio stopped") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert len(run_folders(tmp_path)) == 2
    shown = bigain("dashboard", "--no-page", "--results", str(tmp_path))
    assert (shown.returncode, "Traceback" in shown.stderr) == (2, False)
    assert shown.stderr.splitlines()[-1].startswith("dashboard: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dashboard", "--all", "--table", "4"], "dashboard: allowed: run ids, --all"),
        (["dashboard", "--table", "20"], "--table=20: allowed: 1, 2"),
        (["dashboard", "--port", "0"], "--port=0: allowed: 1 to 65535"),
        (["dashboard", "0123456789abcdef"], "run_id=0123456789abcdef: no such run"),
        (["-m", "tracking=wandb,trackio"], "tracking=wandb,trackio: would make each run once"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--results", str(ROOT / "results")] if arguments[0] == "dashboard" else []
    assert main([*arguments, *results]) == 2
    lines = capsys.readouterr().err
    assert (lines.startswith(message), lines.count("\n")) == (True, 1), lines
