import json
import subprocess
import sys
from pathlib import Path

import pytest

from bigain.engine.run import run
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.frames import read_metrics, read_samples

SHORT = ["task.trial_list=[2,4]", "task.keep_list=[3,1]", "dataset.limit=2"]


def test_a_run_leaves_the_four_files_and_a_full_manifest(tmp_path: Path) -> None:
    outcome = run(compose_config([*SHORT, f"paths.results={tmp_path}"]))
    assert outcome.status == "done"
    assert outcome.computed == 2
    assert outcome.folder == tmp_path / "runs" / outcome.run_id
    samples = read_samples(outcome.folder)
    assert len(samples) == 2
    metrics = read_metrics(outcome.folder)
    assert set(metrics["metric"]) == {"acc1", "eps_error", "margin_mean", "margin_variance"}
    assert set(metrics["n"]) == {2}
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    assert manifest["config"]["backbone"]["name"] == "mini_dit"
    assert set(manifest["hashes"]) == {"mini_dit/model.safetensors", "dataset/fashion_mnist"}
    for key in ("packages", "cpu_model", "torch_threads", "attention_backend", "git_commit"):
        assert key in manifest
    assert (outcome.folder / "config.yaml").read_text().startswith("profile: mini")


def test_a_finished_run_is_skipped_without_importing_torch(tmp_path: Path) -> None:
    settings = [*SHORT, f"paths.results={tmp_path}"]
    first = run(compose_config(settings))
    code = (
        "import sys; from bigain.launch.compose import compose_config; "
        "from bigain.engine.run import run; "
        f"outcome = run(compose_config({settings!r})); "
        "print(outcome.run_id, outcome.status, outcome.computed, 'torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == [first.run_id, "done", "0", "False"]


def test_force_redoes_it_with_the_same_result(tmp_path: Path) -> None:
    settings = [*SHORT, f"paths.results={tmp_path}"]
    first = run(compose_config(settings))
    before = (first.folder / "samples.csv").read_bytes()
    again = run(compose_config([*settings, "force=true"]))
    assert again.computed == 2
    assert (again.folder / "samples.csv").read_bytes() == before


def test_a_longer_run_takes_over_the_records_of_a_shorter_one(tmp_path: Path) -> None:
    results = f"paths.results={tmp_path}"
    short = run(compose_config([*SHORT, results]))
    long = run(compose_config([*SHORT, results, "dataset.limit=3"]))
    assert long.run_id != short.run_id
    assert long.computed == 1
    a, b = read_samples(short.folder), read_samples(long.folder)
    assert a.equals(b.head(2))


def test_rise_of_the_error_is_measured_against_the_baseline(tmp_path: Path) -> None:
    results = f"paths.results={tmp_path}"
    run(compose_config([*SHORT, results]))
    outcome = run(compose_config([*SHORT, results, "operator=avg_pool", "operator.factor=8"]))
    rows = read_metrics(outcome.folder).set_index("metric")
    assert rows["value"]["eps_error_rise"] > 0


def test_user_errors_come_before_anything_is_written(tmp_path: Path) -> None:
    config = compose_config([*SHORT, f"paths.results={tmp_path}", "dataset.limit=3"])
    wrong = config.model_copy(
        update={"backbone": config.backbone.model_copy(update={"revision": "0" * 12})}
    )
    with pytest.raises(UserError, match=r"backbone\.revision=000000000000"):
        run(wrong)
    assert not (tmp_path / "runs").exists()
