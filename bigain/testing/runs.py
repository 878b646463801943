"""Finished runs with made-up records, and their metrics as a data frame."""

import json
import shutil
from collections.abc import Mapping
from itertools import count as counting
from pathlib import Path

import pandas as pd

from bigain.files import replace_text
from bigain.runs.archive import Archive
from bigain.runs.baselines import baseline_samples
from bigain.runs.collect import MEASURES
from bigain.runs.files import METRIC_COLUMNS, METRICS, Evaluate, Evaluation, csv_text, read_csv
from bigain.runs.identity import Config, describing_columns, run_id
from bigain.runs.samples import samples_frame

__all__ = ["evaluation_of", "publish_copies", "read_metrics"]

_NOT_TEXT = ("ratio", "factor", "alpha", "sparsity", "seed", "value", "n", "ci_low", "ci_high")


def evaluation_of(config: Config, results: Path) -> Evaluate:
    """What evaluates records of a classification or measurement as its task does.

    Args:
        config: The run.
        results: The folder in which the run and its baseline lie.

    """
    measure = MEASURES[describing_columns(config)["task"]]
    return lambda records: Evaluation(
        records, measure(samples_frame(records), baseline_samples(config, results))
    )


def read_metrics(folder: Path) -> pd.DataFrame:
    """metrics.csv of the run in `folder`: ids and names are text, alpha a number or a schedule."""
    text = [name for name in METRIC_COLUMNS if name not in _NOT_TEXT]
    return pd.DataFrame(read_csv(folder / METRICS, text), columns=list(METRIC_COLUMNS))


def publish_copies(source: Archive, results: Path, count: int) -> list[str]:
    """Publish copies of the published runs of `source` in `results`, with seeds of their own.

    Counts of FLOPs have no seed, so each of them is there once.

    Args:
        source: The runs; they are copied one after the other, again and again.
        results: The folder that gets the same profile.
        count: How many copies.

    Returns:
        Their run ids.

    """
    target, rows = Archive(results, source.profile), dict[str, list[Mapping[str, str | None]]]()
    for folder in ("samples", "manifests"):
        (target.runs_csv.parent / folder).mkdir(parents=True, exist_ok=True)
    seeds = counting(1000, 1000)
    for name, added in ((name, more) for more in seeds for name in source.run_ids()):
        if len(rows) == count:
            break
        manifest = dict(source.published_manifest(name) or {})
        config = {**manifest["config"], "seed": manifest["config"]["seed"] + added}
        own = {"run_id": run_id(config), "seed": config["seed"]}
        columns = {**manifest["columns"], **own}
        manifest |= {"run_id": own["run_id"], "config": config, "columns": columns}
        replace_text(target.published_manifest_path(own["run_id"]), json.dumps(manifest))
        samples = target.published_samples_path(own["run_id"])
        shutil.copyfile(source.published_samples_path(name), samples)
        rows[own["run_id"]] = [
            {**row.plain, "run_id": own["run_id"], "seed": str(config["seed"])}
            for row in source.published_rows(name)
        ]
    lines = (line for of_run in rows.values() for line in of_run)
    replace_text(target.runs_csv, csv_text(METRIC_COLUMNS, lines))
    return list(rows)
