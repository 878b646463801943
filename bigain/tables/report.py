"""One page for a reviewer: tables, figures, runs, where they ran, and what did not run.

The page is a pure function of files under `<results>` and of the tables' plans: the same files give
the same bytes.  It needs no network; style, script and figures are inside.
"""

import base64
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bigain.config.base import quoted
from bigain.errors import UserError
from bigain.locations import ASSETS
from bigain.metrics import Metric
from bigain.runs.archive import Archive
from bigain.runs.identity import DESCRIBING_COLUMNS
from bigain.runs.manifests import Manifest
from bigain.runs.store import RunStore
from bigain.tables.document import Document, legend
from bigain.tables.formats import html_environment
from bigain.tables.planner import Compose, remembering
from bigain.tables.render import (
    families_of_all,
    load_table,
    plan_of,
    render_table,
    table_numbers,
)
from bigain.tables.report_verdicts import verdict_groups

__all__ = [
    "Figure",
    "ListedRun",
    "ReportTable",
    "Tables",
    "find_figures",
    "not_run",
    "planned_tables",
    "read_runs",
    "render_report",
    "report_path",
    "where",
]

FILTERS = ("backbone", "dataset", "task", "operator")
"""Columns of the list of runs that have a menu of their values."""

_CAPTIONS = {
    "2": "Accuracy and Frechet distance against sparsity",
    "3": "Generated images under token merging, same seeds across operators",
    "4": "Generated images under token downsampling, same seeds across operators",
    "5": "Token importance, averaged over noise draws",
    "6": "Which tokens merging removes: ToMe against L-GTM",
}
_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
_NAME = re.compile(r"figure_?0*(?P<number>\d+)(?:[_-](?P<rest>.*))?")


@dataclass(frozen=True)
class ReportTable:
    """A finished table: what it prints, and the ids of all runs that it needs, done or not."""

    document: Document
    runs: tuple[str, ...] = ()


Tables = Callable[[str, Path | None], Sequence[ReportTable]]
"""(profile, results folder or None for the configured one) -> the tables, by number."""


@dataclass(frozen=True)
class ListedRun:
    """A finished run.

    Attributes:
        columns: What it is, by `DESCRIBING_COLUMNS`, as written; empty where it has no such thing.
        metrics: Name -> value with interval and n, in the order of the file.
        link: Its manifest, relative to the page; empty where there is none.
        origin: The manifest, {} where there is none.

    """

    columns: Mapping[str, str]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    link: str = ""
    origin: Manifest = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Its name."""
        return self.columns["run_id"]

    @property
    def has_known_origin(self) -> bool:
        """Whether a manifest was written when it ran; a rebuilt one knows no machine."""
        return bool(self.origin) and not self.origin.get("rebuilt")

    @property
    def images(self) -> tuple[int, int]:
        """The smallest and the largest n: some metrics leave out images without a value."""
        counts = [metric.n for metric in self.metrics.values()]
        return min(counts), max(counts)


@dataclass(frozen=True)
class Figure:
    """A picture as it stands in the page."""

    name: str
    caption: str
    source: str


def report_path(results: Path, profile: str) -> Path:
    """Where the page of a profile lies."""
    return results / profile / "report.html"


def planned_tables(
    compose_configs: Compose, profile: str, results: Path | None
) -> list[ReportTable]:
    """Every table that has a specification, from what is finished.

    Raises:
        UserError: No such profile, or records are damaged.

    """
    extra = () if results is None else (f"paths.results={quoted(results)}",)
    compose = remembering(compose_configs)
    families, found = families_of_all(compose), []
    for number in table_numbers():
        spec = load_table(number)
        plan = plan_of(spec, profile, "default", extra, compose)
        runs = () if plan is None else tuple(run.run_id for run in plan.distinct())
        table = render_table(spec, profile, plan, compose, families)
        found.append(ReportTable(table.document, runs))
    return found


def render_report(results: Path, profile: str, tables: Sequence[ReportTable]) -> str:
    """The page; the same bytes for the same files and tables.

    Raises:
        UserError: runs.csv or a manifest is damaged.

    """
    runs = read_runs(results, profile)
    known = {run.run_id: run for run in runs}
    return (
        html_environment()
        .get_template("report.html.j2")
        .render(
            profile=profile,
            verdicts=verdict_groups([each.document for each in tables]),
            legend=legend(profile),
            coverage=[(each.document, *_coverage(each, known, results)) for each in tables],
            figures=find_figures(results / profile / "figures"),
            runs=runs,
            columns=_columns(runs),
            units={name: metric.unit for run in runs for name, metric in run.metrics.items()},
            menus={name: sorted({run.columns[name] for run in runs} - {""}) for name in FILTERS},
            origins=_origins(runs),
            written=written,
            script=(ASSETS / "report.js").read_text(encoding="utf-8"),
        )
    )


def read_runs(results: Path, profile: str) -> list[ListedRun]:
    """The runs of runs.csv in the order of the file; none if there is no file.

    Raises:
        UserError: runs.csv or a manifest is damaged.

    """
    archive, folder = Archive(results, profile), report_path(results, profile).parent
    return [_listed(archive, name, folder) for name in archive.run_ids()]


def _listed(archive: Archive, name: str, folder: Path) -> ListedRun:
    rows, manifest = archive.published_rows(name), archive.manifest(name)
    path = Path(os.path.relpath(archive.manifest_path(name), folder))
    metrics = {row.metric.metric: row.metric for row in rows}
    return ListedRun(rows[0].columns, metrics, path.as_posix() if manifest else "", manifest or {})


def where(origin: Manifest) -> str:
    """Device and processor of a run."""
    if not origin.get("device"):
        return "not known"
    processor = origin.get("cpu_model")
    return f"{origin['device']} ({processor})" if processor else str(origin["device"])


def _coverage(
    table: ReportTable, known: Mapping[str, ListedRun], results: Path
) -> tuple[tuple[int, int], list[tuple[str, int]], list[tuple[str, int]]]:
    """Runs that are done and needed; how many ran where; why the others did not run."""
    done = [known[name] for name in table.runs if name in known]
    places = Counter(where(run.origin) for run in done)
    reasons = Counter(not_run(results, name) for name in table.runs if name not in known)
    return (len(done), len(table.runs)), sorted(places.items()), sorted(reasons.items())


def not_run(results: Path, run_id: str) -> str:
    """Why a run is not in runs.csv, as its folder says."""
    try:
        manifest = RunStore(results, run_id).manifest()
    except UserError:
        return "its manifest is damaged"
    status = str(manifest.get("status", "absent"))
    reasons = {
        "absent": "not started on this machine",
        "running": "started, not finished",
        "failed": f"failed: {' '.join(str(manifest.get('error') or 'no reason').split())[:120]}",
        "done": "done, but not collected yet",
    }
    return reasons.get(status, f"its manifest says {status}")


def find_figures(folder: Path) -> list[Figure]:
    """The files `figure*.svg` and `figure*.png`, by number; of one name the smaller of the two."""
    found: dict[str, tuple[int, str, Path]] = {}
    for path in sorted(folder.glob("figure*")):
        if path.suffix in _KINDS and _NAME.fullmatch(path.stem):
            entry = (path.stat().st_size, path.name, path)
            found[path.stem] = min(entry, found.get(path.stem, entry))
    ordered = sorted(found, key=lambda stem: (int(_parts(stem)[0]), _parts(stem)[1]))
    return [_figure(found[stem][2]) for stem in ordered]


def _figure(path: Path) -> Figure:
    number, rest = _parts(path.stem)
    caption = f". {_CAPTIONS[number]}" if number in _CAPTIONS else ""
    of = f" ({rest.replace('_', ' ')})" if rest else ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    source = f"data:{_KINDS[path.suffix]};base64,{data}"
    return Figure(path.stem, f"Figure {number}{caption}{of}", source)


def _parts(stem: str) -> tuple[str, str]:
    match = _NAME.fullmatch(stem)
    return (match["number"], match["rest"] or "") if match else ("0", stem)


def _columns(runs: Sequence[ListedRun]) -> list[str]:
    """The describing columns that say something of a run."""
    names = [name for name in DESCRIBING_COLUMNS if name not in ("profile", "run_id")]
    return [name for name in names if any(run.columns[name] for run in runs)]


def _origins(runs: Sequence[ListedRun]) -> list[tuple[int, tuple[str, ...]]]:
    """How many runs each combination of machine, software and code made, most first."""
    counts = Counter(_origin(run.origin) for run in runs if run.has_known_origin)
    return sorted(((n, origin) for origin, n in counts.items()), key=lambda x: (-x[0], x[1]))


def _origin(origin: Manifest) -> tuple[str, ...]:
    packages = origin.get("packages") or {}
    cells = [origin.get(key) for key in ("device", "cpu_model", "cores", "platform", "python")]
    cells += [packages.get(name) for name in ("torch", "diffusers", "numpy")]
    version, commit = packages.get("bigain"), origin.get("git_commit")
    code = [f"bigain {version}"] if version else []
    code += [str(commit)[:12]] if commit else []
    code += ["with changes"] if origin.get("git_dirty") else []
    return (*("" if cell is None else str(cell) for cell in cells), " ".join(code))


def written(value: float, unit: str) -> str:
    """Two decimals of percents, four digits of others."""
    text = f"{value:.2f}" if unit == "percent" else f"{value:.4g}"
    return text.replace("-", "−")
