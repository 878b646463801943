"""The list of runs as an HTML table that the page's script sorts and filters."""

import math
import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from bigain.metrics import Metric
from bigain.runs.identity import DESCRIBING_COLUMNS
from bigain.tables.report.listed import ListedRun

__all__ = ["FILTERS", "run_list"]

FILTERS = ("backbone", "dataset", "task", "operator")
"""Columns that have a menu of their values."""


def run_list(runs: Sequence[ListedRun], page: Path) -> str:
    """Menus and table; `page` is the file that they go to, which links are relative to."""
    shown = [c for c in DESCRIBING_COLUMNS if c != "profile" and any(r.columns[c] for r in runs)]
    metrics = dict.fromkeys(name for run in runs for name in run.metrics)
    units = {name: metric.unit for run in runs for name, metric in run.metrics.items()}
    heads = [*(_head(name) for name in shown), _head("images"), _head("device")]
    heads += [_head(name, units[name]) for name in metrics]
    rows = [_row(run, shown, list(metrics), page) for run in runs]
    lines = [_menus(runs)]
    lines.append('<div class="scroll" role="region" aria-label="Runs" tabindex="0">')
    lines.append('<table id="run-list">')
    lines.append(
        "<caption><span>Value and 95 % interval. A click on a head sorts.</span></caption>"
    )
    lines.append(f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>")
    return "\n".join((*lines, *rows, "</tbody>\n</table>\n</div>"))


def _menus(runs: Sequence[ListedRun]) -> str:
    """Hidden until the script runs, because without it they would do nothing."""
    lines = ['<form id="run-filter" hidden>']
    lines.append('<label>Text <input type="search" name="q" placeholder="lgtm 0.7"></label>')
    for name in FILTERS:
        values = sorted({run.columns[name] for run in runs} - {""})
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        menu = f'<select name="{name}"><option value="">all</option>{options}</select>'
        lines.append(f"<label>{name} {menu}</label>")
    lines.append('<button type="reset">Show all</button>')
    lines.append('<output id="run-count" role="status"></output>\n</form>')
    return "\n".join(lines)


def _head(name: str, unit: str = "") -> str:
    small = f" <small>{escape(unit)}</small>" if unit else ""
    button = f'<button type="button">{escape(name)}</button>'
    return f'<th scope="col" data-key="{escape(name)}">{button}{small}</th>'


def _row(run: ListedRun, shown: Sequence[str], metrics: Sequence[str], page: Path) -> str:
    data = "".join(f' data-{name}="{escape(run.columns[name])}"' for name in FILTERS)
    cells = "".join(_cells(run, shown, metrics))
    return f'<tr{data}><th scope="row">{_name(run, page)}</th>{cells}</tr>'


def _name(run: ListedRun, page: Path) -> str:
    name = f"<code>{escape(run.run_id)}</code>"
    if run.manifest is None:
        return name
    link = Path(os.path.relpath(run.manifest, page.parent)).as_posix()
    return f'<a href="{escape(link)}">{name}</a>'


def _cells(run: ListedRun, shown: Sequence[str], metrics: Sequence[str]) -> Iterator[str]:
    for name in shown:
        if name != "run_id":
            yield f"<td>{escape(run.columns[name])}</td>"
    # Most metrics of a run are of all its images; some leave out those without a value.
    counts = [metric.n for metric in run.metrics.values()]
    few, many = min(counts), max(counts)
    yield f'<td data-value="{many}">{many if few == many else f"{few} to {many}"}</td>'
    yield f"<td>{escape(str(run.origin.get('device', '')))}</td>"
    for name in metrics:
        yield _value(run.metrics[name]) if name in run.metrics else "<td></td>"


def _value(metric: Metric) -> str:
    if math.isnan(metric.value):
        return "<td></td>"
    text = _written(metric.value, metric.unit)
    if math.isfinite(metric.ci_low) and math.isfinite(metric.ci_high):
        low, high = (_written(bound, metric.unit) for bound in (metric.ci_low, metric.ci_high))
        text = f"{text} <small>[{low}, {high}]</small>"
    return f'<td data-value="{metric.value!r}">{text}</td>'


def _written(value: float, unit: str) -> str:
    text = f"{value:.2f}" if unit == "percent" else f"{value:.4g}"
    return text.replace("-", "−")
