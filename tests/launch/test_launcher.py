from pathlib import Path

import pytest

from bigain.cli.main import main
from bigain.launch.launcher import launch_runs

COUNT = ("backbone=mini_unet", "task=efficiency", "task.measure=flops")


def test_listed_runs_are_made_by_the_launcher_in_their_order(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = f"paths.results={tmp_path}"
    commands = [(*COUNT, "operator=tome", folder), (*COUNT, folder)]
    assert launch_runs(commands, [folder]) == {}
    shown = capfd.readouterr()
    assert shown.out.index("mini_unet tome") < shown.out.index("mini_unet none")
    assert "Launching 2 jobs" in shown.err
    made = sorted(path.parent.name for path in tmp_path.glob("runs/*/metrics.csv"))
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("runs", "sweeps")] == []


def test_what_ended_a_run_is_returned_and_the_others_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = f"paths.results={tmp_path}"
    lost = ("backbone=sd20", "dataset=pets", f"paths.data={tmp_path}", folder)
    problems = launch_runs([lost, (*COUNT, folder)], [folder])
    assert len(problems) == 1
    assert "dataset=pets" in str(*problems.values())
    assert len(list(tmp_path.glob("runs/*/metrics.csv"))) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_launched_table_is_the_same_as_a_sweep_of_its_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["dataset.limit=1", f"paths.results={tmp_path}", "hydra/launcher=basic"]
    assert main(["table", "12", *words]) == 0
    made = sorted(path.parent.name for path in tmp_path.glob("runs/*/metrics.csv"))
    assert len(made) == 4
    assert "Runs: 4 of 4 done." in capfd.readouterr().out
