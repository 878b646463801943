import csv
import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.collect import collect
from bigain.runs.identity import run_id
from bigain.runs.publish import publish_run
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
        assert gzip.decompress(path.read_bytes()) == (store.folder / "samples.csv").read_bytes()
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
