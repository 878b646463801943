"""The errors of the first stage: exact, in dataset order, the same bytes for the same numbers."""

import json
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.runs.check import check_published
from bigain.runs.collect import publish_runs
from bigain.runs.errors import ERRORS, Values, check_errors, packed, read_errors, write_errors
from bigain.runs.files import Evaluation, Record
from bigain.runs.identity import run_id
from bigain.runs.journal import iterate_journal
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]
TIMESTEPS = [125, 325, 525]


def table(seed: int, classes: int = 4) -> Values:
    return np.random.default_rng(seed).random((3, classes), np.float32)


def record_of(image_id: int, errors: Values | None) -> Record:
    text = None if errors is None else packed(TIMESTEPS, errors)
    record: Record = json.loads(json.dumps({"image_id": image_id, "first_stage": text}))
    return record


def test_errors_come_back_to_the_last_bit_in_the_order_of_the_records(tmp_path: Path) -> None:
    tables = [table(seed) for seed in range(3)]
    write_errors(tmp_path, [record_of(i, t) for i, t in zip((7, 3, 5), tables, strict=True)])
    found = read_errors(tmp_path / ERRORS)
    assert found.image_ids.tolist() == [7, 3, 5]
    assert found.timesteps.tolist() == TIMESTEPS
    assert found.errors.dtype == np.float32
    assert np.array_equal(found.errors, np.stack(tables))


def test_an_image_without_errors_has_nan(tmp_path: Path) -> None:
    """A failed one, and one of a journal from before errors were kept."""
    records = [record_of(1, None), record_of(2, table(0)), {"image_id": 3}]
    write_errors(tmp_path, records)
    found = read_errors(tmp_path / ERRORS)
    assert found.image_ids.tolist() == [1, 2, 3]
    assert np.isnan(found.errors).all(axis=(1, 2)).tolist() == [True, False, True]
    assert np.array_equal(found.errors[1], table(0))


def test_without_errors_there_is_no_file(tmp_path: Path) -> None:
    write_errors(tmp_path, [record_of(1, None), {"image_id": 3}])
    assert not list(tmp_path.iterdir())


def test_equal_numbers_are_equal_bytes_of_any_numpy_without_pickles(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_errors(tmp_path / name, [record_of(i, table(i)) for i in range(5)])
    path = tmp_path / "a" / ERRORS
    assert path.read_bytes() == (tmp_path / "b" / ERRORS).read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == ["image_ids.npy", "timesteps.npy", "errors.npy"]
    with np.load(path, allow_pickle=False) as members:
        assert members["errors"].shape == (5, 3, 4)


class Streamed:
    """Records that are made each time they are gone through."""

    def __len__(self) -> int:
        return 2000

    def __iter__(self) -> Iterator[Record]:
        text = packed(TIMESTEPS, table(0, classes=1000))
        return ({"image_id": i, "first_stage": text} for i in range(len(self)))


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        write_errors(tmp_path, Streamed())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6 < read_errors(tmp_path / ERRORS).errors.nbytes == 24e6


@pytest.mark.parametrize("errors", ["x", "AAAA", "AAAAAAAAAAAAAAAA*"])
def test_damaged_errors_in_a_journal_are_named(tmp_path: Path, errors: str) -> None:
    wrong = {"image_id": 2, "first_stage": {"timesteps": TIMESTEPS, "errors": errors}}
    with pytest.raises(UserError, match=r"errors of image 2 .*damaged.*force=true"):
        write_errors(tmp_path, [record_of(1, table(0)), wrong])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["other", "cut", "flipped", "empty", "shapes"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / ERRORS
    write_errors(tmp_path, [record_of(i, table(i)) for i in range(9)])
    data = bytearray(path.read_bytes())
    if damage == "other":
        data = bytearray(b"no zip at all")
    elif damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[len(data) // 2] ^= 0xFF
    elif damage == "empty":
        data = bytearray()
    path.write_bytes(data)
    if damage == "shapes":
        np.savez(path, image_ids=np.arange(3), timesteps=np.arange(3), errors=np.zeros((2, 3, 4)))
    with pytest.raises(UserError, match=f"{path}: damaged"):
        read_errors(path)


# In a run, and published.


def without_first_stage(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "first_stage"}


def test_a_run_has_the_errors_of_its_journal_and_publishes_them(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    store, archive = make_run(tmp_path, make_config()), Archive(tmp_path, "mini")
    found = archive.errors(store.run_id)
    assert found is not None
    assert found.image_ids.tolist() == list(range(100, 120))
    for row, record in zip(
        found.errors, iterate_journal(store.folder / "journal-0of1.jsonl"), strict=True
    ):
        assert row[:, record["label"]].tolist() == pytest.approx(record["true_errors"])
        assert record["first_stage"] == packed(found.timesteps.tolist(), row)
    assert archive.errors_path(store.run_id) == store.folder / ERRORS
    publish_runs(tmp_path, "mini", [store.run_id])
    published = archive.published_errors_path(store.run_id)
    assert published == tmp_path / "mini" / "errors" / f"{store.run_id}.npz"
    assert published.read_bytes() == (store.folder / ERRORS).read_bytes()
    shutil.rmtree(store.folder)
    again = archive.errors(store.run_id)
    assert again is not None
    assert np.array_equal(again.errors, found.errors)
    assert archive.errors("0" * 16) is None
    assert check_published(tmp_path) == {"mini": 1}


def test_a_file_with_the_same_numbers_is_left_alone(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    """Another version of zlib packs the same numbers into other bytes."""
    store, archive = make_run(tmp_path, make_config()), Archive(tmp_path, "mini")
    publish_runs(tmp_path, "mini", [store.run_id])
    path = archive.published_errors_path(store.run_id)
    with zipfile.ZipFile(path) as members:
        contents = {name: members.read(name) for name in members.namelist()}
    with zipfile.ZipFile(path, "w") as members:
        for name, content in contents.items():
            members.writestr(name, content)
    stored = path.read_bytes()
    publish_runs(tmp_path, "mini", [store.run_id])
    assert path.read_bytes() == stored != (store.folder / ERRORS).read_bytes()
    np.savez(path, image_ids=np.arange(1), timesteps=np.arange(1), errors=np.zeros((1, 1, 1)))
    publish_runs(tmp_path, "mini", [store.run_id])
    assert path.read_bytes() == (store.folder / ERRORS).read_bytes()


def test_a_run_from_before_errors_were_kept_is_read_and_published_as_ever(
    tmp_path: Path, make_config: Make, make_record: Callable[..., dict[str, Any]], make_run: MakeRun
) -> None:
    config = make_config(seed=3)
    store, archive = make_run(tmp_path, config), Archive(tmp_path, "mini")
    (store.folder / ERRORS).unlink()
    assert archive.errors(store.run_id) is None
    publish_runs(tmp_path, "mini", [store.run_id])
    assert not (tmp_path / "mini" / "errors").exists()
    assert check_published(tmp_path) == {"mini": 1}
    begun = make_config(seed=4)
    images = [5, 6]
    with RunStore(tmp_path, run_id(begun)).open(begun, images, {}) as session:
        session.append(without_first_stage(make_record(5)))
        session.append(make_record(6))
        assert session.finish(lambda records: Evaluation(records, []))
    found = read_errors(tmp_path / "runs" / run_id(begun) / ERRORS)
    assert np.isnan(found.errors).any(axis=(1, 2)).tolist() == [True, False]


@pytest.mark.parametrize("damage", ["values", "order", "lost", "gone", "none", "times"])
def test_errors_that_contradict_the_records_are_named(
    tmp_path: Path, make_config: Make, make_run: MakeRun, damage: str
) -> None:
    store, archive = make_run(tmp_path, make_config()), Archive(tmp_path, "mini")
    publish_runs(tmp_path, "mini", [store.run_id])
    path = archive.published_errors_path(store.run_id)
    found = read_errors(path)
    errors, ids = found.errors.copy(), found.image_ids
    message = "image 104 has other errors than"
    if damage == "values":
        errors[4, 2] *= 1.01
    elif damage == "order":
        ids, message = ids[::-1], "has other images than"
    elif damage == "lost":
        errors[4, 0, 1] = np.nan
    elif damage == "gone":
        errors[4] = np.nan
    elif damage == "none":
        errors[:], message = np.nan, "image 100 has other errors than"
    times = found.timesteps + (50 if damage == "times" else 0)
    message = "has timesteps" if damage == "times" else message
    np.savez(path, image_ids=ids, timesteps=times, errors=errors)
    with pytest.raises(UserError, match=f"{path}: {message}"):
        check_published(tmp_path)


def test_errors_of_several_labels_agree_with_their_records(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    """True errors are means over the labels; an image without a label has margins of none."""
    store, archive = make_run(tmp_path, make_config()), Archive(tmp_path, "mini")
    publish_runs(tmp_path, "mini", [store.run_id])
    frame, path = archive.samples(store.run_id), archive.published_errors_path(store.run_id)
    assert frame is not None
    errors = read_errors(path).errors.astype(float)
    labels: list[list[int]] = [[0, 3], [], *[[label] for label in frame["label"]][2:]]
    true_errors, margins = list(frame["true_errors"]), list(frame["margin_mean"])
    true_errors[0] = ((errors[0, :, 0] + errors[0, :, 3]) / 2).tolist()
    true_errors[1], margins[1] = [], np.nan
    others = [c for c in range(10) if c not in (0, 3)]
    margins[0] = np.mean([errors[0, :, c] - true_errors[0] for c in others])
    several = frame.assign(labels=pd.Series(labels), true_errors=true_errors, margin_mean=margins)
    timesteps = read_errors(path).timesteps.tolist()
    check_errors(path, several, Path("records"), timesteps)
    several = several.assign(labels=pd.Series([[3, 4], *labels[1:]]))
    with pytest.raises(UserError, match="image 100 has other errors than records"):
        check_errors(path, several, Path("records"), timesteps)


def test_errors_without_records_are_named(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    store = make_run(tmp_path, make_config())
    publish_runs(tmp_path, "mini", [store.run_id])
    path = Archive(tmp_path, "mini").published_errors_path(store.run_id)
    shutil.copy(path, path.with_name("f" * 16 + ".npz"))
    with pytest.raises(UserError, match=r"run f{16} is published without"):
        check_published(tmp_path)
