"""The page of `bigain pareto`: quality against cost, with axes that the reader chooses.

It needs no network: style, script and data are inside.  All numbers also stand in tables, so the
page says the same without a script.  Fronts are computed here, for every pair of axes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bigain.config.operator import setting_cell
from bigain.locations import ASSETS
from bigain.metrics import HIGHER_IS_BETTER, Metric
from bigain.runs.joint_settings import compared_settings
from bigain.runs.pareto import COSTS, QUALITIES, Group, Point, fronts
from bigain.tables.formats import html_environment
from bigain.tables.quantities import QUANTITIES, format_metric

__all__ = ["axis_title", "render_pareto", "written"]

_TITLES = {"precision": "Precision", "recall": "Recall"}


def axis_title(metric: str) -> str:
    """The name of a metric with its unit, for the axis of a drawing."""
    return _TITLES[metric] if metric in _TITLES else QUANTITIES[metric].title


def written(metric: Metric) -> str:
    """A value with its interval; FLOPs with four digits, since small models have few."""
    return f"{metric.value:.4g}" if metric.metric == "flops_g" else format_metric(metric)


def render_pareto(groups: Sequence[Group], profile: str) -> str:
    """The page; the same bytes for the same groups."""
    data = {"axes": _axes(groups), "groups": [_group(group) for group in groups]}
    return (
        html_environment()
        .get_template("pareto.html.j2")
        .render(
            profile=profile,
            groups=groups,
            title=axis_title,
            written=written,
            # Inside a script, a "<" could end it.
            data=json.dumps(data, sort_keys=True, indent=1).replace("<", "\\u003c"),
            script=(ASSETS / "pareto.js").read_text(encoding="utf-8"),
        )
    )


def _axes(groups: Sequence[Group]) -> list[dict[str, Any]]:
    shown = {name for group in groups for name in group.measured()}
    return [
        {"metric": name, "title": axis_title(name), "higher": HIGHER_IS_BETTER[name]}
        for name in (*QUALITIES, *COSTS)
        if name in shown
    ]


def _group(group: Group) -> dict[str, Any]:
    return {
        "backbone": group.backbone,
        "dataset": group.dataset,
        "seed": group.seed,
        "tasks": group.tasks,
        "measured": group.measured(),
        "points": [_point(point) for point in group.points],
        "fronts": {f"{x} {y}": places for (x, y), places in fronts(group).items()},
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "operator": point.operator,
        "label": point.label,
        "settings": _settings(point.config),
        "runs": dict(point.runs),
        "values": {name: _numbers(metric) for name, metric in point.metrics.items()},
    }


def _settings(config: Mapping[str, Any]) -> str:
    """All settings of the operator, and its sites."""
    known = compared_settings(config).items()
    return " ".join(f"{key}={setting_cell(value)}" for key, value in known if value is not None)


def _numbers(metric: Metric) -> dict[str, Any]:
    ends = (metric.ci_low, metric.ci_high)
    parts = {
        "value": metric.value,
        "n": metric.n,
        "ends": None if any(map(math.isnan, ends)) else ends,
    }
    return parts | {"text": written(metric)}
