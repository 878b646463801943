"""Who may write into a run's folder, and what its manifest says in each phase of its life."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bigain.config import RunConfig
from bigain.errors import FaultError, UserError
from bigain.runs import beats
from bigain.runs.files import Evaluation, Records
from bigain.runs.identity import baseline_id, family_id, run_id
from bigain.runs.journal import iterate_journal
from bigain.runs.store import SCHEMA_VERSION, RunStore, damaged_runs, run_folders

Make = Callable[..., RunConfig]
MakeRecord = Callable[..., dict[str, Any]]
IDS = list(range(10, 16))


def store_of(results: Path, config: RunConfig) -> RunStore:
    return RunStore(results, run_id(config))


def complete(store: RunStore, config: RunConfig, make_record: MakeRecord) -> bool:
    with store.open(config, IDS, {}) as session:
        for image_id in session.todo():
            session.append(make_record(image_id))
        return session.finish(lambda records: Evaluation(records, []))


def test_a_run_lives_from_absent_over_running_to_done(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    assert store.folder == tmp_path / "runs" / run_id(config)
    assert (store.status(), store.is_finished(), store.manifest()) == ("absent", False, {})
    with store.open(config, IDS, {}) as session:
        assert (store.status(), store.is_finished()) == ("running", False)
        for image_id in session.todo():
            session.append(make_record(image_id))
        assert store.status() == "running"
        assert session.finish(lambda records: Evaluation(records, []))
        assert store.is_finished()
    assert store.status() == "done"
    assert run_folders(tmp_path) == [store.folder]


def test_asking_for_the_status_creates_nothing(tmp_path: Path, make_config: Make) -> None:
    store_of(tmp_path, make_config()).is_finished()
    assert run_folders(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_tells_everything_from_the_start(
    tmp_path: Path, make_config: Make, tome: dict[str, Any]
) -> None:
    config = make_config(operator=tome, threads=2, seed=5)
    store = store_of(tmp_path, config)
    provenance = {"git_commit": "abc", "hashes": {"weights": "123"}}
    with store.open(config, IDS, provenance):
        manifest = store.manifest()
    started = manifest.pop("started")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()) < 60
    assert manifest.pop("columns")["operator"] == "tome"
    assert manifest == {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id(config),
        "family_id": family_id(config),
        "baseline_id": baseline_id(config),
        "status": "running",
        "error": None,
        "config": config.model_dump(mode="json"),
        "seed": 5,
        "device": "cpu",
        "dtype": "float32",
        "threads": 2,
        "git_commit": "abc",
        "hashes": {"weights": "123"},
        "n_images": len(IDS),
        "finished": None,
        "wall_seconds": 0.0,
        "image_seconds": None,
        "adopted_from": [],
        "shards": {},
    }
    assert (store.folder / "config.yaml").exists()


def test_a_failure_is_on_record_and_the_run_goes_on_where_it_stopped(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)

    def run_out_of_memory() -> None:
        with store.open(config, IDS, {}) as session:
            session.append(make_record(IDS[0]))
            raise MemoryError("out of memory")

    with pytest.raises(MemoryError):
        run_out_of_memory()
    failed = store.manifest()
    assert (failed["status"], failed["error"]) == ("failed", "MemoryError: out of memory")
    assert failed["finished"] is not None
    with store.open(config, IDS, {}) as session:
        again = store.manifest()
        assert (again["status"], again["error"], again["finished"]) == ("running", None, None)
        assert again["started"] == failed["started"]
        assert session.todo() == IDS[1:]
    assert complete(store, config, make_record)
    assert store.manifest()["wall_seconds"] >= failed["wall_seconds"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)])
def test_a_process_that_is_told_to_stop_leaves_an_interrupted_run(
    tmp_path: Path, make_config: Make, stop: BaseException
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    with pytest.raises(type(stop)), store.open(config, IDS, {}):
        raise stop
    assert (store.status(), store.manifest()["error"], store.beats()) == ("running", None, {})


def test_an_exception_after_finish_leaves_the_run_done(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)

    def finish_and_raise() -> None:
        with store.open(config, IDS, {}) as session:
            for image_id in IDS:
                session.append(make_record(image_id))
            session.finish(lambda records: Evaluation(records, []))
            raise RuntimeError("the tracker is offline")

    with pytest.raises(RuntimeError):
        finish_and_raise()
    assert store.is_finished()


def test_opening_a_finished_run_changes_nothing(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    complete(store, config, make_record)
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    with store.open(config, IDS, {"git_commit": "later"}) as session:
        assert session.todo() == []
        assert store.is_finished()
        assert session.finish(lambda _records: Evaluation([], []), {}), "not evaluated again"
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before


def test_a_second_process_on_the_same_shard_is_refused_at_once(
    tmp_path: Path, make_config: Make
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    code = """
import json, sys
from pathlib import Path
from bigain.errors import FaultError, UserError
from bigain.runs import beats
from bigain.runs.store import RunStore
config = json.loads(sys.argv[2])
try:
    with RunStore(Path(sys.argv[1]), sys.argv[3]).open(config, [1], {}):
        print("opened")
except UserError as error:
    print(error)
"""
    arguments = [str(tmp_path), config.model_dump_json(), store.run_id]
    command = [sys.executable, "-c", code, *arguments]
    with store.open(config, IDS, {}):
        refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        assert refused.stdout.splitlines() == [
            f"run_id={store.run_id}: another process is working on its shard 0 of 1 "
            f"(host {host}, process {os.getpid()}); wait for it, or use another shard.index"
        ]
        assert store.status() == "running"
    allowed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert allowed.stdout == "opened\n"


def test_the_lock_of_a_shard_is_free_again_after_a_failure(
    tmp_path: Path, make_config: Make
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    with pytest.raises(ZeroDivisionError), store.open(config, IDS, {}) as session:
        session.append({"image_id": 10, "value": 1 / 0})
    with store.open(config, IDS, {}), pytest.raises(UserError), store.open(config, IDS, {}):
        pass


def test_force_discards_journal_results_and_status(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    complete(store, config, make_record)
    first = store.manifest()
    with store.open(make_config(force=True), IDS, {}) as session:
        assert store.status() == "running"
        assert session.todo() == IDS
        assert not (store.folder / "samples.csv").exists()
        assert not (store.folder / "metrics.csv").exists()
        for image_id in session.todo():
            session.append(make_record(image_id, rise=0.5))
        assert session.finish(lambda records: Evaluation(records, []))
    second = store.manifest()
    assert second["status"] == "done"
    assert second["wall_seconds"] < first["wall_seconds"] + 60
    values = [
        record["true_errors"] for record in [*iterate_journal(store.folder / "journal-0of1.jsonl")]
    ]
    assert values == [make_record(i, rise=0.5)["true_errors"] for i in IDS]


def journals(store: RunStore) -> list[str]:
    return sorted(path.name for path in store.folder.glob("*.jsonl"))


def halves(force: bool, make_config: Make) -> list[RunConfig]:
    return [make_config(shard={"index": i, "count": 2}, force=force) for i in (0, 1)]


def test_forced_shards_one_after_the_other_mix_no_old_records_into_the_run(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    store = store_of(tmp_path, make_config())
    for old in (*halves(False, make_config), make_config(shard={"index": 0, "count": 3})):
        with store.open(old, IDS, {"hashes": WEIGHTS}) as session:
            for image_id in session.todo():
                session.append(make_record(image_id))
    rises = []

    def conclude(records: Records) -> Evaluation:
        rises.append([record["true_errors"] for record in records])
        return Evaluation(records, [])

    for _ in range(2):
        for forced, is_last in zip(halves(True, make_config), (False, True), strict=True):
            with store.open(forced, IDS, {"hashes": WEIGHTS}) as session:
                for image_id in session.todo():
                    session.append(make_record(image_id, rise=0.5))
                assert session.finish(conclude) == is_last
        assert store.is_finished()
        assert not (store.folder / ".forced").exists()
    expected = [make_record(i, rise=0.5)["true_errors"] for i in IDS]
    assert rises == [expected, expected]


def test_a_shard_that_is_forced_again_deletes_its_own_records_while_others_are_at_work(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    first, second = halves(True, make_config)
    store = store_of(tmp_path, first)
    with store.open(first, IDS, {}) as session:
        session.append(make_record(IDS[0]))
        for _ in range(2):
            with store.open(second, IDS, {}) as other:
                assert other.todo() == IDS[1::2]
                other.append(make_record(IDS[1]))
        assert other.finish(lambda records: Evaluation(records, [])) is False
        session.append(make_record(IDS[2]))
    with store.open(second, IDS, {}) as alone:
        assert journals(store) == ["journal-1of2.jsonl"], "nobody is at work: all begin anew"
        assert alone.todo() == IDS[1::2]


def test_forced_shards_may_start_at_the_same_time(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    """One that waits for the folder's lock is not at work, and one with other weights is."""
    first, second = halves(True, make_config)
    store = store_of(tmp_path, first)
    complete(store, make_config(), make_record)
    with (
        store._shard((1, 2), lambda: {"begun": False}),
        store.open(first, IDS, {"hashes": WEIGHTS}) as session,
    ):
        session.append(make_record(IDS[0]))
    with store.open(second, IDS, {"hashes": WEIGHTS}):
        assert journals(store) == ["journal-0of2.jsonl", "journal-1of2.jsonl"]
        before = store.manifest()
        others = {"hashes": dict.fromkeys(WEIGHTS, "other")}
        refusal = "force=true: run .* is at work on shard 1 of 2"
        with pytest.raises(UserError, match=refusal), store.open(first, IDS, others):
            pass
        assert store.manifest() == before


def test_a_run_that_starts_over_is_deleted_once_by_who_opens_it(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config, sister = make_config(), make_config(dataset__limit=4)
    store, other = store_of(tmp_path, config), store_of(tmp_path, sister)
    complete(other, sister, make_record)
    complete(store, config, make_record)
    with store.open(config, IDS, {}), pytest.raises(UserError, match="work on shard 0 of 1"):
        store.start_over()
    assert store.is_finished()
    store.start_over()
    assert not store.is_finished()
    assert journals(store) == ["journal-0of1.jsonl"], "nothing is lost before the run is opened"
    for start in range(2):
        with store.open(config, IDS, {}) as session:
            assert session.adopt() == [], "as with force"
            assert session.todo() == IDS[start:]
            session.append(make_record(IDS[start]))
    assert complete(store, config, make_record)
    assert store.is_finished()


def test_what_a_killed_process_did_not_delete_is_deleted_by_the_next(
    tmp_path: Path, make_config: Make, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    complete(store, config, make_record)

    def killed(_folder: Path) -> list[Path]:
        raise SystemExit(137)

    monkeypatch.setattr("bigain.runs.renewal.journal_paths", killed)
    with pytest.raises(SystemExit), store.open(make_config(force=True), IDS, {}):
        pass
    monkeypatch.undo()
    assert (store.status(), journals(store)) == ("absent", ["journal-0of1.jsonl"])
    with store.open(config, IDS, {}) as session:
        assert session.todo() == IDS


def test_force_does_not_pull_the_journal_from_under_another_process(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    forced = make_config(shard={"index": 0, "count": 2}, force=True)
    with store.open(config, IDS, {}) as session:
        session.append(make_record(IDS[0]))
        refusal = "shard 0 of 1 of run .* is at work .*; this is 0 of 2"
        with pytest.raises(UserError, match=refusal), store.open(forced, IDS, {}):
            pass
        session.append(make_record(IDS[1]))
        assert store.status() == "running"
    assert len([*iterate_journal(store.folder / "journal-0of1.jsonl")]) == 2


def test_a_mapping_without_shard_or_force_is_one_shard(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    plain = make_config().model_dump(mode="json")
    del plain["shard"], plain["force"]
    store = RunStore(tmp_path, run_id(plain))
    with store.open(plain, IDS, {}) as session:
        assert session.todo() == IDS


def test_folders_without_manifest_are_no_runs(tmp_path: Path, make_config: Make) -> None:
    (tmp_path / "runs" / "stray").mkdir(parents=True)
    (tmp_path / "runs" / "file").write_text("x")
    assert run_folders(tmp_path) == []
    assert run_folders(tmp_path / "nowhere") == []


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path, make_config: Make) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    config = make_config()
    session = store_of(blocked, config).open(config, IDS, {})
    with pytest.raises(UserError, match=r"paths\.results=.*file: cannot make a folder") as caught:
        session.__enter__()
    assert "\n" not in str(caught.value)


WEIGHTS = {"mini_dit/model.safetensors": "aa", "dataset/fashion_mnist": "bb"}


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_a_run_is_not_resumed_with_other_weights_or_data(
    tmp_path: Path, make_config: Make, make_record: MakeRecord, name: str
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    with store.open(config, IDS, {"hashes": WEIGHTS}) as session:
        session.append(make_record(IDS[0]))
    before = store.manifest()
    other = {"hashes": {**WEIGHTS, name: "cc"}}
    with (
        pytest.raises(UserError, match=f"was started with another {name};") as told,
        store.open(config, IDS, other),
    ):
        pass
    assert "force=true" in str(told.value)
    assert store.manifest() == before
    with store.open(make_config(force=True), IDS, other) as session:
        assert session.todo() == IDS
        assert store.manifest()["hashes"] == other["hashes"]


@pytest.mark.parametrize(("before", "after"), [(WEIGHTS, WEIGHTS), (WEIGHTS, {}), ({}, WEIGHTS)])
def test_a_run_is_resumed_if_nothing_speaks_against_it(
    tmp_path: Path,
    make_config: Make,
    make_record: MakeRecord,
    before: dict[str, str],
    after: dict[str, str],
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    with store.open(config, IDS, {"hashes": before}) as session:
        session.append(make_record(IDS[0]))
    with store.open(config, IDS, {"hashes": after}) as session:
        assert session.todo() == IDS[1:]


@pytest.mark.parametrize("text", ['{"status": "runn', "{}"])
def test_a_damaged_manifest_stops_the_run_until_it_is_deleted_or_forced(
    tmp_path: Path, make_config: Make, make_record: MakeRecord, text: str
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    complete(store, config, make_record)
    path = store.folder / "manifest.json"
    path.write_text(text)
    assert (store.status(), store.is_finished()) == ("damaged", False)
    assert damaged_runs(tmp_path) == {
        store.run_id: f"{path}: is damaged; delete it, or start the run again with force=true"
    }
    with pytest.raises(UserError, match=r"manifest\.json: is damaged"), store.open(config, IDS, {}):
        pass
    assert path.read_text() == text
    with store.open(make_config(force=True), IDS, {}) as session:
        assert session.todo() == IDS
        session.append(make_record(IDS[0]))
    path.unlink()
    with store.open(config, IDS, {}) as session:
        assert session.todo() == IDS[1:]
    assert damaged_runs(tmp_path) == {}


def test_a_refused_force_leaves_everything_as_it_was(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    """The lock of another shard count is held: not even the own journal may be gone."""
    forced = make_config(shard={"index": 0, "count": 2}, force=True)
    store = store_of(tmp_path, forced)
    with store.open(make_config(shard={"index": 0, "count": 2}), IDS, {}) as session:
        session.append(make_record(IDS[0]))
    whole, other = make_config(), make_config(shard={"index": 2, "count": 3})
    with store.open(whole, IDS, {}) as session:
        session.append(make_record(IDS[1]))
    with store.open(other, IDS, {}) as session:
        session.append(make_record(IDS[2]))
        before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
        with pytest.raises(UserError, match="shard 2 of 3"), store.open(forced, IDS, {}):
            pass
        assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before


def test_whether_a_process_works_on_a_run(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config(shard={"index": 1, "count": 2})
    store = store_of(tmp_path, config)
    assert not store.beats()
    with store.open(config, IDS, {}) as session:
        assert store.beats()
        session.append(make_record(IDS[1]))
    assert store.status() == "running"
    assert not store.beats()
    with store.open(config, IDS, {}):
        assert store.beats()


def test_a_glance_at_the_lock_does_not_turn_a_starting_process_away(
    tmp_path: Path, make_config: Make
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    with store.open(config, IDS, {}):
        pass
    glance = FileLock(store.folder / ".journal-0of1.lock", timeout=0, thread_local=False)
    glance.acquire()
    timer = threading.Timer(0.05, glance.release)
    timer.start()
    with store.open(config, IDS, {}):
        assert store.beats()
    timer.join()


def test_a_folder_with_another_run_is_named_and_never_finished(
    tmp_path: Path, make_config: Make, make_run: Callable[..., RunStore]
) -> None:
    own = make_run(tmp_path, make_config())
    other = RunStore(tmp_path, "b" * 16)
    shutil.copytree(own.folder, other.folder)
    for ask in (other.manifest, other.is_finished):
        with pytest.raises(UserError, match=rf"b/manifest.json: is of run {own.run_id}: two runs"):
            ask()
    assert other.status() == "damaged"
    assert list(damaged_runs(tmp_path)) == ["b" * 16]


def test_a_shard_of_another_count_waits_until_those_at_work_have_stopped(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    eighth, quarter = (make_config(shard={"index": i, "count": n}) for i, n in ((3, 8), (1, 4)))
    store = store_of(tmp_path, eighth)
    with store.open(eighth, IDS, {}) as session:
        session.append(make_record(IDS[3]))
        assert {shard: beat["pid"] for shard, beat in store.beats().items()} == {
            (3, 8): os.getpid()
        }
        refusal = rf"shard.count=4: shard 3 of 8 .*process {os.getpid()}.*this is 1 of 4"
        with pytest.raises(UserError, match=refusal), store.open(quarter, IDS, {}):
            pass
    assert store.beats() == {}
    with store.open(quarter, IDS, {}) as session:
        assert session.todo() == [IDS[1], IDS[5]]
        assert list(session.done) == [IDS[3]]


def test_a_fresh_beat_of_another_node_keeps_the_shard(
    tmp_path: Path, make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    config = make_config()
    store = store_of(tmp_path, config)
    with store.open(config, IDS, {}):
        (beat,) = store.folder.glob("*.beat")
        text = beat.read_text()
    host = socket.gethostname()
    beat.write_text(text.replace(json.dumps(host), '"n2"'))
    assert store.beats()
    again = threading.Timer(0.3, lambda: beat.write_text(beat.read_text()))
    again.start()
    refusal = r"shard 0 of 1 \(host n2, process"
    with pytest.raises(UserError, match=refusal), store.open(config, IDS, {}):
        pass
    again.join()
    os.utime(beat, (0, 0))
    assert not store.beats()
    with store.open(config, IDS, {}) as session:
        assert session.todo() == IDS


def test_who_lost_its_shard_to_another_process_writes_no_more(
    tmp_path: Path, make_config: Make, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)
    later = beats._awake() + beats.STALE

    def stand_still() -> None:
        with store.open(config, IDS, {}) as session:
            session.append(make_record(IDS[0]))
            (beat,) = store.folder.glob("*.beat")
            beat.write_text(beat.read_text().replace(f'"pid": {os.getpid()}', '"pid": 1'))
            monkeypatch.setattr(beats, "_awake", lambda: later)
            session.append(make_record(IDS[1]))

    with pytest.raises(FaultError, match="took over"):
        stand_still()
    assert store.status() == "running", "its successor is at work"
    assert len([*iterate_journal(store.folder / "journal-0of1.jsonl")]) == 1


def test_a_run_whose_folder_is_deleted_ends_in_one_line(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    store = store_of(tmp_path, config)

    def lose_the_folder() -> None:
        with store.open(config, IDS, {}) as session:
            session.append(make_record(IDS[0]))
            shutil.rmtree(store.folder)
            session.append(make_record(IDS[1]))

    with pytest.raises(FaultError, match="was deleted"):
        lose_the_folder()
    assert not store.folder.exists()
