"""A table as a tidy CSV: one line per number, measured ones and the paper's."""

import math
from collections.abc import Iterator

from bigain.config.paper import PaperKey
from bigain.files import csv_text
from bigain.metrics import Metric
from bigain.tables.cells import named_pairs
from bigain.tables.document import Document
from bigain.tables.planner import NONE, CellKey
from bigain.tables.quantities import QUANTITIES
from bigain.tables.sources import Sources

__all__ = ["COLUMNS", "compares", "render_csv", "render_static_csv"]

COLUMNS = (
    *("table", "source", "profile", "backbone", "dataset", "task", "row", "method", "versus"),
    *(
        "setting",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "p",
        "p_holm",
        "n",
        "unit",
        "run_id",
        "note",
        "versus_run_id",
    ),
)
"""`source` is measured or paper; numbers have 6 digits.

`versus` and `versus_run_id` are set for differences: the first run minus that one.
`p_holm` is set where a difference is one of the paper's orderings (`bigain.tables.families`).
"""

Row = dict[str, object]


def render_csv(sources: Sources) -> str:
    """The CSV text; the same bytes for the same input.  Cells without a run have an empty value."""
    return csv_text(COLUMNS, (*_runs(sources), *_deltas(sources), *_paper(sources)))


def render_static_csv(document: Document) -> str:
    """The panels of a table without runs: panel, line, column, value."""
    rows = (
        {"table": document.number, "panel": p.title, "line": line.label, "column": c, "value": v}
        for p in document.panels
        for line in p.lines
        for c, v in zip(p.columns, (cell.text for cell in line.cells), strict=True)
    )
    return csv_text(("table", "panel", "line", "column", "value"), rows)


def _runs(sources: Sources) -> Iterator[Row]:
    plan = sources.plan
    blocks = sources.blocks
    for cell, run in plan.runs.items():
        place = _place(sources, cell) | {"run_id": run.run_id}
        known = sources.measured.runs.get(cell, {})
        wanted = dict.fromkeys(b.metric for b in blocks if plan.place(b) == cell.place)
        for metric in [*known, *(name for name in wanted if name not in known)]:
            if metric in known:
                yield place | _numbers(known[metric])
            elif cell.row != NONE or not compares(metric):
                yield place | {"metric": metric}


def compares(metric: str) -> bool:
    """Whether a quantity compares with the baseline, so that the baseline itself has none."""
    of_time = metric in ("speedup", "acceleration_percent", "flops_saved_percent")
    return QUANTITIES[metric].needs_none or of_time


def _deltas(sources: Sources) -> Iterator[Row]:
    measured = sources.measured
    known = {cell: None for pair in measured.deltas for cell in pair}
    for cell, versus in named_pairs(sources.plan, known):
        across = cell.column != versus.column
        runs = (sources.plan.runs[each].run_id for each in (cell, versus))
        place = _place(sources, cell) | dict(zip(("run_id", "versus_run_id"), runs, strict=True))
        place["versus"] = versus.column if across else versus.row
        for name, difference in measured.deltas[cell, versus].items():
            corrected = sources.corrected.get(sources.hypothesis(cell, versus, name), math.nan)
            yield (
                place
                | _numbers(difference.metric)
                | {"metric": f"delta_{name}", "p": _p(difference.p), "p_holm": _p(corrected)}
            )


def _paper(sources: Sources) -> Iterator[Row]:
    for key, value in sources.paper.items():
        if key.table == sources.plan.spec.number:
            setting, _, versus = key.setting.partition("vs=")
            yield {
                "table": key.table,
                "source": "paper",
                "backbone": key.backbone,
                "dataset": key.dataset,
                "task": value.task,
                "method": key.method,
                "versus": versus,
                "setting": setting.rstrip(";"),
                "metric": key.metric,
                "value": value.text,
                "note": "; ".join(
                    filter(None, (value.status, value.note, *_footnotes(sources, key)))
                ),
            }


def _footnotes(sources: Sources, key: PaperKey) -> Iterator[str]:
    """What the specification says of this value."""
    cell = (key.dataset, key.method, key.metric, key.setting)
    return (each.text for each in sources.plan.spec.footnotes if each.concerns(cell))


def _place(sources: Sources, cell: CellKey) -> Row:
    plan = sources.plan
    methods = {each.id: each.method for each in plan.rows} | {NONE: NONE}
    columns = {column.id: column for column in plan.columns}
    row = next((each for each in plan.rows if each.id == cell.row), None)
    column = columns.get(cell.column)
    levels = row.settings(cell.place.backbone, cell.column) if row else ""
    settings = (column.setting if column else "", row.setting if row else "", levels)
    return {
        "table": plan.spec.number,
        "source": "measured",
        "profile": plan.profile,
        "backbone": cell.place.backbone,
        "dataset": cell.place.dataset,
        "task": " ".join(filter(None, (cell.place.work, cell.place.device))),
        "row": cell.row,
        "method": (column.method if column else None) or methods[cell.row],
        "setting": ";".join(filter(None, settings)),
    }


def _p(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _numbers(metric: Metric) -> Row:
    numbers = {"value": metric.value, "ci_low": metric.ci_low, "ci_high": metric.ci_high}
    texts = {key: "" if math.isnan(value) else f"{value:.6g}" for key, value in numbers.items()}
    return {"metric": metric.metric, **texts, "n": metric.n, "unit": metric.unit}
