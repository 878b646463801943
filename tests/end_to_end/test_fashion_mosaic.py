"""Both shipped backbones on mosaics: several labels per image, in a fresh clone, paired as ever."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from bigain.config import RunConfig
from bigain.engine.build import build_dataset
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.metrics.ranking import class_ranks
from bigain.runs.check import check_published, examine_published
from bigain.runs.collect import publish_runs
from bigain.runs.compare import compare_runs, describe
from bigain.runs.samples import read_samples
from bigain.testing.runs import read_metrics

SHORT = ["dataset=fashion_mosaic", "task.trial_list=[1,2]", "task.keep_list=[3,1]"]
MERGED = ["operator=lgtm", "operator.ratio=0.7"]


def configured(results: Path, backbone: str, *overrides: str) -> RunConfig:
    return compose_config([*SHORT, f"backbone={backbone}", f"paths.results={results}", *overrides])


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_metrics_are_those_of_several_labels_and_operators_pair(
    backbone: str, tmp_path: Path
) -> None:
    config = configured(tmp_path, backbone, "dataset.limit=4")
    outcome = run(config)
    assert (outcome.status, outcome.computed) == ("done", 4)
    samples = read_samples(outcome.folder)
    metrics = read_metrics(outcome.folder).set_index("metric")
    dataset = build_dataset(config.dataset)
    assert [tuple(labels) for labels in samples["labels"]] == [dataset[i].labels for i in range(4)]
    hits = [p in own for p, own in zip(samples["prediction"], samples["labels"], strict=True)]
    assert metrics.loc["acc1", "value"] == pytest.approx(100 * np.mean(hits))
    truth = np.array([[c in own for c in range(10)] for own in samples["labels"]])
    ranks = class_ranks(np.array(samples["scores"].tolist()), samples["prediction"].astype(int))
    each = [average_precision_score(own, -rank) for own, rank in zip(truth, ranks, strict=True)]
    assert metrics.loc["map_image", "value"] == pytest.approx(100 * np.mean(each))
    assert metrics.loc["map_class", "n"] == 4
    faster = run(configured(tmp_path, backbone, "dataset.limit=2", *MERGED))
    paired = compare_runs(tmp_path, faster.folder.name, outcome.folder.name)
    precisions = [
        read_samples(each.folder)["average_precision"][:2].mean() for each in (faster, outcome)
    ]
    precision = paired.differences["map_image"]
    assert precision.result.mean == pytest.approx(precisions[0] - precisions[1])
    assert "map_image" in describe([paired])
    assert paired.n == 2
    assert paired.differences["eps_error_rise"].result.mean != 0
    check_map_class(tmp_path, outcome.run_id)


def check_map_class(results: Path, run_id: str) -> None:
    """What is published gives the class-wise precision again, and another one is named.

    By code of its own: winners first, then by error; scikit-learn's precision of each class.
    """
    publish_runs(results, "mini", [run_id])
    shutil.rmtree(results / "runs")
    (found,) = examine_published(results).values()
    assert (found.runs, found.as_stated) == (1, {})
    path = results / "mini" / "runs.csv"
    lines = path.read_text().splitlines(keepends=True)
    (stated,) = (
        float(row["value"]) for row in csv.DictReader(lines) if row["metric"] == "map_class"
    )
    records = pd.read_csv(results / "mini" / "samples" / f"{run_id}.csv.gz")
    places = [
        sorted(range(10), key=lambda c: (c != winner, scores[c], c)).index
        for winner, scores in zip(
            records["prediction"], map(json.loads, records["scores"]), strict=True
        )
    ]
    truth = [json.loads(own) for own in records["labels"]]
    precisions = [
        average_precision_score([c in own for own in truth], [-place(c) for place in places])
        for c in sorted({c for own in truth for c in own})
    ]
    assert stated == pytest.approx(100 * np.mean(precisions))
    changed = [line.replace(",4,", ",3,", 1) if ",map_class," in line else line for line in lines]
    assert changed != lines
    path.write_text("".join(changed))
    with pytest.raises(UserError, match=f"run {run_id}: map_class, n=3"):
        check_published(results)
