"""The page for a reviewer: what it reads, what it counts, and that it is one whole HTML page."""

import base64
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bigain.errors import UserError
from bigain.launch.compose import compose_configs
from bigain.runs.manifests import Manifest
from bigain.tables import report
from bigain.tables.document import MARKS, Cell, Document, Line, Panel
from bigain.tables.render import table_numbers
from bigain.tables.report import (
    FILTERS,
    ReportTable,
    find_figures,
    not_run,
    planned_tables,
    read_runs,
    render_report,
    report_path,
    where,
)
from bigain.tables.report_verdicts import verdict_groups

Row = dict[str, str]
WriteRuns = Callable[..., Path]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><text>5 &gt; 3</text></svg>'
MISSING = "eeee0000eeee0000"
VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """The elements of a page; every one that opens must close, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, name: str) -> list[str]:
        return [value for _, each, value in self.attributes if each == name]


@pytest.fixture
def page(results: Path, tables: list[ReportTable]) -> str:
    """The page of four runs, one table and a figure."""
    (results / "mini" / "figures").mkdir()
    (results / "mini" / "figures" / "figure2_mini_unet.svg").write_bytes(SVG)
    return render_report(results, "mini", tables)


def section(page: str, name: str) -> str:
    (found,) = re.findall(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL)
    return str(found)


def listed(page: str) -> list[str]:
    """The rows of the list of runs."""
    return re.findall(r"<tr data-.*?</tr>", page, flags=re.DOTALL)


def test_all_parts_are_there_and_linked(page: str) -> None:
    found = Page(page)
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    for name in ("coverage", "legend", "table4", "figures", "runs", "run-list", "environment"):
        assert name in ids
    assert {link[1:] for link in found.values("href") if link.startswith("#")} <= set(ids)
    assert set(found.values("aria-labelledby")) <= set(ids)


def test_the_legend_stands_once(page: str, small_document: Document) -> None:
    assert page.count("<strong>Bold</strong>") == 1
    assert len(re.findall("<li>", section(page, "legend"))) > len(MARKS)
    assert "With its" not in page, "a table alone would explain its numbers"


def test_nothing_is_fetched(page: str, results: Path) -> None:
    found = Page(page)
    assert found.values("src")
    assert all(source.startswith("data:") for source in found.values("src"))
    assert not [link for link in found.values("href") if ":" in link or link.startswith("/")]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|\bimport\b", page)
    assert "default-src 'none'" in found.values("content")[0]
    assert str(results) not in page


def test_the_same_files_give_the_same_bytes(
    page: str, results: Path, tables: list[ReportTable]
) -> None:
    assert render_report(results, "mini", tables) == page
    assert report_path(results, "mini") == results / "mini" / "report.html"


def test_without_anything_the_page_says_so(tmp_path: Path) -> None:
    text = render_report(tmp_path, "paper", [])
    Page(text)
    for sentence in ("No table", "No figure", "No finished run", "no finished run"):
        assert sentence in text


def test_thirty_tables_and_four_hundred_runs_are_less_than_three_megabytes(
    tmp_path: Path, runs: WriteRuns, run_rows: list[Row], wide_document: Document
) -> None:
    many = [row | {"run_id": f"{n:016x}"} for n in range(400) for row in run_rows[:2]]
    metrics = [row | {"metric": f"{row['metric']}_{n}"} for row in many for n in range(6)]
    runs(tmp_path, metrics)
    ids = tuple(f"{n:016x}" for n in range(400))
    panel = replace(wide_document.panels[0], lines=wide_document.panels[0].lines[:45])
    commands = ("python -m bigain backbone=mini_unet operator=lgtm operator.ratio=0.3",) * 20
    document = replace(wide_document, panels=(panel,), commands=commands)
    tables = [ReportTable(replace(document, number=n), ids) for n in range(1, 31)]
    text = render_report(tmp_path, "mini", tables)
    assert len(listed(text)) == 400
    assert 1_000_000 < len(text.encode()) < 3_000_000


def test_coverage_counts_cells_runs_places_and_reasons(page: str) -> None:
    text = section(page, "coverage")
    assert '<a href="#table4">Table 4</a> Token merging: 70 % &amp; more</th>' in text
    assert re.findall(r"<td>(.*?)</td>", text) == [
        *("4 of 8", "2 of 3", "1: cpu (A processor)<br>1: not known"),
        "1: not started on this machine",
    ]


def test_a_table_without_runs_and_cells_says_so(tmp_path: Path, small_document: Document) -> None:
    empty = ReportTable(replace(small_document, measured=(0, 0)))
    cells = re.findall(
        r"<td>(.*?)</td>", section(render_report(tmp_path, "mini", [empty]), "coverage")
    )
    assert cells == ["no measured cell", "needs none", "", ""]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "running"}, "started, not finished"),
        ({"status": "done"}, "done, but not collected yet"),
        ({"status": "failed", "error": "OSError:\n disk full"}, "failed: OSError: disk full"),
        ({"status": "failed", "error": None}, "failed: no reason"),
        ({"status": "odd"}, "its manifest says odd"),
    ],
)
def test_the_reason_is_in_the_folder_of_the_run(
    results: Path, manifest: Callable[..., Path], change: dict[str, str], reason: str
) -> None:
    assert not_run(results, MISSING) == "not started on this machine"
    path = manifest(results / "runs" / MISSING / "manifest.json", MISSING, **change)
    assert not_run(results, MISSING) == reason
    path.write_text("{")
    assert not_run(results, MISSING) == "its manifest is damaged"


def test_every_run_is_listed_once_with_all_its_metrics(results: Path) -> None:
    found = read_runs(results, "mini")
    assert [run.run_id[:4] for run in found] == ["aaaa", "bbbb", "cccc", "dddd"]
    assert list(found[0].metrics) == ["acc1", "eps_error"]
    assert (found[1].metrics["acc1"].value, found[1].metrics["acc1"].n) == (9.25, 400)
    assert (found[1].columns["ratio"], found[1].columns["alpha"]) == ("0.7", "")


def test_manifests_are_found_where_there_are_some(results: Path) -> None:
    first, second, third, _ = read_runs(results, "mini")
    links = ["manifests/aaaa0000aaaa0000.json", "../runs/bbbb0000bbbb0000/manifest.json"]
    assert [first.link, second.link] == links
    assert all((results / "mini" / link).is_file() for link in links)
    assert (first.origin["device"], second.origin["device"]) == ("cpu", "cuda:0")
    assert (third.link, third.origin) == ("", {})


def test_what_was_not_measured_is_no_number(
    tmp_path: Path, runs: WriteRuns, run_rows: list[Row]
) -> None:
    runs(tmp_path, [run_rows[0] | {"value": "", "ci_low": "", "n": "0"}])
    (run,) = read_runs(tmp_path, "mini")
    assert math.isnan(run.metrics["acc1"].value)
    assert read_runs(tmp_path / "elsewhere", "mini") == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data.replace(b"metric,value", b"metric,worth"), "lacks the columns value"),
        (lambda data: data.replace(b"86.5,", b"abc,", 1), "value=abc: allowed: a number"),
    ],
)
def test_damaged_files_are_named(
    results: Path,
    manifest: Callable[..., Any],
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    path = results / "mini" / "runs.csv"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.raises(UserError, match=rf"runs\.csv.*{message}"):
        read_runs(results, "mini")
    path.write_bytes(whole)
    manifest(results / "mini" / "manifests" / "aaaa0000aaaa0000.json", "another")
    with pytest.raises(UserError, match=r"aaaa0000aaaa0000\.json: is damaged"):
        read_runs(results, "mini")


def test_one_row_per_run_and_one_column_per_metric(page: str) -> None:
    assert re.findall(r'data-key="(\w+)"', page) == [
        *("run_id", "backbone", "dataset", "task", "operator", "ratio", "seed"),
        *("images", "device", "acc1", "eps_error", "frechet_mini"),
    ]
    assert len(listed(page)) == 4
    assert {row.count("<td") + row.count("<th") for row in listed(page)} == {12}


def test_a_value_has_its_interval_and_its_number(page: str) -> None:
    assert '<td data-value="86.5">86.50 <small>[85.50, 87.50]</small></td>' in page
    assert '<td data-value="-12.5">−12.5 <small>[−13.5, −11.5]</small></td>' in page


def test_menus_have_the_values_there_are(page: str) -> None:
    menus = dict(re.findall(r'<select name="(\w+)">(.*?)</select>', page))
    assert tuple(menus) == FILTERS
    assert re.findall(r"<option>(\w+)</option>", menus["operator"]) == ["lgtm", "none", "tome"]
    assert 'data-operator="lgtm"' in listed(page)[2]


def test_texts_are_escaped_and_numbers_of_images_may_differ(
    tmp_path: Path, runs: WriteRuns, run_rows: list[Row]
) -> None:
    first = run_rows[0] | {"operator": '<b "x">', "unit": "<u>", "n": "0", "value": ""}
    second = first | {"metric": "time", "n": "5", "value": "3", "ci_low": "", "ci_high": ""}
    runs(tmp_path, [first, second])
    page = render_report(tmp_path, "mini", [])
    Page(page)
    (row,) = listed(page)
    assert "&lt;b &#34;x&#34;&gt;" in row
    assert '<td data-value="5">0 to 5</td>' in row
    assert row.endswith('<td></td><td data-value="3.0">3</td></tr>')


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ({}, "not known"),
        ({"device": "cuda:0"}, "cuda:0"),
        ({"device": "cpu", "cpu_model": "AMD EPYC"}, "cpu (AMD EPYC)"),
    ],
)
def test_where_is_device_and_processor(origin: Manifest, expected: str) -> None:
    assert where(origin) == expected


def test_a_line_for_each_environment_the_commonest_first(
    results: Path, manifest: Callable[..., Path]
) -> None:
    name = "cccc0000cccc0000"
    manifest(results / "mini" / "manifests" / f"{name}.json", name, git_dirty=False)
    manifest(results / "runs" / "dddd0000dddd0000" / "manifest.json", "dddd0000dddd0000",
             device="cuda:0", git_dirty=True, cores=None)  # fmt: skip
    text = section(render_report(results, "mini", []), "environment")
    first, *others = re.findall(r'<tr><th scope="row">(.*?)</tr>', text)
    assert first.startswith("2</th><td>cpu</td><td>A processor</td>")
    assert "<td>2.14.1</td><td>0.42.1</td>" in first
    assert "<td>bigain 0.1.0 0123456789ab</td>" in first
    assert len(others) == 2
    assert any("0123456789ab with changes" in line for line in others)
    assert "None" not in text


def test_runs_without_a_manifest_are_counted(page: str) -> None:
    assert "2 of 4 runs" in section(page, "environment")


def test_figures_are_found_by_number_and_the_smaller_file_serves(tmp_path: Path) -> None:
    for name in ("figure10.svg", "figure2_mini_unet.svg", "figure2_mini_dit.png", "figure3.png"):
        (tmp_path / name).write_bytes(SVG)
    (tmp_path / "figure3.svg").write_bytes(SVG * 2)
    for name in ("figure2.pdf", "other.svg", "figures.svg", "figure2.svg.tmp"):
        (tmp_path / name).write_bytes(SVG)
    found = find_figures(tmp_path)
    assert [figure.name for figure in found] == [
        *("figure2_mini_dit", "figure2_mini_unet", "figure3", "figure10")
    ]
    assert found[2].source.startswith("data:image/png;base64,")
    assert find_figures(tmp_path / "nowhere") == []


def test_a_figure_is_inside_the_page_with_its_caption(page: str) -> None:
    caption = "Figure 2. Accuracy and Frechet distance against sparsity (mini unet)"
    assert f'alt="{caption}"' in page
    assert f"<figcaption>{caption}</figcaption>" in page
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert base64.b64decode(data) == SVG


@pytest.mark.parametrize(
    ("name", "caption"), [("figure_07-a&b.png", "Figure 7 (a&b)"), ("figure9.png", "Figure 9")]
)
def test_an_unknown_figure_has_its_number(tmp_path: Path, name: str, caption: str) -> None:
    (tmp_path / name).write_bytes(b"png")
    assert [figure.caption for figure in find_figures(tmp_path)] == [caption]


def test_every_table_comes_with_the_runs_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = table_numbers()[-2:]  # all of them take long to compose
    monkeypatch.setattr(report, "table_numbers", lambda: numbers)
    tables = planned_tables(compose_configs, "mini", tmp_path)
    assert [table.document.number for table in tables] == numbers
    for table in tables:
        assert len(set(table.runs)) == len(table.runs)
        assert len(table.document.commands) == len(table.runs) > 0
        assert f"paths.results={tmp_path}" in table.document.command
    configured = planned_tables(compose_configs, "mini", None)
    assert not [c for table in configured for c in table.document.commands if "paths" in c]


def test_the_page_opens_with_the_verdicts(results: Path, small_document: Document) -> None:
    """What two tables print alike is one line."""
    line, other = (
        Line("measured", label, (Cell("accuracy"), Cell("+1.00"), Cell(verdict)))
        for label, verdict in (("A minus B", "level"), ("A minus C", "supported"))
    )
    panel = Panel("Orderings", ("quantity", "measured", "verdict"), (line,))
    documents = [
        replace(small_document, number=4, findings=(panel,)),
        replace(small_document, number=17, findings=(replace(panel, lines=(line, other)),)),
    ]
    (group,) = verdict_groups(documents)
    assert [(each.label, each.tables) for each in group.lines] == [
        *(("A minus B", (4, 17)), ("A minus C", (17,))),
    ]
    assert dict(group.counts) == {
        **{"supported": 1, "contradicted": 0, "level": 1, "inconclusive": 0},
    }
    page = render_report(results, "mini", [ReportTable(each) for each in documents])
    Page(page)
    assert page.index('id="verdicts"') < page.index('id="coverage"')
    assert '<a href="#table4">4</a>, <a href="#table17">17</a>' in page
    assert "1 supported, 0 contradicted, 1 level, 0 inconclusive." in page
