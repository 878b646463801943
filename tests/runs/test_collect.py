"""One tidy table of all finished runs, the same whatever the order in which they finished."""

import functools
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
from bigain.runs.collect import collect, publish_runs, refresh
from bigain.runs.files import METRIC_COLUMNS, METRICS, read_csv, write_manifest
from bigain.runs.identity import describing_columns, run_id
from bigain.runs.samples import read_samples
from bigain.runs.store import RunStore
from bigain.testing.runs import read_metrics

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]


@pytest.fixture
def configs(make_config: Make, tome: dict[str, Any]) -> list[RunConfig]:
    todo = {"name": "todo", "factor": 2, "skip_final_step": False, "scope": "self"}
    todo |= {"_target_": "bigain.operators.ToDo"}
    mixed = {"name": "ie_kvd", "factor": 10, "align": "reference", "scope": "self"}
    mixed |= {"_target_": "bigain.operators.IEKVD"}
    mixed["skip_final_step"] = False
    few = functools.partial(make_config, dataset__limit=4)
    return [
        few(),
        few(seed=1),
        few(operator=tome),
        few(operator={**tome, "ratio": 0.5}),
        few(operator=todo),
        few(operator={**todo, "factor": 10}),
        few(operator={**mixed, "alpha": 0.9}),
        few(operator={**mixed, "alpha": {"start": 0.8, "end": 1.2}}),
        few(backbone__name="mini_unet"),
    ]


def collected(results: Path) -> pd.DataFrame:
    """The cells of the collected file, as text."""
    (path,) = collect(results)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_the_table_does_not_depend_on_the_order_of_the_runs(
    tmp_path: Path, configs: list[RunConfig], make_run: MakeRun
) -> None:
    texts = []
    for name, order in (("a", configs), ("b", configs[::-1])):
        for config in order:
            make_run(tmp_path / name, config, rise=0.1 * (config.operator.name != "none"))
        assert collect(tmp_path / name) == [tmp_path / name / "mini" / "runs.csv"]
        texts.append((tmp_path / name / "mini" / "runs.csv").read_text())
    assert texts[0] == texts[1]
    assert texts[0].splitlines()[0] == ",".join(METRIC_COLUMNS)


def test_rows_are_sorted_by_what_the_runs_are(
    tmp_path: Path, configs: list[RunConfig], make_run: MakeRun
) -> None:
    for config in configs:
        make_run(tmp_path, config)
    frame = collected(tmp_path)
    assert list(frame.columns) == list(METRIC_COLUMNS)
    accuracy = frame[frame["metric"] == "acc1"].reset_index(drop=True)
    found = list(accuracy[["backbone", "operator", "seed"]].itertuples(index=False, name=None))
    assert found == [
        ("mini_dit", "ie_kvd", "0"),
        ("mini_dit", "ie_kvd", "0"),
        ("mini_dit", "none", "0"),
        ("mini_dit", "none", "1"),
        ("mini_dit", "todo", "0"),
        ("mini_dit", "todo", "0"),
        ("mini_dit", "tome", "0"),
        ("mini_dit", "tome", "0"),
        ("mini_unet", "none", "0"),
    ]
    assert [each for each in accuracy["alpha"] if each] == ["0.9", "0.8->1.2"]
    assert [each for each in accuracy["factor"] if each] == ["10", "10", "2", "10"], "by value"
    assert [each for each in accuracy["ratio"] if each] == ["0.5", "0.7"]
    first = frame[frame["run_id"] == run_id(configs[2])]["metric"].tolist()
    assert first == ["acc1", "eps_error", "eps_error_rise", "margin_mean", "margin_variance"]


def test_a_baseline_that_finishes_later_adds_the_rise(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    store = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    assert "eps_error_rise" not in set(collected(tmp_path)["metric"])
    make_run(tmp_path, make_config())
    frame = collected(tmp_path)
    rises = frame[frame["metric"] == "eps_error_rise"]
    assert list(rises["run_id"]) == [store.run_id]
    assert float(rises["value"].iloc[0]) == pytest.approx(25.0)
    assert "eps_error_rise" in (store.folder / "metrics.csv").read_text()


def test_refreshing_twice_writes_once(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    store = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    make_run(tmp_path, make_config())
    path = store.folder / "metrics.csv"
    states = [path.stat().st_ino]
    for _ in range(2):
        assert refresh(store, tmp_path)
        states.append(path.stat().st_ino)
    assert states[0] != states[1]
    assert states[1] == states[2]


def test_lost_metrics_are_made_again_from_the_samples(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    store = make_run(tmp_path, make_config())
    path = store.folder / "metrics.csv"
    before = path.read_text()
    path.unlink()
    assert len(collected(tmp_path)) == 4
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns"),
        (b"garbage\n", "lacks the columns"),
        (b"\xff", "cannot be read"),
        (",".join(METRIC_COLUMNS).encode(), "has no metrics"),
    ],
)
def test_broken_metrics_are_named_and_stay(
    tmp_path: Path, make_config: Make, make_run: MakeRun, content: bytes, message: str
) -> None:
    path = make_run(tmp_path, make_config()).folder / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"metrics\.csv: {message}.*force=true"):
        collect(tmp_path)
    assert path.read_bytes() == content
    assert not (tmp_path / "mini").exists()


def test_lost_metrics_that_do_not_follow_from_the_records_are_named(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    store = make_run(tmp_path, make_config())
    manifest = store.manifest()
    manifest["columns"]["task"] = "generation"
    write_manifest(store.folder, manifest)
    (store.folder / "metrics.csv").unlink()
    with pytest.raises(UserError, match=r"metrics\.csv: cannot be read"):
        refresh(store, tmp_path)


def test_unfinished_runs_are_left_out(tmp_path: Path, make_config: Make, make_run: MakeRun) -> None:
    running = make_config(seed=1)
    store = RunStore(tmp_path, run_id(running))
    with store.open(running, [1, 2], {}):
        assert not refresh(store, tmp_path)
        make_run(tmp_path, make_config())
        assert set(collected(tmp_path)["seed"]) == {"0"}


@pytest.mark.parametrize("task", ["classification", "generation"])
def test_folders_without_the_later_columns_are_read_and_get_them(
    tmp_path: Path, make_config: Make, make_run: MakeRun, task: str
) -> None:
    """Older ones lack them in metrics.csv and in the columns of the manifest."""
    select = {"name": "kv_select", "sparsity": 0.75, "strategy": "high_frequency"}
    select |= {"_target_": "bigain.operators.KVSelect"}
    select |= {"score": "laplacian_l1", "scope": "self", "cell": [2, 2]}
    store = make_run(tmp_path, make_config(operator=select))
    path, manifest = store.folder / "metrics.csv", store.manifest()
    before = path.read_text()
    assert ",laplacian_l1,self,high_frequency,0.75,0," in before
    assert ',"cell=[2,2]"\n' in before
    old = pd.read_csv(path, dtype=str, keep_default_na=False)
    old.drop(columns=["strategy", "sparsity", "settings"]).to_csv(path, index=False)
    manifest["columns"] |= {"task": task}
    for name in ("strategy", "sparsity", "settings"):
        del manifest["columns"][name]
    write_manifest(store.folder, manifest)
    archive = Archive(tmp_path, "mini")
    assert archive.rows(store.run_id)[0].columns["strategy"] == ""
    (collected_path,) = collect(tmp_path)
    assert path.read_text() == collected_path.read_text() == before


def test_published_rows_get_the_later_columns_from_their_manifests(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    """Also where the folder of the run is gone."""
    store = make_run(tmp_path, make_config(operator={**tome, "draws": "per_sample"}))
    publish_runs(tmp_path, "mini", [store.run_id])
    path, archive = tmp_path / "mini" / "runs.csv", Archive(tmp_path, "mini")
    whole = path.read_text()
    assert "draws=per_sample" in whole
    old = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="settings")
    old.to_csv(path, index=False)
    shutil.rmtree(store.folder)
    assert archive.rows(store.run_id)[0].columns["settings"] == ""
    assert collect(tmp_path) == [path]
    assert path.read_text() == whole


def test_publishing_computes_only_what_is_missing(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    """Metrics are computed at a run's end; the baseline that finished later completes them."""
    early = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    baseline = make_run(tmp_path, make_config())
    path = early.folder / "metrics.csv"
    publish_runs(tmp_path, "mini", [baseline.run_id])
    assert "eps_error_rise" not in path.read_text()
    publish_runs(tmp_path, "mini", [early.run_id, baseline.run_id])
    rise = Archive(tmp_path, "mini").metrics(early.run_id)["eps_error_rise"]
    assert rise.value == pytest.approx(25)
    text = path.read_text().replace(",acc1,", ",acc2,")
    path.write_text(text)
    publish_runs(tmp_path, "mini", [early.run_id])
    assert path.read_text() == text, "complete metrics are not computed again"
    collect(tmp_path)
    assert ",acc1," in path.read_text()


MakeRecord = Callable[..., dict[str, Any]]


def test_metrics_csv_has_one_row_per_metric_with_the_columns_of_the_contract(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    config = make_config(operator=tome, seed=4)
    store = make_run(tmp_path, config)
    rows = read_csv(store.folder / METRICS, text=["run_id"])
    expected = classification_metrics(read_samples(store.folder))
    assert [row["metric"] for row in rows] == [metric.metric for metric in expected]
    assert [row["value"] for row in rows] == [metric.value for metric in expected]
    columns = describing_columns(config)
    for row in rows:
        assert tuple(row) == METRIC_COLUMNS
        assert {key: row[key] for key in columns} == columns


@pytest.mark.parametrize("baseline", ["absent", "running", "other seed", "published", "done"])
def test_the_rise_needs_a_finished_baseline(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any], baseline: str
) -> None:
    config = make_config(seed=int(baseline == "other seed"))
    if baseline == "running":
        with RunStore(tmp_path, run_id(config)).open(config, [100], {}):
            pass
    elif baseline != "absent":
        folder = make_run(tmp_path, config).folder
        assert "eps_error_rise" not in set(read_metrics(folder)["metric"]), "its own baseline"
        if baseline == "published":
            Archive(tmp_path, "mini").publish([run_id(config)])
            shutil.rmtree(folder)
    store = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    metrics = read_metrics(store.folder).set_index("metric")["value"]
    found = metrics.get("eps_error_rise")
    assert found == (pytest.approx(25.0) if baseline in {"published", "done"} else None)
