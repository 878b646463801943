import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bigain.tables.document import Document
from bigain.tables.report.page import render_report, report_path
from bigain.tables.report.sources import ReportTable

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
def with_figure(results: Path) -> Path:
    folder = results / "mini" / "figures"
    folder.mkdir()
    (folder / "figure2.svg").write_text("<svg/>")
    return results


def test_it_lies_in_the_folder_of_the_profile(tmp_path: Path) -> None:
    assert report_path(tmp_path, "mini") == tmp_path / "mini" / "report.html"


def test_all_parts_are_there_and_linked(with_figure: Path, tables: list[ReportTable]) -> None:
    page = Page(render_report(with_figure, "mini", tables))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for name in ("coverage", "table4", "figures", "figure2", "runs", "run-list", "environment"):
        assert name in ids
    inner = [link[1:] for link in page.values("href") if link.startswith("#")]
    assert set(inner) <= set(ids)
    assert set(page.values("aria-labelledby")) <= set(ids)


def test_nothing_is_fetched(with_figure: Path, tables: list[ReportTable]) -> None:
    text = render_report(with_figure, "mini", tables)
    page = Page(text)
    assert page.values("src")
    assert all(source.startswith("data:") for source in page.values("src"))
    assert not [link for link in page.values("href") if ":" in link or link.startswith("/")]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|\bimport\b", text)
    assert "default-src 'none'" in page.values("content")[0]
    assert str(with_figure) not in text


def test_the_same_files_give_the_same_bytes(with_figure: Path, tables: list[ReportTable]) -> None:
    assert render_report(with_figure, "mini", tables) == render_report(with_figure, "mini", tables)


def test_without_anything_the_page_says_so(tmp_path: Path) -> None:
    text = render_report(tmp_path, "paper", [])
    Page(text)
    for sentence in ("No table is specified", "No figure", "No finished run", "no finished run"):
        assert sentence in text


def test_thirty_tables_and_four_hundred_runs_are_less_than_three_megabytes(
    tmp_path: Path,
    runs: Callable[..., Path],
    run_rows: list[dict[str, str]],
    wide_document: Document,
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
    assert text.count("<tr data-backbone") == 400
    assert 1_000_000 < len(text.encode()) < 3_000_000
