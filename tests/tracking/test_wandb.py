"""W&B in its offline mode, read back with wandb's own reader."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from bigain.cli.main import main
from bigain.runs.files import METRICS, SAMPLES, read_csv
from bigain.runs.store import run_folders
from bigain.tracking.pictures import hardest_images
from bigain.tracking.view import history, summary
from bigain.tracking.wandb_file import is_whole
from tests.tracking.commands import QUICK, ROOT, bigain, logs, points, read_back, started


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a sweep of three runs that W&B shows offline."""
    results = tmp_path_factory.mktemp("swept")
    done = bigain(
        *("-m", "operator=none,todo,lgtm", "tracking=wandb", "tracking.mode=offline", *QUICK),
        *("tracking.tags=[mine]", f"paths.results={results}"),
        **{"HOME": str(results / "home" / "somebody"), "USER": "somebody"},
    )
    assert done.returncode == 0, done.stderr
    assert "the run continues" not in done.stderr
    return results


def test_each_run_of_a_sweep_is_one_run_of_wandb_and_equals_the_csv(swept: Path) -> None:
    runs = {folder.name: folder for folder in run_folders(swept)}
    assert logs(swept).keys() == runs.keys()
    assert len(runs) == 3
    for name, (path,) in logs(swept).items():
        shown = json.loads(read_back(path, "--summary"))
        expected = summary(read_csv(runs[name] / METRICS))
        assert {key: shown["summary"][key] for key in expected} == pytest.approx(expected)
        assert (shown["run_id"], shown["project"], shown["state"]) == (name, "bigain", "finished")
        assert {"mini_unet", "fashion_mnist", "mine"} < set(shown["tags"])
        assert shown["config"]["dataset"]["limit"] == 3
        records = read_csv(runs[name] / SAMPLES)
        last = points(path)[3]
        assert last["running_acc1"] == pytest.approx(
            history(records, "classification")[-1][1]["running_acc1"]
        )
        assert last["images_per_s"] > 0
        media = {file.name.partition("_")[0] for file in path.parent.rglob("media/*/*")}
        drawn = {"merge"} if shown["config"]["operator"]["name"] != "none" else set()
        assert media == {"confusion", "hardest"} | drawn
        (table,) = path.parent.rglob("media/html/*.html")
        assert table.read_text().count("<tr>") == 3
        (margin, *_) = sorted(row[3] for row in hardest_images(records))
        assert f"{margin:.6f}" in table.read_text()


def test_nothing_names_a_folder_or_a_user_or_the_machine(swept: Path) -> None:
    """Neither what W&B uploads nor any other file: logs, pictures, what is remembered."""
    files = [path for path in (swept / "wandb").rglob("*") if path.is_file()]
    assert {".wandb", ".log", ".png", ".html", ".txt"} <= {path.suffix for path in files}
    secrets = (str(swept), str(Path.home()), str(ROOT), "somebody")
    host = re.compile(rf"(?<![\w.]){re.escape(os.uname().nodename)}(?![\w.])")
    for path in files:
        found = path.resolve().read_bytes()
        assert not [each for each in secrets if each.encode() in found], path
        if path.suffix in (".wandb", ".log", ".html"):
            text = read_back(path) if path.suffix == ".wandb" else found.decode()
            assert not [each for each in secrets if each in text], path
            assert not host.search(text), path


def test_a_file_that_was_cut_off_is_not_whole(swept: Path, tmp_path: Path) -> None:
    """A full disk leaves whole pages of 4096 bytes; a kill may leave any number."""
    cut = tmp_path / "cut.wandb"
    for (path,) in logs(swept).values():
        data = path.read_bytes()
        assert is_whole(path)
        for size in (7, 20, 4096, len(data) // 2, len(data) - 1):
            cut.write_bytes(data[:size])
            assert not is_whole(cut), size


def test_a_finished_run_is_not_shown_again_and_results_do_not_depend_on_it(
    swept: Path, tmp_path: Path
) -> None:
    before = logs(swept)
    shown = (f"paths.results={swept}", "tracking=wandb", "tracking.mode=offline")
    assert bigain("operator=todo", *QUICK, *shown).returncode == 0
    assert bigain("sync-wandb", "--all", "--mode", "offline", "--results", str(swept)).stdout == (
        "0 runs shown, 3 were there already\n"
    )
    assert logs(swept) == before
    assert bigain("operator=todo", *QUICK, f"paths.results={tmp_path}").returncode == 0
    assert not (tmp_path / "wandb").exists()
    (alone,) = run_folders(tmp_path)
    assert (alone / SAMPLES).read_bytes() == (swept / "runs" / alone.name / SAMPLES).read_bytes()


def test_published_runs_are_shown_once(tmp_path: Path) -> None:
    """A fresh clone has no folders of runs; a second call finds everything there."""
    (tmp_path / "mini").symlink_to(ROOT / "results" / "mini")
    some = json.loads(next(iter((ROOT / "results/mini/manifests").glob("*.json"))).read_text())
    arguments = ("sync-wandb", some["run_id"], "--mode", "offline", "--results", str(tmp_path))
    first, second = bigain(*arguments, "--views"), bigain(*arguments)
    views = tmp_path / "wandb" / "views.json"
    assert first.stdout == f"1 runs shown, 0 were there already\n{views}\n", first.stderr
    assert [view["displayName"] for view in json.loads(views.read_text("utf-8"))] == [
        "BiGain {backbone} {dataset}, {limit} images".format(
            **some["columns"], limit=some["config"]["dataset"]["limit"]
        )
    ]
    assert second.stdout == "0 runs shown, 1 were there already\n"
    ((name, (path,)),) = logs(tmp_path).items()
    assert name == some["run_id"]
    shown = json.loads(read_back(path, "--summary"))
    rows = [
        row for row in read_csv(ROOT / "results" / "mini" / "runs.csv") if row["run_id"] == name
    ]
    expected = summary(rows)
    assert {key: shown["summary"][key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_showing_many_runs_is_interrupted_and_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "mini").symlink_to(ROOT / "results" / "mini")
    names = sorted(each.stem for each in (ROOT / "results/mini/manifests").glob("*.json"))[:6]
    arguments = ("sync-wandb", *names, "--mode", "offline", "--results", str(tmp_path))
    first = started(*arguments)
    while len(list((tmp_path / "wandb").glob("shown/*.txt"))) < 2:
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(how)
    _, told = first.communicate()
    assert first.returncode != 0
    assert "Traceback" not in told
    done = len(list((tmp_path / "wandb").glob("shown/*.txt")))
    assert 2 <= done < 6
    second = bigain(*arguments)
    assert second.stdout == f"{6 - done} runs shown, {done} were there already\n", second.stderr
    assert "6/6" in second.stderr  # the bar
    shown = logs(tmp_path)
    assert sorted(shown) == names
    # The run that was cut off is there twice on disk: its second file is whole.
    assert sum(map(len, shown.values())) <= 7
    for name, paths in shown.items():
        steps = sorted(points(paths[-1]))
        assert steps == sorted(set(steps))
        assert json.loads(read_back(paths[-1], "--summary"))["run_id"] == name


def test_a_server_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mini").symlink_to(ROOT / "results" / "mini")
    some = next(iter((ROOT / "results/mini/manifests").glob("*.json"))).stem
    server = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40}
    done = bigain("sync-wandb", some, "--mode", "online", "--results", str(tmp_path), **server)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("sync-wandb: ")
    assert not (tmp_path / "wandb" / "shown").exists()


def test_without_wandb_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "bigain.tracking.wandb_client", raising=False)
    (tmp_path / "mini").symlink_to(ROOT / "results" / "mini")
    for arguments in (
        ["sync-wandb", "--all", "--results", str(tmp_path)],
        ["tracking=wandb", *QUICK, f"paths.results={tmp_path}"],
    ):
        assert main(arguments) == 2
        assert "bigain[wandb]" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_without_the_package_of_the_views_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = [name for name in sys.modules if name.startswith("wandb_workspaces.")]
    for name in ("wandb_workspaces", *loaded):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "bigain.tracking.wandb_views", raising=False)
    monkeypatch.setattr("bigain.cli.sync_wandb.show_runs", lambda *_: None)
    (tmp_path / "mini").symlink_to(ROOT / "results" / "mini")
    some = next(iter((ROOT / "results/mini/manifests").glob("*.json"))).stem
    assert main(["sync-wandb", some, "--views", "--results", str(tmp_path)]) == 2
    assert "bigain[wandb]" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sync-wandb",), "sync-wandb: allowed: run ids, --all, or --table N"),
        (("sync-wandb", "--all", "--table", "4"), "sync-wandb: allowed: run ids, --all, or --tab"),
        (("sync-wandb", "--table", "20"), "--table=20: allowed: 1, 2"),
        (("sync-wandb", "--mode", "on"), "--mode=on: allowed: online, offline"),
        (("sync-wandb", "0123456789abcdef"), "run_id=0123456789abcdef: no such run"),
        (("tracking=wandb", "tracking.mode=on", *QUICK), "tracking.mode=on: allowed: null"),
        (("tracking=wandbb", *QUICK), "tracking=wandbb: "),
    ],
    ids=str,
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    place = f"paths.results={tmp_path}"
    results = ("--results", str(tmp_path)) if arguments[0] == "sync-wandb" else (place,)
    done = bigain(*arguments, *results)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(message)
