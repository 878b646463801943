"""What never changes a result: batch size, threads, order, shards, kills; and what must."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigain.config import RunConfig
from bigain.devices import limited_threads
from bigain.engine import build
from bigain.engine.build_operator import build_operator, build_sites
from bigain.engine.build_protocol import build_protocol
from bigain.engine.run import run
from bigain.launch.compose import compose_config
from bigain.patching.apply import apply
from bigain.runs.errors import read_errors
from bigain.runs.samples import read_samples
from bigain.tasks.classification import classify_images
from bigain.testing.runs import read_metrics

OPERATORS = {
    "none": ["operator=none"],
    "tome": ["operator=tome", "operator.ratio=0.7"],
    "lgtm": ["operator=lgtm", "operator.ratio=0.7"],
    "todo": ["operator=todo", "operator.factor=2"],
    "avg_pool": ["operator=avg_pool", "operator.factor=4"],
    "ie_kvd": ["operator=ie_kvd", "operator.factor=3", "operator.alpha=0.9"],
}
SHORT = ["task.trial_list=[2,4]", "task.keep_list=[3,1]", "dataset.limit=3"]
FILES = ("samples.csv", "errors.npz", "metrics.csv")
BACKBONES = ["mini_unet", "mini_dit"]
CPU = torch.device("cpu")
Records = dict[int, dict[str, Any]]


def classify(config: RunConfig, positions: list[int]) -> Records:
    with limited_threads(config.threads or 1):
        backbone = build.build_backbone(config.backbone, CPU, config.dtype)
        dataset = build.build_dataset(config.dataset)
        protocol, _ = build_protocol(config, dataset)
        classifier = build.build_classifier(config, backbone, protocol, CPU)
        operator, sites = build_operator(config.operator), build_sites(config)
        with apply(backbone.denoiser, operator, sites=sites, seed=config.seed):
            records = list(classify_images(classifier, backbone, dataset, positions))
    return {record["image_id"]: record for record in records}


def assert_same(a: Records, b: Records) -> None:
    assert a.keys() == b.keys()
    for image_id, record in a.items():
        other = b[image_id]
        assert record["prediction"] == other["prediction"]
        assert record["trials"] == other["trials"]
        for key in ("scores", "true_errors"):
            assert np.allclose(record[key], other[key], rtol=0, atol=1e-5), key


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_batch_size_threads_and_order_change_nothing(backbone: str, operator: str) -> None:
    common = [f"backbone={backbone}", *OPERATORS[operator], *SHORT]
    reference = classify(compose_config([*common, "batch_size=7", "threads=1"]), [0, 1, 2])
    for overrides, order in (
        (["batch_size=1", "threads=1"], [2, 0, 1]),
        (["batch_size=64", "threads=2"], [1, 2, 0]),
    ):
        assert_same(reference, classify(compose_config([*common, *overrides]), order))


def test_draws_per_forward_depend_on_the_batch_size_and_on_nothing_else(tmp_path: Path) -> None:
    """Neither order nor shards change a batch, because it has evaluations of one image only."""

    def composed(name: str, *overrides: str) -> RunConfig:
        common = [*OPERATORS["tome"], "operator.draws=per_forward", *SHORT, "batch_size=8"]
        return compose_config([*common, f"paths.results={tmp_path / name}", *overrides])

    reference = classify(composed("whole"), [0, 1, 2])
    again = classify(composed("whole"), [2, 0, 1])
    for image_id, record in reference.items():
        assert {**record, "seconds": 0} == {**again[image_id], "seconds": 0}
    other = classify(composed("whole", "batch_size=10"), [0, 1, 2])
    for image_id, record in reference.items():
        assert not np.allclose(record["scores"], other[image_id]["scores"], rtol=0, atol=1e-5)
    whole = run(composed("whole"))
    for i in (1, 0):
        run(composed("sharded", f"shard.index={i}", "shard.count=2"))
    sharded = tmp_path / "sharded" / "runs" / whole.run_id
    for name in FILES:
        assert (sharded / name).read_bytes() == (whole.folder / name).read_bytes()


def test_shards_fill_one_run_that_equals_the_whole(tmp_path: Path) -> None:
    def config(name: str, *overrides: str) -> RunConfig:
        return compose_config(
            [*SHORT, "operator=lgtm", f"paths.results={tmp_path / name}", *overrides]
        )

    whole = run(config("whole"))
    statuses = [
        run(config("sharded", f"shard.index={i}", "shard.count=2")).status for i in range(2)
    ]
    assert statuses == ["running", "done"]
    sharded = tmp_path / "sharded" / "runs" / whole.run_id
    for name in FILES:
        assert (sharded / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_killed_run_goes_on_to_the_same_files(tmp_path: Path) -> None:
    settings = ["task.trial_list=[2,4]", "task.keep_list=[3,1]", "dataset.limit=12", "threads=1"]
    unbroken = run(compose_config([*settings, f"paths.results={tmp_path / 'unbroken'}"]))
    broken = [*settings, f"paths.results={tmp_path / 'broken'}"]
    journal = tmp_path / "broken" / "runs" / unbroken.run_id / "journal-0of1.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "bigain", *broken], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and journal.read_text()):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(journal.read_text().splitlines())
    assert 0 < done < 12
    resumed = run(compose_config(broken))
    assert resumed.computed < 12
    for name in FILES:
        assert (resumed.folder / name).read_bytes() == (unbroken.folder / name).read_bytes()


def test_operators_meet_the_same_noise_so_ratio_zero_is_no_acceleration(tmp_path: Path) -> None:
    results = f"paths.results={tmp_path}"
    none = run(compose_config([*SHORT, results]))
    merged = run(compose_config([*SHORT, results, "operator=tome", "operator.ratio=0"]))
    a, b = read_samples(none.folder), read_samples(merged.folder)
    assert a.equals(b)
    metrics = read_metrics(merged.folder)
    rise = metrics[metrics["metric"] == "eps_error_rise"]
    assert rise[["value", "n"]].to_numpy().tolist() == [[0, 3]]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("operator", ["tome", "lgtm"])
def test_near_ties_of_merging_do_not_flip_with_the_batch(backbone: str, operator: str) -> None:
    """The full protocol on twenty images."""
    common = [f"backbone={backbone}", *OPERATORS[operator]]
    first = classify(compose_config([*common, "batch_size=7", "threads=1"]), list(range(20)))
    second = classify(compose_config([*common, "batch_size=64", "threads=2"]), list(range(20)))
    assert_same(first, second)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_first_stage_alone_keeps_all_that_it_evaluated(tmp_path: Path, backbone: str) -> None:
    """Scores of the five trials are the means of the errors, and shards give the same file."""
    settings = [f"backbone={backbone}", "task.trial_list=[5]", "task.keep_list=[1]"]
    settings += ["dataset.limit=3", "operator=lgtm"]
    whole = run(compose_config([*settings, f"paths.results={tmp_path}"]))
    samples, found = read_samples(whole.folder), read_errors(whole.folder / "errors.npz")
    assert found.timesteps.tolist() == [100, 300, 500, 700, 900]
    assert found.errors.shape == (3, 5, 10)
    assert found.image_ids.tolist() == samples["image_id"].tolist()
    scores = np.array(samples["scores"].tolist())
    assert np.allclose(scores, found.errors.mean(axis=1), rtol=1e-6, atol=0)
    assert np.array_equal(samples["prediction"], found.errors.mean(axis=1).argmin(axis=1))
    for i in (1, 0):
        shard = [f"shard.index={i}", "shard.count=2", f"paths.results={tmp_path / 'b'}"]
        sharded = run(compose_config([*settings, *shard]))
    assert (sharded.folder / "errors.npz").read_bytes() == (
        whole.folder / "errors.npz"
    ).read_bytes()


def test_records_without_errors_are_not_adopted(tmp_path: Path) -> None:
    """They are of a version that kept none; a run of another limit computes them again."""
    few = run(compose_config([*SHORT, f"paths.results={tmp_path}"]))
    journal = few.folder / "journal-0of1.jsonl"
    first, *others = [json.loads(line) for line in journal.read_text().splitlines()]
    del first["first_stage"]
    journal.write_text("".join(json.dumps(record) + "\n" for record in (first, *others)))
    more = run(compose_config([*SHORT, "dataset.limit=4", f"paths.results={tmp_path}"]))
    assert more.computed == 2
    assert not np.isnan(read_errors(more.folder / "errors.npz").errors).any()
