from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bigain.tables.report.coverage import Coverage, coverage_html, coverage_of
from bigain.tables.report.listed import read_runs
from bigain.tables.report.sources import ReportTable

MISSING = "eeee0000eeee0000"


def covered(results: Path, table: ReportTable) -> Coverage:
    return coverage_of(table, {run.run_id: run for run in read_runs(results, "mini")}, results)


def test_cells_runs_places_and_reasons_are_counted(
    results: Path, tables: list[ReportTable]
) -> None:
    found = covered(results, tables[0])
    assert found.cells == (4, 8)
    assert found.runs == (2, 3)
    assert found.places == {"cpu (A processor)": 1, "not known": 1}
    assert found.reasons == {"not started on this machine": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "running"}, "begun, not finished"),
        ({"status": "done"}, "done, but not collected yet"),
        ({"status": "failed", "error": "OSError:\n disk full"}, "failed: OSError: disk full"),
        ({"status": "failed", "error": None}, "failed: no reason told"),
        ({"status": "odd"}, "its manifest says odd"),
    ],
)
def test_the_reason_is_in_the_folder_of_the_run(
    results: Path,
    tables: list[ReportTable],
    manifest: Callable[..., Path],
    change: dict[str, str],
    reason: str,
) -> None:
    manifest(results / "runs" / MISSING / "manifest.json", MISSING, **change)
    assert covered(results, tables[0]).reasons == {reason: 1}


def test_a_damaged_manifest_is_a_reason_too(results: Path, tables: list[ReportTable]) -> None:
    (results / "runs" / MISSING).mkdir(parents=True)
    (results / "runs" / MISSING / "manifest.json").write_text("{")
    assert covered(results, tables[0]).reasons == {"its manifest is damaged": 1}


def test_the_page_says_it_in_words(results: Path, tables: list[ReportTable]) -> None:
    listed = read_runs(results, "mini")
    text = coverage_html(tables, listed, results, "mini")
    assert '<a href="#table4">Table 4</a> Token merging: 70 % &amp; more</th>' in text
    assert "<td>4 of 8</td><td>2 of 3</td>" in text
    assert "1: cpu (A processor)<br>1: not known" in text
    assert "Profile mini." in text


def test_a_table_without_runs_and_cells_says_so(results: Path, tables: list[ReportTable]) -> None:
    empty = ReportTable(replace(tables[0].document, panels=()))
    text = coverage_html([empty], [], results, "mini")
    assert "<td>no measured cell</td><td>needs none</td><td></td><td></td>" in text
    assert coverage_html([], [], results, "mini") == "<p>No table is specified.</p>"
