import re
from pathlib import Path

from bigain.metrics import Metric
from bigain.runs.identity import DESCRIBING_COLUMNS
from bigain.tables.report.listed import ListedRun, read_runs
from bigain.tables.report.run_list import FILTERS, run_list


def rows(text: str) -> list[str]:
    return re.findall(r"<tr data-.*?</tr>", text, flags=re.DOTALL)


def heads(text: str) -> list[str]:
    return re.findall(r'data-key="(\w+)"', text)


def test_one_row_per_run_and_one_column_per_metric(results: Path) -> None:
    text = run_list(read_runs(results, "mini"), results / "mini" / "report.html")
    assert len(rows(text)) == 4
    assert heads(text) == [
        *("run_id", "backbone", "dataset", "task", "operator", "ratio", "seed"),
        *("images", "device", "acc1", "eps_error", "frechet_mini"),
    ]
    assert {row.count("<td") + row.count("<th") for row in rows(text)} == {12}


def test_a_value_has_its_interval_and_its_number(results: Path) -> None:
    text = run_list(read_runs(results, "mini"), results / "mini" / "report.html")
    assert '<td data-value="86.5">86.50 <small>[85.50, 87.50]</small></td>' in text
    assert '<td data-value="-12.5">−12.5 <small>[−13.5, −11.5]</small></td>' in text
    assert '<td data-value="0.0388">0.0388 <small>' in text


def test_links_lead_to_manifests_from_where_the_page_lies(results: Path) -> None:
    page = results / "mini" / "report.html"
    links = re.findall(r'href="([^"]+)"', run_list(read_runs(results, "mini"), page))
    assert links == ["manifests/aaaa0000aaaa0000.json", "../runs/bbbb0000bbbb0000/manifest.json"]
    assert all((page.parent / link).is_file() for link in links)


def test_menus_have_the_values_there_are(results: Path) -> None:
    text = run_list(read_runs(results, "mini"), results / "mini" / "report.html")
    menus = dict(re.findall(r'<select name="(\w+)">(.*?)</select>', text))
    assert tuple(menus) == FILTERS
    assert re.findall(r"<option>(\w+)</option>", menus["operator"]) == ["lgtm", "none", "tome"]
    assert 'data-operator="lgtm"' in rows(text)[2]


def test_texts_are_escaped_and_different_numbers_of_images_told(tmp_path: Path) -> None:
    columns = {**dict.fromkeys(DESCRIBING_COLUMNS, ""), "run_id": "a", "operator": '<b "x">'}
    metrics = {
        "margin": Metric("margin", float("nan"), 0, float("nan"), float("nan"), "<u>"),
        "time": Metric("time", 3.0, 5, float("nan"), float("nan"), "ms"),
    }
    text = run_list([ListedRun(columns, metrics)], tmp_path / "report.html")
    assert "<b" not in text.replace("<button", "")
    assert "<u>" not in text
    assert '<td data-value="5">0 to 5</td>' in text
    assert '<td></td><td data-value="3.0">3</td>' in text
