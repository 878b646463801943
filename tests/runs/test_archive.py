"""What is published of a run is enough to read it without its folder, to the last digit."""

import csv
import gzip
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.metrics import classification_metrics
from bigain.runs.archive import Archive
from bigain.runs.collect import collect, publish_run, publish_runs
from bigain.runs.files import METRIC_COLUMNS, csv_text
from bigain.runs.identity import run_id
from bigain.runs.manifests import check_name, portable
from bigain.runs.store import RunStore

SAMPLE_COLUMNS = (
    *("position", "image_id", "label", "prediction", "correct"),
    *("true_errors", "margin_mean", "margin_variance"),
)

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]
SCRIPT = Path(__file__).parents[2] / "scripts" / "publish.py"
UNKNOWN = "0" * 16


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, "mini")


@pytest.fixture
def store(tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]) -> RunStore:
    """A finished run of 20 images."""
    return make_run(tmp_path, make_config(operator=tome))


def load(archive: Archive, name: str) -> pd.DataFrame:
    frame = archive.samples(name)
    assert frame is not None
    return frame


def files(results: Path) -> dict[str, tuple[int, bytes]]:
    """Name -> inode and content: a file that is replaced is another file."""
    found = [path for path in (results / "mini").rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in found}


def test_nothing_of_an_unknown_run(archive: Archive, tmp_path: Path) -> None:
    assert not archive.is_available(UNKNOWN)
    assert archive.samples(UNKNOWN) is None
    assert archive.manifest(UNKNOWN) is None
    assert (archive.metrics(UNKNOWN), archive.run_ids()) == ({}, [])
    archive.publish([UNKNOWN])
    assert not list(tmp_path.iterdir())


def test_records_of_a_finished_run(archive: Archive, store: RunStore) -> None:
    frame = load(archive, store.run_id)
    assert archive.is_available(store.run_id)
    assert tuple(frame.columns) == SAMPLE_COLUMNS
    assert frame["position"].tolist() == list(range(20))
    assert frame["image_id"].tolist() == list(range(100, 120))
    assert frame["correct"].dtype == bool
    assert (frame["correct"] == (frame["label"] == frame["prediction"])).all()
    assert all(len(errors) == 5 for errors in frame["true_errors"])


def test_what_is_published_replaces_the_folder_to_the_last_digit(
    archive: Archive, store: RunStore, tmp_path: Path
) -> None:
    name = store.run_id
    before, metrics = load(archive, name), archive.metrics(name)
    archive.publish([name])
    assert archive.published_samples_path(name) == tmp_path / f"mini/samples/{name}.csv.gz"
    shutil.rmtree(tmp_path / "runs")
    assert archive.is_available(name)
    assert archive.run_ids() == [name]
    pd.testing.assert_frame_equal(load(archive, name), before, check_exact=True)
    assert archive.metrics(name) == metrics
    assert archive.samples_path(name) == archive.published_samples_path(name)


def test_records_without_metrics_are_not_available(
    archive: Archive, store: RunStore, tmp_path: Path
) -> None:
    archive.publish([store.run_id])
    shutil.rmtree(tmp_path / "runs")
    archive.runs_csv.unlink()
    assert not archive.is_available(store.run_id)


def test_the_folder_goes_before_what_is_published(archive: Archive, store: RunStore) -> None:
    name = store.run_id
    before = load(archive, name)
    archive.publish([name])
    archive.published_samples_path(name).write_bytes(gzip.compress(b"position\n", mtime=0))
    row = dict.fromkeys(METRIC_COLUMNS) | {"run_id": name, "profile": "mini", "metric": "acc1"}
    archive.runs_csv.write_text(csv_text(METRIC_COLUMNS, [{**row, "value": 1.0, "n": 20}]))
    pd.testing.assert_frame_equal(load(archive, name), before)
    assert archive.metrics(name)["acc1"].value > 1
    shutil.rmtree(store.folder)
    assert archive.metrics(name)["acc1"].value == 1


def test_published_files_are_as_in_the_folder_whatever_the_order(
    tmp_path: Path, make_config: Make, make_run: MakeRun, store: RunStore
) -> None:
    baseline = make_run(tmp_path, make_config())
    (collected,) = collect(tmp_path)
    rows = collected.read_bytes()
    for each in (store, baseline, store):
        path = publish_run(tmp_path, each.run_id)
        assert path.read_bytes()[4:8] == b"\0\0\0\0", "a time of packing"
        kept = list(csv.DictReader(gzip.decompress(path.read_bytes()).decode().splitlines()))
        with (each.folder / "samples.csv").open(newline="") as handle:
            original = list(csv.DictReader(handle))
        assert tuple(kept[0]) == SAMPLE_COLUMNS
        assert kept == [{key: row[key] for key in SAMPLE_COLUMNS} for row in original]
        assert collected.read_bytes() == rows
    expected = {name: content for name, (_, content) in files(tmp_path).items()}
    assert len(expected) == 7, "records, errors and manifest of each, and runs.csv"
    shutil.rmtree(tmp_path / "mini")
    publish_runs(tmp_path, "mini", [UNKNOWN, store.run_id, baseline.run_id])
    assert {name: content for name, (_, content) in files(tmp_path).items()} == expected


def test_files_that_would_not_change_are_left_alone(
    archive: Archive, store: RunStore, tmp_path: Path
) -> None:
    archive.publish([store.run_id])
    path = archive.published_samples_path(store.run_id)
    other_packing = gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=1)
    path.write_bytes(other_packing)
    before = files(tmp_path)
    archive.publish([store.run_id])
    assert files(tmp_path) == before


def test_rows_of_runs_without_a_folder_stay(
    archive: Archive, store: RunStore, tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    gone = make_run(tmp_path, make_config(seed=7))
    archive.publish([gone.run_id])
    shutil.rmtree(gone.folder)
    archive.publish([store.run_id])
    assert set(archive.run_ids()) == {gone.run_id, store.run_id}


def test_unfinished_runs_are_neither_read_nor_published(
    archive: Archive, tmp_path: Path, make_config: Make
) -> None:
    config = make_config()
    with RunStore(tmp_path, run_id(config)).open(config, [1, 2], {}):
        pass
    assert not archive.is_available(run_id(config))
    assert archive.samples(run_id(config)) is None
    archive.publish([run_id(config)])
    assert not (tmp_path / "mini").exists()
    with pytest.raises(UserError, match="is running; allowed"):
        publish_run(tmp_path, run_id(config))


def test_the_script_publishes_a_run_and_prints_where_the_records_are(
    tmp_path: Path, make_config: Make, store: RunStore, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("publish_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main([store.run_id[:8], "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip().endswith(f"{store.run_id}.csv.gz")
    config = make_config(seed=3)
    with RunStore(tmp_path, run_id(config)).open(config, [1, 2], {}):
        pass
    assert script.main([run_id(config), "--results", str(tmp_path)]) == 2
    assert "is running; allowed" in capsys.readouterr().err


def test_failed_images_and_several_labels_are_published(archive: Archive, store: RunStore) -> None:
    path = store.folder / "samples.csv"
    lines = list(csv.DictReader(path.open(newline="")))
    for line in lines:
        line |= {"label": "", "labels": "[1, 4]", "average_precision": "0.5", "failure": ""}
    empty = ("prediction", "true_errors", "margin_mean", "margin_variance", "scores")
    lines[2] |= {**dict.fromkeys(empty, ""), "correct": "false", "failure": "x.jpg: cut"}
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    before = load(archive, store.run_id)
    assert list(before.columns) == [
        *(*SAMPLE_COLUMNS, "labels", "average_precision", "scores", "failure"),
    ]
    assert before["labels"].tolist() == [[1, 4]] * 20
    assert before["failure"].notna().tolist() == [i == 2 for i in range(20)]
    assert before["true_errors"][2] is None
    metrics = {metric.metric: metric for metric in classification_metrics(before)}
    assert (metrics["map_image"].value, metrics["failed_images"].value) == (50, 1)
    assert metrics["map_class"].n == 20
    assert (metrics["acc1"].n, metrics["eps_error"].n) == (20, 19)
    archive.publish([store.run_id])
    shutil.rmtree(store.folder)
    pd.testing.assert_frame_equal(load(archive, store.run_id), before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"position,image_id\n0,100\n", r"lacks .*correct"),
        (b"\xff\xfe", r"cannot be read \(.*force=true|damaged"),
        (None, r"cannot be read \(.*force=true"),
    ],
)
def test_damaged_records_are_named(
    archive: Archive, store: RunStore, content: bytes | None, message: str
) -> None:
    path = store.folder / "samples.csv"
    archive.publish([store.run_id])
    path.unlink() if content is None else path.write_bytes(content)
    for read in (archive.samples, lambda name: archive.publish([name])):
        with pytest.raises(UserError, match=rf"{store.run_id}/samples.csv: {message}"):
            read(store.run_id)
    shutil.rmtree(store.folder)
    if content is not None:
        archive.published_samples_path(store.run_id).write_bytes(gzip.compress(content))
        with pytest.raises(UserError, match=rf"{store.run_id}.csv.gz: {message}"):
            archive.samples(store.run_id)


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"position\n", mtime=0)[:-9]], ids=["other", "cut"]
)
def test_a_damaged_archive_is_named(archive: Archive, store: RunStore, content: bytes) -> None:
    archive.publish([store.run_id])
    shutil.rmtree(store.folder)
    archive.published_samples_path(store.run_id).write_bytes(content)
    with pytest.raises(UserError, match=rf"{store.run_id}.csv.gz: damaged"):
        archive.samples(store.run_id)


def test_a_damaged_cell_is_named(archive: Archive, store: RunStore) -> None:
    path = store.folder / "samples.csv"
    path.write_text(path.read_text().replace('"[', '"[[', 1).replace("[0", "nonsense0"))
    with pytest.raises(UserError, match=rf"{store.run_id}/samples.csv: damaged"):
        archive.samples(store.run_id)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data.replace(b"metric,value", b"metric,worth"), "lacks the columns value"),
        (lambda data: data.replace(b",20,", b",two,", 1), "line 2: n=two: allowed: a number"),
        (lambda data: data + data.splitlines(keepends=True)[-1], "two runs claim one cell"),
        (lambda data: data + b"\xff", "cannot be read"),
        (lambda data: data[:0], "lacks the columns run_id"),
    ],
)
def test_a_damaged_runs_csv_is_named_and_stays(
    archive: Archive,
    store: RunStore,
    tmp_path: Path,
    make_config: Make,
    make_run: MakeRun,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    gone = make_run(tmp_path, make_config(seed=7))
    archive.publish([gone.run_id])
    shutil.rmtree(gone.folder)
    archive.runs_csv.write_bytes(damage(archive.runs_csv.read_bytes()))
    before = files(tmp_path)
    for write in (lambda: publish_run(tmp_path, store.run_id), lambda: collect(tmp_path)):
        with pytest.raises(UserError, match=rf"runs\.csv.*{message}"):
            write()
    assert files(tmp_path) == before


def test_a_folder_with_another_run_is_named(
    archive: Archive, store: RunStore, tmp_path: Path
) -> None:
    shutil.copytree(store.folder, tmp_path / "runs" / UNKNOWN)
    message = rf"{UNKNOWN}/manifest.json: is of run {store.run_id}: two runs claim one cell"
    reads = (archive.samples, archive.metrics, archive.is_available, archive.manifest)
    for read in (*reads, lambda name: archive.publish([store.run_id, name])):
        with pytest.raises(UserError, match=message):
            read(UNKNOWN)
    assert not (tmp_path / "mini").exists()


SOURCE = {"place": "path", "folder": "/" + "home/me/sd20", "fingerprint": "0123"}
MANIFEST: dict[str, Any] = {
    "run_id": "0123456789abcdef",
    "status": "done",
    "config": {
        "profile": "paper",
        "paths": {"results": "/" + "home/me/results"},
        "backbone": {"name": "sd20", "path": "../weights", "mirrors": ["mirror"], "revision": "r"},
        "dataset": {"name": "pets", "root": "data", "limit": None},
        "task": {"name": "generation", "extractor_weights": "weights.pt", "steps": 25},
    },
    "source": SOURCE,
    "platform": "Linux-6.8.0-45-me-laptop-x86_64-with-glibc2.39",
    "python": "3.11.7",
    "hostname": "me-laptop",
    "hashes": {"a": "0" * 64},
    "attention_backend": "AttnProcessor2_0; sdpa: flash, mem_efficient, math",
}


def test_a_published_manifest_names_no_place() -> None:
    kept = portable(MANIFEST)
    text = json.dumps(kept)
    for word in ("home", "me-laptop", "weights", "mirror", '"data"', "paths"):
        assert word not in text
    assert kept["config"]["backbone"] == {"name": "sd20", "path": None, "revision": "r"}
    assert kept["config"]["task"] == {"name": "generation", "steps": 25}
    assert kept["source"] == {"place": "path", "fingerprint": "0123"}
    assert kept["platform"] == "Linux-6.8.0-x86_64-with-glibc2.39"
    for key in ("python", "hashes", "attention_backend", "run_id"):
        assert kept[key] == MANIFEST[key]


@pytest.mark.parametrize(
    "text",
    [
        *("/" + "scratch/x", "~/weights", "../x", "./x", "C:\\x", "D:/x", "\\\\host\\x"),
        *("https://host/x", "file://x", "read from /" + "data/x now", "root=~/x", "at '/" + "x'"),
    ],
)
def test_a_text_with_a_place_in_it_becomes_none(text: str) -> None:
    kept = portable({"config": {"operator": {"new": text, "list": [text, "lgtm"]}}})
    assert kept == {"config": {"operator": {"new": None, "list": [None, "lgtm"]}}}


@pytest.mark.parametrize(
    "text", ["owner/name", "AMD EPYC", "a: b", "Intel(R) Core(TM) i7 / 4 GHz", "macOS-15.1-arm64"]
)
def test_other_texts_stay(text: str) -> None:
    assert portable({"cpu_model": text, "platform": text}) == {"cpu_model": text, "platform": text}


def test_the_published_manifest_goes_before_the_one_in_the_folder(
    archive: Archive, store: RunStore, tmp_path: Path
) -> None:
    assert archive.manifest(store.run_id) == store.manifest()
    assert archive.manifest_path(store.run_id) == store.folder / "manifest.json"
    archive.publish([store.run_id])
    path = archive.published_manifest_path(store.run_id)
    assert archive.manifest_path(store.run_id) == path
    assert archive.manifest(store.run_id) == portable(store.manifest())
    assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize(
    "content",
    [
        *(b"{", b"[]", b"{}", b"\xff", b'{"run_id": "other"}'),
        b'{"run_id": "0000000000000000", "columns": {}, "n_images": 1}',
        b'{"run_id": "0000000000000000", "columns": {}, "n_images": 1, "config": null}',
    ],
)
def test_a_damaged_published_manifest_is_named(archive: Archive, content: bytes) -> None:
    path = archive.published_manifest_path(UNKNOWN)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"manifests/0{16}\.json: is damaged; delete it"):
        archive.manifest(UNKNOWN)


def test_the_configuration_of_another_run_is_refused(
    archive: Archive, store: RunStore, tmp_path: Path
) -> None:
    archive.publish([store.run_id])
    path, copy = map(archive.published_manifest_path, (store.run_id, UNKNOWN))
    copy.write_text(path.read_text().replace(store.run_id, UNKNOWN))
    with pytest.raises(UserError, match=rf"0{{16}}\.json: .* run {store.run_id}: two runs claim"):
        archive.manifest(UNKNOWN)
    copy.unlink()
    other = tmp_path / "runs" / UNKNOWN
    shutil.copytree(store.folder, other)
    text = (other / "manifest.json").read_text().replace(store.run_id, UNKNOWN)
    (other / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=rf"manifest\.json: .* run {store.run_id}: two runs claim"):
        archive.manifest(UNKNOWN)


def test_places_that_count_in_a_run_id_are_withheld_and_named(
    tmp_path: Path, make_config: Make
) -> None:
    """Weights in a folder without a fingerprint: the run id cannot be computed again."""
    plain = make_config().model_dump(mode="json")
    plain["backbone"] = {**plain["backbone"], "path": "/" + "home/me/sd20"}
    name = run_id(plain)
    kept = portable({"run_id": name, "config": plain})
    assert kept["withheld"] == ["backbone.path"]
    check_name(tmp_path, kept)
    with pytest.raises(UserError, match=rf", not of {name}; restore the file"):
        check_name(tmp_path, {key: value for key, value in kept.items() if key != "withheld"})


def test_a_hub_backbone_keeps_its_name(tmp_path: Path, make_config: Make) -> None:
    """It has no folder, and that counts in its run id."""
    plain = make_config().model_dump(mode="json")
    plain["backbone"] = {**plain["backbone"], "path": None, "mirrors": ["x"], "fingerprint": None}
    kept = portable({"run_id": run_id(plain), "config": plain})
    assert "withheld" not in kept
    check_name(tmp_path, kept)
