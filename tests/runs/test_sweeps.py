import dataclasses
from pathlib import Path

from bigain.runs.beats import Heartbeat, own_process
from bigain.runs.sweeps import Job, SweepFolder, sweep_folders

JOB = Job(3, "0123456789abcdef", "1of4", ("seed=1", "shard.index=1"))


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "sweeps" / "now")
    sweep.create("joblib", [JOB])
    (pending,) = sweep.jobs().values()
    assert (pending.state, pending.begun, pending.process) == ("pending", 0, {})
    failed = pending.begin().into("failed", "no memory", is_users=True)
    sweep.write(failed)
    (found,) = sweep.jobs().values()
    assert found == failed
    assert (found.begun, found.error, found.is_users) == (1, "no memory", True)
    assert found.process["pid"] == own_process()["pid"]
    assert found.times.keys() == {"pending", "running", "failed"}
    assert [each.engine for each in sweep_folders(tmp_path)] == ["joblib"]


def test_a_job_that_goes_on_has_no_error_and_counts_its_processes() -> None:
    again = JOB.begin().into("stopped", "SystemExit 143").begin()
    assert (again.state, again.begun, again.error) == ("running", 2, None)


def test_only_a_job_with_a_fresh_beat_is_at_work(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path)
    sweep.create("joblib", [JOB, dataclasses.replace(JOB, position=4)])
    with Heartbeat(sweep.beat_of(3), lambda: {"run_id": "x"}):
        at_work = sweep.at_work([3, 4])
    assert at_work.keys() == {3}
    assert at_work[3]["run_id"] == "x"
    assert sweep.at_work([3, 4]) == {}


def test_what_cannot_be_read_is_no_job(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path)
    sweep.create("joblib", [JOB])
    for name, text in (("0004.json", "{"), ("0005.json", "[]"), ("0006.json", "{}")):
        (tmp_path / "jobs" / name).write_text(text)
    assert sweep.jobs().keys() == {3}
    assert sweep.jobs([4, 9]) == {}
    assert SweepFolder(tmp_path / "nowhere").jobs() == {}


def test_names_of_tasks_and_the_mark_to_stop_are_kept(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path)
    assert (sweep.tasks(), sweep.stops) == ({}, False)
    sweep.note_tasks({0: "7_0", 2: "7_1"})
    sweep.stop("the first one failed")
    assert (sweep.tasks(), sweep.stops) == ({0: "7_0", 2: "7_1"}, True)
