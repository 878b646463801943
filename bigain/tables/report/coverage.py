"""How much of each table was measured, where, and why the rest was not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bigain.errors import UserError
from bigain.runs.store import RunStore
from bigain.tables.document import DASH, Document
from bigain.tables.report.listed import ListedRun
from bigain.tables.report.origins import where
from bigain.tables.report.sources import ReportTable

__all__ = ["Coverage", "coverage_html", "coverage_of"]

_HEADS = ("cells measured", "runs done", "where", "not run, and why")


@dataclass(frozen=True)
class Coverage:
    """What is there of one table.

    Attributes:
        cells: Printed measured values, and places for them.
        runs: Runs that are done, and needed.
        places: Device and processor -> number of runs.
        reasons: Why runs are not there -> how many.

    """

    cells: tuple[int, int]
    runs: tuple[int, int]
    places: Mapping[str, int]
    reasons: Mapping[str, int]


def coverage_of(table: ReportTable, listed: Mapping[str, ListedRun], results: Path) -> Coverage:
    """What the list of runs and the run folders say of a table."""
    done = [listed[name] for name in table.runs if name in listed]
    reasons = Counter(_reason(results, name) for name in table.runs if name not in listed)
    places = Counter(where(run.origin) for run in done)
    return Coverage(_cells(table.document), (len(done), len(table.runs)), places, reasons)


def coverage_html(
    tables: Sequence[ReportTable], runs: Sequence[ListedRun], results: Path, profile: str
) -> str:
    """One line per table."""
    if not tables:
        return "<p>No table is specified.</p>"
    listed = {run.run_id: run for run in runs}
    lines = [_line(table.document, coverage_of(table, listed, results)) for table in tables]
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("table", *_HEADS))
    caption = f"Profile {escape(profile)}. Where: device and processor in the runs' manifests."
    return (
        '<div class="scroll" role="region" aria-label="Coverage" tabindex="0">\n'
        f'<table class="coverage">\n<caption><span>{caption}</span></caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table>\n"
        "</div>"
    )


def _cells(document: Document) -> tuple[int, int]:
    texts = [
        cell.text
        for panel in document.panels
        for line in panel.lines
        if line.kind == "measured"
        for cell in line.cells
        if cell.text
    ]
    return sum(text != DASH for text in texts), len(texts)


def _reason(results: Path, run_id: str) -> str:
    """Why a run is not in the list, from its folder."""
    try:
        manifest = RunStore(results, run_id).manifest()
    except UserError:
        return "its manifest is damaged"
    status = str(manifest.get("status", "absent"))
    failed = f"failed: {manifest.get('error') or 'no reason told'}"
    reasons = {
        "absent": "not started on this machine",
        "running": "begun, not finished",
        "failed": " ".join(failed.split())[:120],
        "done": "done, but not collected yet",
    }
    return reasons.get(status, f"its manifest says {status}")


def _line(document: Document, coverage: Coverage) -> str:
    name = f'<a href="#table{document.number}">Table {document.number}</a>'
    cells = "".join(
        f"<td>{text}</td>"
        for text in (
            _share(coverage.cells, "no measured cell"),
            _share(coverage.runs, "needs none"),
            _counted(coverage.places),
            _counted(coverage.reasons),
        )
    )
    return f'<tr><th scope="row">{name} {escape(document.title)}</th>{cells}</tr>'


def _share(part: tuple[int, int], none: str) -> str:
    return f"{part[0]} of {part[1]}" if part[1] else none


def _counted(counts: Mapping[str, int]) -> str:
    return "<br>".join(f"{count}: {escape(text)}" for text, count in sorted(counts.items()))
