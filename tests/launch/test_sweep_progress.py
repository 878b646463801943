"""How far a sweep is: a line a minute, or a bar on a terminal."""

import sys
import time
from pathlib import Path

import pytest

from bigain.launch import watch
from bigain.runs.sweeps import Job, SweepFolder


def test_progress_counts_jobs_and_estimates_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    folder = SweepFolder(tmp_path)
    jobs = [Job(at, "x", "0of1", ()) for at in range(6)]
    folder.create("joblib", jobs)
    folder.write(jobs[0].into("done"))  # before the launch
    progress = watch.Progress(folder, 6, {0})
    clock[0] += 50
    progress.maybe()
    assert capfd.readouterr().err == "", "once a minute"
    for at, state in ((1, "done"), (2, "failed"), (3, "running")):
        folder.write(jobs[at].into(state))
    clock[0] += 70
    progress.maybe()
    line = capfd.readouterr().err
    assert "2 of 6 jobs done" in line
    assert "1 failed" in line
    assert "about 3 min 0 s left" in line, "two in two minutes, three are left"


def test_a_terminal_has_a_bar_of_runs_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    folder = SweepFolder(tmp_path)
    jobs = [Job(at, "x", "0of1", ()) for at in range(4)]
    folder.create("joblib", jobs)
    folder.write(jobs[0].into("done"))
    with watch.Progress(folder, 4, {0}) as progress:
        for at, state in ((1, "done"), (2, "failed")):
            folder.write(jobs[at].into(state))
        progress.maybe()
        assert (progress._bar.n, progress._bar.total) == (3, 4)
        progress._bar.refresh()
    assert "3/4" in capsys.readouterr().err
