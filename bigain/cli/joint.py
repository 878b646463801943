"""`bigain joint`: accuracy, Frechet distance, FLOPs and time of each operator in one row.

Of the runs that have a folder, and of those published in `<results>/<profile>/runs.csv`.
"""

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from tabulate import tabulate

from bigain.cli.arguments import VerbParser, results_folder
from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.metrics import Metric
from bigain.runs.folder import need_results
from bigain.runs.joint import JointRow, joint_view
from bigain.runs.joint_runs import JOINT_METRICS, finished_runs, published_runs
from bigain.runs.store import damaged_runs
from bigain.tables.spec import choose

__all__ = ["main"]

_DASH = "\N{EM DASH}"
_NAMES = ("backbone", "dataset", "operator", "seed")
_SHOWN = {
    "acc1": ("acc1 %", ".2f"),
    "map_image": ("map_image %", ".2f"),
    "eps_error_rise": ("error rise %", "+.2f"),
    "fid": ("fid", ".2f"),
    "frechet_mini": ("frechet_mini", ".3f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "class_agreement": ("agreement %", ".1f"),
    "flops_g": ("GFLOPs", ".4g"),
    "time_ms_per_step": ("ms/step", ".4g"),
    "speedup": ("speed-up", ".2f"),
}


def main(arguments: Sequence[str]) -> int:
    """Print one row per operator and backbone with a finished run."""
    description = "Both tasks and the cost of every operator with a finished run, in one row."
    parser = VerbParser("joint", description)
    parser.add_argument("--backbone", help="only this backbone")
    parser.add_argument("--format", choices=[*_FORMATS], default="text", help="default: text")
    options = parser.parse_args(arguments)
    if options.backbone is not None:
        known = sorted(path.stem for path in (CONFIGS / "backbone").glob("*.yaml"))
        choose("--backbone", options.backbone, known)
    results = results_folder(options.results)
    need_results(results)
    sys.stderr.write("".join(f"left out: {damage}\n" for damage in damaged_runs(results).values()))
    published, unknown = published_runs(results, _recognise)
    view = joint_view([*finished_runs(results), *published], _shared)
    rows = [row for row in view.rows if options.backbone in (None, row.backbone)]
    if not rows:
        sys.stdout.write(f"no finished run in {results}\n")
        return 0
    counted: dict[str, Metric | None] = {}
    for row in rows:
        _count_flops(row, counted)
    sys.stdout.write(_FORMATS[options.format](rows))
    _tell("made with other settings", [*view.other_settings, *unknown])
    _tell("of another number of images than those shown", view.other_images)
    return 0


def _tell(why: str, left_out: Sequence[str]) -> None:
    if left_out:
        sys.stderr.write(f"left out, {why}: {', '.join(left_out)}\n")


def _shared(config: Mapping[str, Any]) -> Mapping[str, Any]:
    from bigain.launch.task_defaults import shared_operator  # noqa: PLC0415 -- loads hydra

    return shared_operator(config)


def _recognise(columns: Mapping[str, Any], sizes: Sequence[int]) -> dict[str, Any] | None:
    from bigain.launch.published import published_config  # noqa: PLC0415 -- loads hydra

    return published_config(columns, sizes)


def _count_flops(row: JointRow, known: dict[str, Metric | None]) -> None:
    """FLOPs need no run: what no efficiency run measured is counted now."""
    if "flops_g" in row.metrics:
        return
    key = json.dumps([row.config["backbone"], row.config["operator"]], sort_keys=True)
    if key not in known:
        known[key] = _flops(row.config)
    found = known[key]
    if found is not None:
        row.metrics["flops_g"] = found


def _flops(config: Mapping[str, Any]) -> Metric | None:
    from bigain.engine.build import build_flops  # noqa: PLC0415 -- loads torch
    from bigain.launch.published import whole_config  # noqa: PLC0415 -- loads hydra

    try:
        run = RunConfig.model_validate(whole_config(config))
    except (UserError, ValidationError):  # of a version with other settings
        return None
    return Metric("flops_g", build_flops(run).total / 1e9, 1, math.nan, math.nan, "GFLOPs")


def _text(rows: Sequence[JointRow]) -> str:
    shown = [name for name in JOINT_METRICS if any(name in row.metrics for row in rows)]
    heads = [*_NAMES, *(_SHOWN[name][0] for name in shown)]
    cells = [
        [row.backbone, row.dataset, row.operator, row.seed]
        + [_cell(row.metrics.get(name), _SHOWN[name][1]) for name in shown]
        for row in rows
    ]
    table = tabulate(cells, heads, disable_numparse=True)
    lines = [*_numbers(rows)]
    lines += [f"value [95 % interval] n; {_DASH}: no finished run.  GFLOPs: one forward."]
    if "time_ms_per_step" in shown:
        lines += ["ms/step: separate runs; compare the speed-ups, timed in turn with none."]
    return "\n".join([table, "", *lines]) + "\n"


def _numbers(rows: Sequence[JointRow]) -> list[str]:
    """How many images each task is of; it is the same number in all rows of a backbone."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(f"{row.backbone}, {row.dataset}", {}).update(row.images)
    told = {
        where: ", ".join(f"{task} of {n} images" for task, n in sorted(images.items()))
        for where, images in found.items()
    }
    return [f"{where}: {tasks}" for where, tasks in told.items()]


def _cell(metric: Metric | None, digits: str) -> str:
    if metric is None:
        return _DASH
    value = f"{metric.value:{digits}}"
    if not math.isfinite(metric.ci_low):
        return value
    return f"{value} [{metric.ci_low:{digits}}, {metric.ci_high:{digits}}] n={metric.n}"


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
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


_FORMATS: Mapping[str, Callable[[Sequence[JointRow]], str]] = {
    "text": _text,
    "csv": _csv,
    "json": _json,
}
