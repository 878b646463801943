"""Curves of finished runs on Trackio's page: a question of the paper against ratio, factor, FLOPs.

Trackio draws the values that one of its runs logged, against each other.  So a curve is a run of
Trackio, and each of our runs is a point of it.  Trackio draws all curves of a project against one
value, so there is a project for each axis, whose curves all have it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bigain.config import TrackingConfig
from bigain.config.operator import operator_title
from bigain.runs.identity import baseline_id, dataset_name, run_id
from bigain.runs.races import calibrated
from bigain.tracking.questions import QUESTIONS, UNREDUCED, known_at, short
from bigain.tracking.trackio_client import PROJECT, TrackioClient, load_trackio
from bigain.tracking.view import View

__all__ = ["Curve", "curves_of", "show_curves"]

_Summary = Mapping[str, float]
_Run = tuple[Mapping[str, Any], _Summary]

_OF_TRACKIO = ("step", "timestamp")
"""What Trackio adds to each point."""

_LOOK = {"smoothing": "0", "plots_per_row": "1"}

_DRAWN = tuple(dict.fromkeys(key for question in QUESTIONS for key in question.y))


@dataclass(frozen=True)
class Curve:
    """One operator on one backbone and dataset, with all settings alike but how much it reduces.

    Attributes:
        view: What its points share; its run id is that of the curve.
        points: Values of the points, from left to right: the axis, and metrics of the questions.

    """

    view: View
    points: tuple[Mapping[str, float], ...]


def curves_of(runs: Iterable[_Run], x: str) -> list[Curve]:
    """The curves of these runs over the axis `x`, sorted by their names.

    A curve begins at the baseline of its runs, if that is one of `runs`.  A single point is none.

    Args:
        runs: Configuration, published or not, and summary of each.
        x: `RATIO`, `FACTOR` or `FLOPS`.

    """
    found = [(calibrated(config, None), summary) for config, summary in runs]
    baselines = {run_id(config): summary for config, summary in found if _is_baseline(config)}
    shared: dict[str, Mapping[str, Any]] = {}
    points: dict[str, list[dict[str, float]]] = defaultdict(list)
    for config, summary in found:
        if _is_baseline(config):
            continue
        fixed = _without_strength(config, x)
        name = run_id(fixed)
        if name not in shared:
            shared[name] = fixed
            baseline = baselines.get(baseline_id(config), {})
            points[name] += _point(_of_baseline(config, baseline, x), baseline, x)
        points[name] += _point(known_at(config, summary, x), summary, x)
    curves = [
        Curve(_view(name, fixed), tuple(sorted(points[name], key=lambda each: each[short(x)])))
        for name, fixed in shared.items()
        if len(points[name]) > 1
    ]
    return sorted(curves, key=lambda curve: (curve.view.name, curve.view.run_id))


def show_curves(
    runs: Iterable[_Run], tracking: TrackingConfig, results: Path
) -> Iterator[tuple[str, str]]:
    """Show the curves of these runs in Trackio, and no others; what is there already stays.

    Yields:
        The title of each question that has a curve, and the query that asks the page for it.

    Args:
        runs: Configuration, published or not, and summary of each.
        tracking: What the user told the tracker.
        results: The folder of the run store.

    Raises:
        OSError, sqlite3.Error: Trackio cannot write its files.
        ValueError: It refuses the name of the project.

    """
    found, drawn = list(runs), dict[str, list[Curve]]()
    for question in QUESTIONS:
        axis = short(question.x)
        project = f"{tracking.project or PROJECT}-against-{axis}"
        if question.x not in drawn:
            drawn[question.x] = curves_of(found, question.x)
            place = tracking.model_copy(update={"project": project})
            _write(drawn[question.x], place, project, results)
        known = {key for curve in drawn[question.x] for point in curve.points for key in point}
        if keys := [key for key in question.y if key in known]:
            asked = {"project": project, "x_axis": axis, "metrics": ",".join(keys)}
            yield question.title, urlencode({**asked, **_LOOK}, safe=",")


def _write(curves: list[Curve], place: TrackingConfig, project: str, results: Path) -> None:
    trackio, client = load_trackio(results), TrackioClient()
    read = import_module("trackio.sqlite_storage").SQLiteStorage.get_logs
    missing = {curve.view.run_id: curve for curve in curves}
    with suppress(ValueError):  # there is no such project
        for each in trackio.Api().runs(project):
            curve = missing.get((each.config or {}).get("run_id", ""))
            points = [
                {key: value for key, value in row.items() if key not in _OF_TRACKIO}
                for row in read(project, each.name, run_id=each.id)
            ]
            if curve is not None and points == [*curve.points]:
                del missing[curve.view.run_id]
            else:
                each.delete()
    for curve in missing.values():
        page = client.open(curve.view, place, results, 0)
        for step, point in enumerate(curve.points):
            page.log(point, step)
        page.finish()


def _is_baseline(config: Mapping[str, Any]) -> bool:
    return bool(config["operator"]["name"] == "none")


def _strengths(config: Mapping[str, Any]) -> list[str]:
    """The settings that say how much the operator reduces: one, two of a hybrid, or none."""
    return [x for x in UNREDUCED if known_at(config, {}, x) is not None]


def _without_strength(config: Mapping[str, Any], x: str) -> dict[str, Any]:
    """The configuration without what differs along a curve; a hybrid keeps its other strength."""
    varied = short(x if x in UNREDUCED else next(iter(_strengths(config)), x))
    kept = {key: value for key, value in config["operator"].items() if key != varied}
    return {**config, "operator": kept}


def _of_baseline(config: Mapping[str, Any], baseline: _Summary, x: str) -> float | None:
    """Where the baseline is on the curve of the run; half of a hybrid still reduces at ratio 0."""
    if x not in UNREDUCED:
        return baseline.get(x)
    return UNREDUCED[x] if _strengths(config) == [x] else None


def _point(at: float | None, summary: _Summary, x: str) -> list[dict[str, float]]:
    values = {key: summary[key] for key in _DRAWN if key in summary}
    return [] if at is None or not values else [{short(x): at, **values}]


def _view(name: str, fixed: Mapping[str, Any]) -> View:
    """The view of a curve; its name has what most often tells two curves of an operator apart."""
    view, operator = View.of(name, fixed), fixed["operator"]
    words = [fixed["backbone"]["name"], dataset_name(fixed), operator_title(operator)]
    if operator.get("scope", "self") != "self":
        words.append(operator["scope"])
    if fixed["dataset"].get("limit"):
        words.append(f"n={fixed['dataset']['limit']}")
    return View(name, " ".join(words), view.job_type, view.tags, None, view.config)
