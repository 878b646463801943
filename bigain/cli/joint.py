"""`bigain joint`: accuracy, Frechet distance, FLOPs and time of each operator in one row.

Of the runs that have a folder, and of those published in `<results>/<profile>/runs.csv`.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from textwrap import wrap
from typing import Any

from tabulate import tabulate

from bigain.cli.arguments import VerbParser, results_folder
from bigain.cli.joint_answers import Answers, count_missing_flops, defaults_of
from bigain.files import csv_text
from bigain.locations import CONFIGS
from bigain.metrics import Metric
from bigain.runs.files import need_results
from bigain.runs.joint import JOINT_METRICS, JointRow, joint_runs, joint_view
from bigain.runs.store import damaged_runs
from bigain.tables.spec import choose

__all__ = ["main"]

_WIDTH = 120
_OPERATOR_WIDTH = 26
_DASH = "\N{EM DASH}"
_NAMES = ("backbone", "dataset", "operator", "seed")
_SHOWN = {
    "acc1": ("acc1 %", ".2f", ".1f"),
    "map_image": ("map_image %", ".2f", ".1f"),
    "eps_error_rise": ("error rise %", "+.2f", "+.1f"),
    "fid": ("fid", ".2f", ".1f"),
    "frechet_mini": ("frechet_mini", ".3f", ".2f"),
    "flops_g": ("GFLOPs", ".4g", ".4g"),
    "speedup": ("speed-up", ".2f", ".2f"),
    "time_ms_per_step": ("ms/step", ".2f", ".1f"),
    "precision": ("precision", ".3f", ".2f"),
    "recall": ("recall", ".3f", ".2f"),
    "class_agreement": ("agreement %", ".1f", ".1f"),
}
"""Metric -> its heading and the formats of value and interval, in the order of the text."""


def main(arguments: Sequence[str]) -> int:
    """Print one row per operator and backbone with a finished run."""
    description = "Both tasks and the cost of every operator with a finished run, in one row."
    parser = VerbParser("joint", description)
    parser.add_argument("--backbone", help="only this backbone")
    parser.add_argument("--format", choices=[*_FORMATS], default="text", help="default: text")
    options = parser.parse_args(arguments)
    if options.backbone is not None:
        names = sorted(path.stem for path in (CONFIGS / "backbone").glob("*.yaml"))
        choose("--backbone", options.backbone, names)
    results = results_folder(options.results)
    need_results(results)
    sys.stderr.write("".join(f"left out: {damage}\n" for damage in damaged_runs(results).values()))
    from bigain.launch.compose import compose_config  # noqa: PLC0415 -- loads hydra

    known = Answers(compose_config().paths.cache)
    view = joint_view(joint_runs(results, partial(defaults_of, known), options.backbone))
    count_missing_flops(view.rows, known, results)
    known.save()
    if not view.rows:
        sys.stdout.write(f"no finished run in {results}\n")
        return 0
    sys.stdout.write(_FORMATS[options.format](view.rows))
    _name_left_out("made with other settings", view.other_settings)
    _name_left_out("of another number of images than those shown", view.other_images)
    return 0


def _name_left_out(why: str, run_ids: Sequence[str]) -> None:
    if run_ids:
        sys.stderr.write(f"left out, {why}: {', '.join(run_ids)}\n")


def _text(rows: Sequence[JointRow]) -> str:
    """Tables that fit into the width, for each backbone, dataset and seed."""
    lines = []
    for (backbone, dataset, seed), group in groupby(
        rows, key=lambda row: (row.backbone, row.dataset, row.seed)
    ):
        of_group = list(group)
        images = {task: n for row in of_group for task, n in row.images.items()}
        counts = ", ".join(f"{task} of {n} images" for task, n in sorted(images.items()))
        lines += [f"{backbone}, {dataset}, seed {seed}: {counts}", ""]
        lines += [f"{table}\n" for table in _tables(of_group)]
    lines += [
        "An operator is named with the settings that differ from its defaults in configs/operator;",
        "one that is not there with the settings in which its runs differ.",
        f"Values with their 95 % interval; {_DASH}: no finished run.  GFLOPs: one forward.",
        "ms/step: separate runs; compare the speed-ups, timed in turn with the baseline.",
    ]
    return "\n".join(lines) + "\n"


def _tables(rows: Sequence[JointRow]) -> list[str]:
    """The columns in order, a new table wherever the next column would be too wide."""
    names = [name for name in _SHOWN if any(name in row.metrics for row in rows)]
    tables = [names[:0]]
    for name in names:
        wider = [*tables[-1], name]
        if max(map(len, _table(rows, wider).splitlines())) > _WIDTH:
            tables.append([name])
        else:
            tables[-1] = wider
    return [_table(rows, shown) for shown in tables]


def _table(rows: Sequence[JointRow], names: Sequence[str]) -> str:
    """The rows that have at least one of the metrics."""
    heads = ["operator", *(_SHOWN[name][0] for name in names)]
    cells = [
        [_wrapped(row.operator), *(_cell(row.metrics.get(name), name) for name in names)]
        for row in rows
        if set(names) & row.metrics.keys()
    ]
    return tabulate(cells, heads, disable_numparse=True)


def _wrapped(operator: str) -> str:
    return "\n".join(wrap(operator, _OPERATOR_WIDTH, break_long_words=False))


def _cell(metric: Metric | None, name: str) -> str:
    if metric is None:
        return _DASH
    _, digits, ends = _SHOWN[name]
    value = f"{metric.value:{digits}}"
    if not math.isfinite(metric.ci_low):
        return value
    return f"{value} [{metric.ci_low:{ends}}, {metric.ci_high:{ends}}]"


def _records(rows: Sequence[JointRow]) -> list[dict[str, Any]]:
    """Tidy: one record per row and metric, of those that were measured."""
    return [
        {**{name: getattr(row, name) for name in _NAMES}, "metric": metric.metric}
        | {key: _number(getattr(metric, key)) for key in ("value", "n", "ci_low", "ci_high")}
        | {"unit": metric.unit}
        for row in rows
        for metric in (row.metrics[name] for name in JOINT_METRICS if name in row.metrics)
    ]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _json(rows: Sequence[JointRow]) -> str:
    return json.dumps(_records(rows), indent=2) + "\n"


def _csv(rows: Sequence[JointRow]) -> str:
    records = _records(rows)
    return csv_text(list(records[0]), records)


_FORMATS: Mapping[str, Callable[[Sequence[JointRow]], str]] = {
    "text": _text,
    "csv": _csv,
    "json": _json,
}
