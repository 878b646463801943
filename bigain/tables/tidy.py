"""A table as a tidy CSV: one line per number, measured ones and the paper's."""

import csv
import io
import math
from collections.abc import Iterator

from bigain.metrics import Metric
from bigain.tables.layout import Sources
from bigain.tables.planner import NONE

__all__ = ["COLUMNS", "render_csv"]

COLUMNS = (
    *("table", "source", "profile", "backbone", "dataset", "task", "row", "method", "versus"),
    *("setting", "metric", "value", "ci_low", "ci_high", "n", "unit", "run_id", "note"),
)
"""`source` is measured or paper; `versus` is set for differences; numbers have 6 digits."""

Line = dict[str, object]


def render_csv(sources: Sources) -> str:
    """The CSV text; the same bytes for the same input.  Cells without a run have an empty value."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for lines in (_runs(sources), _deltas(sources), _paper(sources)):
        writer.writerows(lines)
    return buffer.getvalue()


def _runs(sources: Sources) -> Iterator[Line]:
    plan = sources.plan
    blocks = plan.spec.profile(plan.profile).blocks
    for cell, run in plan.runs.items():
        dataset, row, setting = cell
        place = _place(sources, dataset, row, setting) | {"run_id": run.run_id}
        known = sources.measured.runs.get(cell, {})
        wanted = dict.fromkeys(block.metric for block in blocks if block.dataset == dataset)
        for metric in [*known, *(name for name in wanted if name not in known)]:
            if metric in known:
                yield place | _numbers(known[metric])
            elif row != NONE or not metric.endswith("_rise"):
                yield place | {"metric": metric}


def _deltas(sources: Sources) -> Iterator[Line]:
    for (dataset, row, versus, setting), metrics in sources.measured.deltas.items():
        place = _place(sources, dataset, row, setting) | {"versus": versus}
        for metric in metrics.values():
            yield place | _numbers(metric) | {"metric": f"delta_{metric.metric}"}


def _paper(sources: Sources) -> Iterator[Line]:
    spec = sources.plan.spec
    settings = {"", *sources.plan.settings}
    for key, value in sources.paper.items():
        setting, _, rest = key.setting.partition(";")
        if (key.table, key.task) == (spec.number, spec.task) and setting in settings:
            yield {
                "table": key.table,
                "source": "paper",
                "backbone": key.backbone,
                "dataset": key.dataset,
                "task": key.task,
                "method": key.method,
                "versus": rest.removeprefix("vs="),
                "setting": setting,
                "metric": key.metric,
                "value": value.text,
                "unit": "percent",
                "note": value.note,
            }


def _place(sources: Sources, dataset: str, row: str, setting: str) -> Line:
    plan = sources.plan
    methods = {each.id: each.method for each in plan.spec.rows} | {NONE: NONE}
    return {
        "table": plan.spec.number,
        "source": "measured",
        "profile": plan.profile,
        "backbone": plan.spec.profile(plan.profile).backbone,
        "dataset": dataset,
        "task": plan.spec.task,
        "row": row,
        "method": methods[row],
        "setting": setting,
    }


def _numbers(metric: Metric) -> Line:
    numbers = {"value": metric.value, "ci_low": metric.ci_low, "ci_high": metric.ci_high}
    texts = {key: "" if math.isnan(value) else f"{value:.6g}" for key, value in numbers.items()}
    return {"metric": metric.metric, **texts, "n": metric.n, "unit": metric.unit}
