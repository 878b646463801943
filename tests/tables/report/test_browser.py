"""The page in a real browser: it renders, sorts and filters, without network."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.tables.report import ReportTable, render_report, report_path

pytestmark = pytest.mark.slow

Visit = Callable[..., str]


@pytest.fixture
def visit(
    program: Callable[..., str], results: Path, tables: list[ReportTable], tmp_path: Path
) -> Visit:
    """The page as it is after its script ran at an address, and after `then`, a further script."""
    browser = program("chromium", "chromium-browser", "google-chrome", package="chromium")
    page = report_path(results, "mini")
    whole = render_report(results, "mini", tables)

    def dom(fragment: str = "", then: str = "") -> str:
        page.write_text(whole.replace("</body>", f"<script>{then}</script></body>"), "utf-8")
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]
        command += [f"--user-data-dir={tmp_path / 'browser'}", "--proxy-server=127.0.0.1:9"]
        command += ["--virtual-time-budget=2000", "--dump-dom", f"{page.as_uri()}{fragment}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    return dom


def shown(dom: str) -> list[str]:
    """Run ids that are visible, from top to bottom, by their first letter."""
    found = re.findall(r"<tr data-([^>]*)>.*?<code>(\w)", dom, flags=re.DOTALL)
    return [name for attributes, name in found if "hidden" not in attributes]


def hidden_columns(dom: str) -> list[str]:
    heads = re.findall(r'<th scope="col" data-key="(\w+)"([^>]*)>', dom)
    return [name for name, attributes in heads if "hidden" in attributes]


def count(dom: str) -> str:
    (text,) = re.findall(r'<output id="run-count"[^>]*>(.*?)</output>', dom)
    return str(text)


def test_at_first_all_runs_are_shown_in_the_order_of_the_file(visit: Visit) -> None:
    dom = visit()
    assert shown(dom) == ["a", "b", "c", "d"]
    assert count(dom) == "4 of 4 runs"
    assert 'id="run-filter"' in dom
    assert "hidden" not in re.findall(r'<form id="run-filter"[^>]*>', dom)[0]
    assert hidden_columns(dom) == []


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("#sort=acc1", "bcad"),
        ("#sort=-acc1", "acbd"),
        ("#sort=-operator", "bacd"),
        ("#sort=operator", "cdab"),
        ("#sort=frechet_mini", "dabc"),
        ("#sort=nothing", "abcd"),
        ("#operator=lgtm", "cd"),
        ("#operator=lgtm&task=generation", "d"),
        ("#operator=unknown", "abcd"),
        ("#q=0.7", "bc"),
        ("#q=LGTM+0.3", "d"),
        ("#q=xyz", ""),
        ("#sort=-acc1&task=classification&q=mini", "acb"),
        ("#table4", "abcd"),
        ("#%3Cscript%3E=1&q=%3Cb%3E", ""),
    ],
)
def test_the_address_sorts_and_filters(visit: Visit, fragment: str, expected: str) -> None:
    dom = visit(fragment)
    assert shown(dom) == list(expected)
    assert count(dom) == f"{len(expected)} of 4 runs"


def test_columns_that_say_nothing_are_hidden(visit: Visit) -> None:
    assert hidden_columns(visit("#task=generation")) == ["device", "acc1", "eps_error"]
    assert hidden_columns(visit("#operator=none")) == ["ratio", "frechet_mini"]


def click(key: str) -> str:
    return f"document.querySelector('th[data-key={key}] button').click();"


TELL = "document.title = location.hash;"


def test_a_head_sorts_up_then_down_then_not(visit: Visit) -> None:
    orders = ["bcad", "acbd", "abcd"]
    states = ['aria-sort="ascending"', 'aria-sort="descending"', ""]
    for clicks, order, state in zip((1, 2, 3), orders, states, strict=True):
        dom = visit(then=click("acc1") * clicks)
        assert shown(dom) == list(order)
        (head,) = re.findall(r'<th scope="col" data-key="acc1"([^>]*)>', dom)
        assert head.strip() == state


def test_what_is_chosen_stands_in_the_address(visit: Visit) -> None:
    choose = (
        "const form = document.getElementById('run-filter'); form.elements.operator.value = 'lgtm';"
        "form.elements.q.value = 'self & 0';"
        "form.elements.q.dispatchEvent(new Event('input', {bubbles: true}));"
    )
    dom = visit(then=click("acc1") + choose + TELL)
    assert "<title>#sort=acc1&amp;q=self+%26+0&amp;operator=lgtm</title>" in dom
    assert count(dom) == "0 of 4 runs"


def test_show_all_shows_all(visit: Visit) -> None:
    reset = (
        "document.querySelector('#run-filter button[type=reset]').click();"
        f"setTimeout(() => {{ {TELL} }}, 50);"
    )
    dom = visit("#sort=-acc1&operator=lgtm&q=0.7", then=reset)
    assert shown(dom) == ["a", "b", "c", "d"]
    assert "<title></title>" in dom


def test_a_new_address_is_followed(visit: Visit) -> None:
    dom = visit("#operator=lgtm", then="location.hash = '#operator=tome';")
    assert shown(dom) == ["b"]


def test_a_picture_of_the_page_is_not_blank(
    visit: Visit, results: Path, tmp_path: Path, program: Callable[..., str]
) -> None:
    from PIL import Image  # noqa: PLC0415 -- most tests need no pictures

    visit()
    browser = program("chromium", "chromium-browser", "google-chrome", package="chromium")
    picture = tmp_path / "page.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={picture}"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1200,1600"]
    command += [report_path(results, "mini").as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    with Image.open(picture) as image:
        colours: Any = image.convert("L").getcolors(256)
    assert image.size == (1200, 1600)
    assert len(colours) > 20
