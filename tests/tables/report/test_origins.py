from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.runs.identity import DESCRIBING_COLUMNS
from bigain.runs.manifests import Manifest
from bigain.tables.report.listed import ListedRun, read_runs
from bigain.tables.report.origins import origins_html, where

NOBODY = dict.fromkeys(DESCRIBING_COLUMNS, "")


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
    manifest(results / "mini" / "manifests" / "cccc0000cccc0000.json", "cccc0000cccc0000")
    text = origins_html(read_runs(results, "mini"))
    lines = text.partition("<tbody>")[2].partition("</tbody>")[0].strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith('<tr><th scope="row">2</th><td>cpu</td><td>A processor</td>')
    assert "<td>2.14.1</td><td>0.42.1</td>" in lines[0]
    assert "<td>bigain 0.1.0 0123456789ab</td>" in lines[0]
    assert lines[1].startswith('<tr><th scope="row">1</th><td>cuda:0</td>')
    assert "The origin of 1 of 4 runs is not known." in text


def test_changes_without_a_commit_are_told_and_gaps_are_empty() -> None:
    run = ListedRun(NOBODY, {}, None, {"git_commit": "a" * 40, "git_dirty": True, "cores": None})
    text = origins_html([run])
    assert f"<td>{'a' * 12} with changes</td>" in text
    assert "None" not in text


def test_nothing_is_known_of_no_run() -> None:
    assert origins_html([]) == "<p>There is no finished run.</p>"
    assert origins_html([ListedRun(NOBODY)]) == "<p>The origin of 1 of 1 runs is not known.</p>"
