"""`bigain joint`: accuracy, Frechet distance, FLOPs and time of each operator in one row.

Of the runs that have a folder, and of those published in `<results>/<profile>/runs.csv`.
"""

import csv
import hashlib
import io
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

from pydantic import ValidationError
from tabulate import tabulate

from bigain.cli.arguments import VerbParser, results_folder
from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.files import parse_json, replace_text
from bigain.locations import CONFIGS
from bigain.metrics import Metric
from bigain.runs.files import need_results
from bigain.runs.joint import JOINT_METRICS, JointRow, joint_runs, joint_view
from bigain.runs.store import damaged_runs
from bigain.tables.spec import choose

__all__ = ["Answers", "main"]

_PACKAGE = Path(__file__).parents[1]
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
    view = joint_view(joint_runs(results, partial(_defaults, known), options.backbone))
    _count_missing_flops(view.rows, known)
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


class Answers:
    """Answers that depend on the code and its configuration alone, in `<cache>/joint.json`.

    Composing a configuration takes a tenth of a second, and counting FLOPs takes longer.  The
    file is begun anew when the package, `configs/`, torch or diffusers changed; it can be deleted.
    """

    def __init__(self, cache: Path) -> None:
        self._path = cache / "joint.json"
        self._stamp = _stamp()
        self._before = self._read()
        self._known = dict(self._before)

    def get(self, question: Sequence[Any], answer: Callable[[], Any]) -> Any:
        """The answer to `question`, as JSON data; `answer` finds it the first time."""
        key = json.dumps(question, sort_keys=True)
        if key not in self._known:
            self._known[key] = answer()
        return self._known[key]

    def save(self) -> None:
        """Write the file if there are new answers and the folder can be written to."""
        if self._known != self._before:
            with suppress(OSError):
                replace_text(self._path, json.dumps({"of": self._stamp, "answers": self._known}))

    def _read(self) -> dict[str, Any]:
        try:
            found = parse_json(self._path.read_text("utf-8"))
            return dict(found["answers"]) if found["of"] == self._stamp else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _stamp() -> str:
    """A hash of the package, its configuration and the packages that count FLOPs."""
    digest = hashlib.sha256(f"{version('torch')} {version('diffusers')}".encode())
    for path in sorted([*_PACKAGE.rglob("*.py"), *CONFIGS.rglob("*.yaml")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _defaults(known: Answers, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with the same choices and default settings; {} if there is none now."""
    groups = ("backbone", "dataset", "task", "operator")
    chosen = [f"profile={config['profile']}", *(f"{key}={config[key]['name']}" for key in groups)]

    from bigain.launch.compose import compose_config  # noqa: PLC0415 -- loads hydra

    def compose() -> dict[str, Any]:
        try:
            return compose_config(chosen).model_dump(mode="json")
        except UserError:  # of a version with other settings
            return {}

    answer: Mapping[str, Any] = known.get(["defaults", *chosen], compose)
    return answer


def _count_missing_flops(rows: Sequence[JointRow], known: Answers) -> None:
    """FLOPs need no run: those that no efficiency run measured are counted now."""
    for row in (row for row in rows if "flops_g" not in row.metrics):
        config, usual = row.run.config, _defaults(known, row.run.config)
        # A published configuration lacks what names a place.
        backbone = {**usual.get("backbone", {}), **config["backbone"]}
        question = ["flops_g", row.backbone, config["operator"], backbone.get("sites")]
        plain = {**usual, "backbone": backbone, "operator": config["operator"]}
        value = known.get(question, partial(_gigaflops, plain))
        if value is not None:
            row.metrics["flops_g"] = Metric.exact("flops_g", value, "GFLOPs")


def _gigaflops(plain: Mapping[str, Any]) -> float | None:
    from bigain.engine.build import build_flops  # noqa: PLC0415 -- loads torch

    try:
        run = RunConfig.model_validate(plain)
    except ValidationError:  # of a version with other settings
        return None
    return build_flops(run).total / 1e9


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
