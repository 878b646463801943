"""Shards, kills, adoption: whatever happens in between, the results are the same in the end."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.metrics import Metric
from bigain.runs.files import Evaluation, Record, Records
from bigain.runs.identity import run_id
from bigain.runs.journal import read_journals
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRecord = Callable[..., dict[str, Any]]
IDS = [14, 11, 19, 12, 17, 10, 16]


def no_metrics(records: Records) -> Evaluation:
    return Evaluation(records, [])


def sharded(make_config: Make, index: int, count: int, **changes: Any) -> RunConfig:
    return make_config(shard={"index": index, "count": count}, **changes)


def test_what_is_appended_is_no_longer_to_do(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    with RunStore(tmp_path, run_id(config)).open(config, IDS, {}) as session:
        assert session.todo() == IDS
        session.append(make_record(11))
        session.append(make_record(10))
        assert session.todo() == [14, 19, 12, 17, 16]
        assert list(session.done) == [11, 10]
        assert list(session.stored) == [make_record(11), make_record(10)]


@pytest.mark.parametrize("image_id", [11, 999])
def test_a_record_twice_or_of_another_image_is_a_bug(
    image_id: int, tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    with RunStore(tmp_path, run_id(config)).open(config, IDS, {}) as session:
        session.append(make_record(11))
        with pytest.raises(ValueError, match=f"image_id={image_id}"):
            session.append(make_record(image_id))
    assert list(read_journals(tmp_path / "runs" / run_id(config))) == [11]


@pytest.mark.parametrize("image_ids", [[], [1, 2, 1]])
def test_image_ids_are_unique_and_some(
    image_ids: list[int], tmp_path: Path, make_config: Make
) -> None:
    config = make_config()
    store = RunStore(tmp_path, run_id(config))
    with pytest.raises(ValueError, match="unique"), store.open(config, image_ids, {}):
        pass
    assert store.status() == "absent"


def test_shards_share_the_images_and_the_last_one_finishes(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    seen: list[int] = []

    def conclude(records: Records) -> Evaluation:
        seen.extend(record["image_id"] for record in records)
        return Evaluation(records, [Metric("acc1", 1.0, len(records), 0.5, 1.0, "percent")])

    shares = []
    for index in (2, 0, 1):
        config = sharded(make_config, index, 3)
        store = RunStore(tmp_path, run_id(config))
        with store.open(config, IDS, {}) as session:
            shares.append(session.todo())
            for image_id in session.todo():
                session.append(make_record(image_id, seconds=0.5))
            assert session.finish(conclude) == (index == 1)
        left = store.manifest().get("shards_left")
        assert left == {2: ["0of3", "1of3"], 0: ["1of3"], 1: None}[index]
        assert store.is_finished() == (index == 1)
    assert shares == [IDS[2::3], IDS[0::3], IDS[1::3]]
    assert seen == IDS, "records are evaluated once, in dataset order"
    assert store.manifest()["image_seconds"] == 0.5 * len(IDS)
    lines = (store.folder / "samples.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [
        [str(position), str(image_id)] for position, image_id in enumerate(IDS)
    ]


def test_the_manifest_tells_how_each_shard_went(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    """One that halved its batch for want of memory shows, whichever ended last."""
    for index in (1, 0):
        config = sharded(make_config, index, 2)
        store = RunStore(tmp_path, run_id(config))
        with store.open(config, IDS, {}) as session:
            for image_id in session.todo():
                session.append(make_record(image_id))
            session.finish(no_metrics, {"images_per_forward": 8 >> index})
    assert store.manifest()["shards"] == {
        "1of2": {"images_per_forward": 4},
        "0of2": {"images_per_forward": 8},
    }
    assert store.manifest()["images_per_forward"] == 8


def test_a_shard_that_finds_the_run_done_still_tells_how_it_went(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    configs = [sharded(make_config, index, 2) for index in range(2)]
    store = RunStore(tmp_path, run_id(configs[0]))
    with store.open(configs[1], IDS, {}) as late:
        for image_id in late.todo():
            late.append(make_record(image_id))
        with store.open(configs[0], IDS, {}) as session:
            for image_id in session.todo():
                session.append(make_record(image_id))
            assert session.finish(no_metrics, {"images_per_forward": 8})
        assert late.finish(no_metrics, {"images_per_forward": 4})
    before = store.manifest()
    assert before["shards"]["1of2"] == {"images_per_forward": 4}
    assert (before["status"], before["images_per_forward"]) == ("done", 8)
    with store.open(configs[1], IDS, {}) as again:
        assert again.finish(no_metrics, {"images_per_forward": 2})
    assert store.manifest() == before, "nothing was computed, nothing is told"


def test_the_files_do_not_depend_on_the_shards(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    contents = []
    for count in (1, 2, 7):
        for index in reversed(range(count)):
            config = sharded(make_config, index, count)
            store = RunStore(tmp_path / str(count), run_id(config))
            with store.open(config, IDS, {}) as session:
                for image_id in reversed(session.todo()):
                    session.append(make_record(image_id, seconds=float(count)))
                session.finish(no_metrics)
        contents.append((store.folder / "samples.csv").read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_changing_the_number_of_shards_in_between_loses_nothing(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    store = RunStore(tmp_path, run_id(make_config()))
    with store.open(sharded(make_config, 1, 2), IDS, {}) as session:
        for image_id in session.todo():
            session.append(make_record(image_id))
        assert not session.finish(no_metrics)
    with store.open(make_config(), IDS, {}) as session:
        assert session.todo() == IDS[0::2]
        for image_id in session.todo():
            session.append(make_record(image_id))
        assert session.finish(no_metrics)


def test_shards_that_finish_at_the_same_moment_both_end_fine(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    summaries: list[int] = []
    ends: list[bool | BaseException] = []

    def conclude(records: Records) -> Evaluation:
        summaries.append(len(records))
        return Evaluation(records, [])

    def work(index: int, barrier: threading.Barrier) -> None:
        try:
            config = sharded(make_config, index, 3)
            with RunStore(tmp_path, run_id(config)).open(config, IDS, {}) as session:
                for image_id in session.todo():
                    session.append(make_record(image_id))
                barrier.wait()
                ends.append(session.finish(conclude))
        except BaseException as error:
            ends.append(error)

    barrier = threading.Barrier(3, timeout=20)
    threads = [threading.Thread(target=work, args=(index, barrier)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [True, True, True]
    assert summaries == [len(IDS)], "one of them finishes"
    assert RunStore(tmp_path, run_id(make_config())).is_finished()


def test_a_failure_in_one_shard_does_not_stop_the_other(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    store = RunStore(tmp_path, run_id(make_config()))
    with store.open(sharded(make_config, 1, 2), IDS, {}) as healthy:
        broken = sharded(make_config, 0, 2)
        with pytest.raises(RuntimeError), store.open(broken, IDS, {}):
            raise RuntimeError("gone")
        for image_id in healthy.todo():
            healthy.append(make_record(image_id))
        assert not healthy.finish(no_metrics)
    assert (store.status(), store.manifest()["error"]) == ("failed", "RuntimeError: gone")
    with store.open(broken, IDS, {}) as mended:
        for image_id in mended.todo():
            mended.append(make_record(image_id))
        assert mended.finish(no_metrics)
    assert (store.status(), store.manifest()["error"]) == ("done", None)


def test_an_error_in_the_summary_leaves_the_run_unfinished(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    store = RunStore(tmp_path, run_id(config))

    def broken(records: Records) -> Evaluation:
        raise ArithmeticError("no mean")

    with store.open(config, IDS, {}) as session:
        for image_id in IDS:
            session.append(make_record(image_id))
    with pytest.raises(ArithmeticError), store.open(config, IDS, {}) as session:
        session.finish(broken)
    assert store.status() == "failed"
    with store.open(config, IDS, {}) as session:
        assert session.todo() == []
        assert session.finish(no_metrics)


WORKER = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from bigain.runs.errors import packed
from bigain.runs.identity import run_id
from bigain.runs.files import Evaluation
from bigain.runs.store import RunStore

config, pause = json.loads(sys.argv[2]), float(sys.argv[3])
store = RunStore(Path(sys.argv[1]), run_id(config))
with store.open(config, list(range(50, 0, -1)), {}) as session:
    for image_id in session.todo():
        draw = random.Random(image_id)
        time.sleep(max(pause, 0))
        session.append({
            "image_id": image_id,
            "scores": [draw.random() for _ in range(200)],
            "first_stage": packed([1, 2], np.full((2, 3), draw.random(), np.float32)),
            "seconds": time.perf_counter(),
        })
    deadly = (os.kill(os.getpid(), signal.SIGKILL) for _ in range(pause < 0))
    session.finish(lambda records: Evaluation(records, deadly))
"""


def worker(results: Path, config: RunConfig, pause: float) -> "subprocess.Popen[bytes]":
    arguments = [str(results), config.model_dump_json(), str(pause)]
    command = [sys.executable, "-c", WORKER, *arguments]
    return subprocess.Popen(command)


def test_killed_at_any_moment_it_resumes_to_the_same_samples(
    tmp_path: Path, make_config: Make
) -> None:
    config = make_config()
    straight, killed = (RunStore(tmp_path / name, run_id(config)) for name in ("a", "b"))
    assert worker(tmp_path / "a", config, 0).wait(timeout=60) == 0
    reached = []
    for target in (5, 20, 35):
        process = worker(tmp_path / "b", config, 0.005)
        deadline = time.monotonic() + 30
        while len(read_journals(killed.folder)) < target and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL
        reached.append(len(read_journals(killed.folder)))
        assert killed.status() == "running"
        with next(killed.folder.glob("*.jsonl")).open("ab") as handle:
            handle.write(b'{"image_id": 3, "sc')  # as if killed inside a write
    assert 5 <= reached[0] <= reached[1] <= reached[2] < 50
    assert reached[1] >= 20
    assert worker(tmp_path / "b", config, 0).wait(timeout=60) == 0
    assert killed.is_finished()
    for name in ("samples.csv", "errors.npz", "metrics.csv"):
        assert (killed.folder / name).read_bytes() == (straight.folder / name).read_bytes()


def test_killed_while_finishing_it_finishes_when_opened_again(
    tmp_path: Path, make_config: Make
) -> None:
    config = make_config()
    store = RunStore(tmp_path, run_id(config))
    assert worker(tmp_path, config, -1).wait(timeout=60) == -signal.SIGKILL
    samples = (store.folder / "samples.csv").read_bytes()
    assert (store.status(), (store.folder / "metrics.csv").exists()) == ("running", False)
    with store.open(config, list(range(50, 0, -1)), {}) as session:
        assert session.todo() == []
        assert session.finish(no_metrics)
    assert (store.folder / "samples.csv").read_bytes() == samples


def test_a_record_whose_files_cannot_be_brought_is_not_adopted(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    few = make_config(dataset__limit=3)
    with RunStore(tmp_path, run_id(few)).open(few, IDS[:3], {}) as session:
        for image_id in session.todo():
            session.append(make_record(image_id))
    asked: list[tuple[Path, int]] = []

    def carry(folder: Path, record: Record) -> bool:
        asked.append((folder, record["image_id"]))
        return bool(record["image_id"] != IDS[1])

    config = make_config()
    with RunStore(tmp_path, run_id(config)).open(config, IDS, {}) as session:
        assert session.adopt(carry) == [run_id(few)]
        assert session.todo() == [IDS[1], *IDS[3:]]
    assert asked == [(tmp_path / "runs" / run_id(few), image_id) for image_id in IDS[:3]]


def test_records_of_other_limits_are_adopted(
    tmp_path: Path, make_config: Make, make_record: MakeRecord, tome: dict[str, Any]
) -> None:
    few = make_config(operator=tome, dataset__limit=3)
    with RunStore(tmp_path, run_id(few)).open(few, IDS[:3], {}) as session:
        assert session.adopt() == []
        for image_id in session.todo():
            session.append(make_record(image_id))
        session.finish(no_metrics)
    stopped = make_config(operator=tome, dataset__limit=5)
    with RunStore(tmp_path, run_id(stopped)).open(stopped, IDS[:5], {}) as session:
        assert session.adopt() == [run_id(few)]
        assert session.todo() == IDS[3:5]
        session.append(make_record(IDS[3]))  # and stops here
    many = make_config(operator=tome, dataset__limit=7)
    store = RunStore(tmp_path, run_id(many))
    with store.open(many, IDS, {}) as session:
        assert set(session.adopt()) == {run_id(few), run_id(stopped)}
        assert session.todo() == IDS[4:]
        for image_id in session.todo():
            session.append(make_record(image_id))
        assert session.finish(no_metrics)
    assert store.manifest()["adopted_from"] == sorted([run_id(few), run_id(stopped)])
    header, *lines = (store.folder / "samples.csv").read_text().splitlines()
    assert "adopted_from" not in header
    assert len(lines) == 7


def test_adoption_gives_the_same_samples_and_survives_a_restart(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    contents = []
    for name, sizes in (("direct", [7]), ("adopted", [3, 7])):
        for size in sizes:
            config = make_config(dataset__limit=size)
            store = RunStore(tmp_path / name, run_id(config))
            with store.open(config, IDS[:size], {}) as session:
                session.adopt()
            with store.open(config, IDS[:size], {}) as session:
                for image_id in session.todo():
                    session.append(make_record(image_id))
                session.finish(no_metrics)
        files = ("samples.csv", "errors.npz")
        contents.append([(store.folder / name).read_bytes() for name in files])
    assert contents[0] == contents[1]
    assert store.manifest()["adopted_from"] == [run_id(make_config(dataset__limit=3))]


@pytest.mark.parametrize("change", [{"seed": 1}, {"dtype": "bfloat16"}, {"task__loss": "l1"}])
def test_strangers_give_nothing(
    change: dict[str, Any], tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    stranger = make_config(dataset__limit=3, **change)
    with RunStore(tmp_path, run_id(stranger)).open(stranger, IDS[:3], {}) as session:
        for image_id in session.todo():
            session.append(make_record(image_id))
    config = make_config(dataset__limit=7)
    with RunStore(tmp_path, run_id(config)).open(config, IDS, {}) as session:
        assert session.adopt() == []
        assert session.todo() == IDS


def test_a_shard_adopts_its_own_images_only(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    few = make_config(dataset__limit=3)
    with RunStore(tmp_path, run_id(few)).open(few, IDS[:3], {}) as session:
        for image_id in session.todo():
            session.append(make_record(image_id))
    config = sharded(make_config, 1, 2, dataset__limit=7)
    with RunStore(tmp_path, run_id(config)).open(config, IDS, {}) as session:
        session.adopt()
        assert list(session.done) == [IDS[1]]


def test_a_damaged_sibling_is_passed_over(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    few = make_config(dataset__limit=3)
    sibling = RunStore(tmp_path, run_id(few))
    with sibling.open(few, IDS[:3], {}) as session:
        session.append(make_record(IDS[0]))
    (sibling.folder / "journal-0of1.jsonl").write_text("rubbish\n")
    config = make_config(dataset__limit=7)
    with RunStore(tmp_path, run_id(config)).open(config, IDS, {}) as session:
        assert session.adopt() == []


def test_force_adopts_nothing(tmp_path: Path, make_config: Make, make_record: MakeRecord) -> None:
    few = make_config(dataset__limit=3)
    with RunStore(tmp_path, run_id(few)).open(few, IDS[:3], {}) as session:
        for image_id in session.todo():
            session.append(make_record(image_id))
    config = make_config(dataset__limit=7, force=True)
    with RunStore(tmp_path, run_id(config)).open(config, IDS, {}) as session:
        assert session.adopt() == []
        assert session.todo() == IDS


def test_the_manifest_is_json_that_others_can_read(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    config = make_config()
    store = RunStore(tmp_path, run_id(config))
    with store.open(config, IDS, {}) as session:
        for image_id in IDS:
            session.append(make_record(image_id))
        session.finish(no_metrics)
    text = (store.folder / "manifest.json").read_text()
    assert json.loads(text)["status"] == "done"
    assert "NaN" not in text


def test_who_judges_does_not_matter_for_what_is_drawn(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    def origin(judge: str) -> dict[str, Any]:
        return {"hashes": {"mini": "aa", "extractor/x": judge, "reference/fashion_mnist": judge}}

    few, many = make_config(dataset__limit=3), make_config(dataset__limit=7)
    with RunStore(tmp_path, run_id(few)).open(few, IDS[:3], origin("1")) as session:
        for image_id in session.todo():
            session.append(make_record(image_id))
    with RunStore(tmp_path, run_id(many)).open(many, IDS, origin("2")) as session:
        assert session.adopt() == [run_id(few)]


def test_runs_with_other_weights_give_nothing(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    """The hash of the data is that of the images in use: it says nothing about other limits."""

    def origin(weights: str, limit: int) -> dict[str, Any]:
        return {"hashes": {"mini_dit": weights, "dataset/fashion_mnist": f"first {limit}"}}

    few = make_config(dataset__limit=3)
    with RunStore(tmp_path, run_id(few)).open(few, IDS[:3], origin("aa", 3)) as session:
        for image_id in session.todo():
            session.append(make_record(image_id))
    many = make_config(dataset__limit=7)
    for weights, given in (("bb", []), ("aa", [run_id(few)])):
        store = RunStore(tmp_path / weights, run_id(many))
        shutil.copytree(tmp_path / "runs", tmp_path / weights / "runs")
        with store.open(many, IDS, origin(weights, 7)) as session:
            assert session.adopt() == given


@pytest.mark.parametrize("text", ["", "{}"])
def test_a_sibling_with_a_damaged_manifest_is_passed_over(
    tmp_path: Path, make_config: Make, make_record: MakeRecord, text: str
) -> None:
    few = make_config(dataset__limit=3)
    sibling = RunStore(tmp_path, run_id(few))
    with sibling.open(few, IDS[:3], {}) as session:
        session.append(make_record(IDS[0]))
    (sibling.folder / "manifest.json").write_text(text)
    config = make_config(dataset__limit=7)
    with RunStore(tmp_path, run_id(config)).open(config, IDS, {}) as session:
        assert session.adopt() == []


def test_an_image_that_failed_is_tried_again_by_a_run_of_another_limit(
    tmp_path: Path, make_config: Make, make_record: MakeRecord
) -> None:
    """Its file may be whole by now."""
    few = make_config(dataset__limit=3)
    with RunStore(tmp_path, run_id(few)).open(few, IDS[:3], {}) as session:
        session.append(make_record(IDS[0]))
        session.append({**make_record(IDS[1]), "failure": "x.jpg: cut"})
        session.append(make_record(IDS[2]))
        assert session.finish(no_metrics)
    many = make_config(dataset__limit=7)
    with RunStore(tmp_path, run_id(many)).open(many, IDS, {}) as session:
        assert session.adopt() == [run_id(few)]
        assert session.todo() == [IDS[1], *IDS[3:]]
