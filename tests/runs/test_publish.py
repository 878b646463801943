import csv
import gzip
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.collect import collect
from bigain.runs.identity import run_id
from bigain.runs.publish import publish_run, publish_runs
from bigain.runs.published import COLUMNS, published_path
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]
SCRIPT = Path(__file__).parents[2] / "scripts" / "publish.py"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("publish_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_records_and_metrics_are_as_in_the_folder(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a, b = make_run(tmp_path, make_config()), make_run(tmp_path, make_config(operator=tome))
    (collected,) = collect(tmp_path)
    expected = collected.read_bytes()
    collected.unlink()
    for store in (b, a, b):
        path = publish_run(tmp_path, store.run_id)
        packed = gzip.decompress(path.read_bytes()).decode().splitlines()
        with (store.folder / "samples.csv").open(newline="") as handle:
            original = list(csv.DictReader(handle))
        kept = list(csv.DictReader(packed))
        assert tuple(kept[0]) == COLUMNS
        assert kept == [{key: row[key] for key in COLUMNS} for row in original]
    assert collected.read_bytes() == expected, "whatever the order, and twice"


def test_rows_of_runs_without_a_folder_stay(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    gone = make_run(tmp_path / "elsewhere", make_config(seed=7))
    (table,) = collect(tmp_path / "elsewhere")
    here = tmp_path / table.relative_to(tmp_path / "elsewhere")
    here.parent.mkdir(parents=True)
    table.rename(here)
    store = make_run(tmp_path, make_config(operator=tome))
    publish_run(tmp_path, store.run_id)
    with here.open(newline="") as handle:
        names = [row["run_id"] for row in csv.DictReader(handle)]
    assert set(names) == {gone.run_id, store.run_id}


def test_an_unfinished_run_is_refused(
    tmp_path: Path, make_config: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config()
    with RunStore(tmp_path, run_id(config)).open(config, [1, 2], {}):
        pass
    with pytest.raises(UserError, match="is running; allowed"):
        publish_run(tmp_path, run_id(config))
    assert script().main([run_id(config)[:6], "--results", str(tmp_path)]) == 2
    assert "is running; allowed" in capsys.readouterr().err


def test_the_script_prints_where_the_records_are(
    tmp_path: Path, make_config: Make, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_run(tmp_path, make_config())
    assert script().main([store.run_id[:8], "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip().endswith(f"{store.run_id}.csv.gz")


def files(results: Path) -> dict[str, tuple[int, bytes]]:
    found = [path for path in (results / "mini").rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in found}


def test_several_runs_at_once_are_the_same_as_one_after_the_other(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    stores = [make_run(tmp_path, make_config()), make_run(tmp_path, make_config(operator=tome))]
    publish_runs(tmp_path, "mini", [store.run_id for store in stores])
    together = {name: text for name, (_, text) in files(tmp_path).items()}
    assert len(together) == 5, "records and manifest of each, and runs.csv"
    for store in stores:
        published_path(tmp_path, "mini", store.run_id).unlink()
    (tmp_path / "mini" / "runs.csv").unlink()
    for store in reversed(stores):
        publish_run(tmp_path, store.run_id)
    assert {name: text for name, (_, text) in files(tmp_path).items()} == together


def test_files_that_would_not_change_are_left_alone(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    """A file that is replaced is another file (inode)."""
    store = make_run(tmp_path, make_config())
    publish_runs(tmp_path, "mini", [store.run_id])
    before = files(tmp_path)
    publish_runs(tmp_path, "mini", [store.run_id])
    assert files(tmp_path) == before


def test_runs_that_are_not_here_are_passed_over(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    config = make_config(seed=3)
    with RunStore(tmp_path, run_id(config)).open(config, [1, 2], {}):
        pass
    publish_runs(tmp_path, "mini", ["0" * 16, run_id(config)])
    assert not (tmp_path / "mini").exists()
    store = make_run(tmp_path, make_config())
    publish_runs(tmp_path, "mini", ["0" * 16, store.run_id])
    name = store.run_id
    assert set(files(tmp_path)) == {f"{name}.csv.gz", f"{name}.json", "runs.csv"}


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data.replace(b"metric,value", b"metric,worth"), "lacks the columns value"),
        (lambda data: data.replace(b"metric,value", b"note,metric,value"), "has other columns"),
        (lambda data: data.replace(b",20,", b",two,", 1), "line 2: n=two: allowed: a number"),
        (lambda data: data + data.splitlines(keepends=True)[-1], "two runs claim one cell"),
        (lambda data: data + b"\xff", "cannot be read"),
        (lambda data: data[:0], "lacks the columns run_id"),
    ],
)
def test_a_damaged_runs_csv_is_named_and_stays(
    tmp_path: Path,
    make_config: Make,
    make_run: MakeRun,
    damage: Callable[[bytes], bytes],
    told: str,
) -> None:
    gone = make_run(tmp_path, make_config(seed=7))
    publish_run(tmp_path, gone.run_id)
    shutil.rmtree(gone.folder)
    store = make_run(tmp_path, make_config())
    table = tmp_path / "mini" / "runs.csv"
    table.write_bytes(damage(table.read_bytes()))
    before = files(tmp_path)
    with pytest.raises(UserError, match=rf"runs\.csv.*{told}"):
        publish_run(tmp_path, store.run_id)
    with pytest.raises(UserError, match=rf"runs\.csv.*{told}"):
        collect(tmp_path)
    assert files(tmp_path) == before


def test_a_folder_with_another_run_is_not_published(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a, b = make_run(tmp_path, make_config()), make_run(tmp_path, make_config(operator=tome))
    shutil.rmtree(b.folder)
    shutil.copytree(a.folder, b.folder)
    with pytest.raises(UserError, match=rf"{b.run_id}/manifest.json: is of run {a.run_id}: two"):
        publish_runs(tmp_path, "mini", [a.run_id, b.run_id])
    assert not (tmp_path / "mini").exists()
