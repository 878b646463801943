import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import ValidationError

from bigain.config.paper import load_paper
from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.metrics import Metric
from bigain.tables.claim_page import claims_csv, claims_markdown
from bigain.tables.claim_results import Finding, claim_verdict, overall, read_registered
from bigain.tables.claim_sizes import counted_size, printed_size
from bigain.tables.claims import (
    BandTest,
    Claim,
    ClaimsSpec,
    CountTest,
    Expected,
    load_claims,
)
from bigain.tables.differences import Difference

NAN = math.nan


def difference(metric: str, low: float, high: float) -> Difference:
    return Difference(Metric(metric, (low + high) / 2, 100, low, high, "points"), 0.01)


@pytest.mark.parametrize(
    ("expected", "metric", "low", "high", "p", "verdict"),
    [
        ("above", "acc1", 2.0, 4.0, 0.01, "supported"),
        ("above", "acc1", -4.0, -2.0, 0.01, "contradicted"),
        ("above", "acc1", -4.0, 4.0, 0.9, "inconclusive"),
        ("above", "acc1", -1.0, 1.0, 0.9, "level"),
        ("below", "acc1", -4.0, -2.0, 0.01, "supported"),
        ("below", "frechet_mini", -0.4, -0.2, 0.01, "supported"),
        ("below", "frechet_mini", 0.2, 0.4, 0.01, "contradicted"),
        ("above", "frechet_mini", 0.2, 0.4, 0.01, "supported"),
        ("level", "acc1", -1.0, 1.0, 0.9, "supported"),
        ("level", "acc1", 2.0, 4.0, 0.01, "contradicted"),
        ("level", "acc1", -4.0, -2.0, 0.01, "contradicted"),
        ("level", "acc1", -2.0, 4.0, 0.5, "inconclusive"),
        ("not_worse", "acc1", -1.0, 9.0, 0.5, "supported"),
        ("not_worse", "acc1", -2.0, 9.0, 0.5, "inconclusive"),
        ("not_worse", "acc1", -9.0, -2.0, 0.01, "contradicted"),
        ("not_worse", "acc1", -9.0, -2.0, 0.06, "inconclusive"),
        ("not_worse", "frechet_mini", -0.4, 0.04, 0.5, "supported"),
        ("not_worse", "frechet_mini", 0.2, 0.4, 0.01, "contradicted"),
    ],
)
def test_verdicts(
    expected: Expected, metric: str, low: float, high: float, p: float, verdict: str
) -> None:
    """The deltas are 1.5 points of accuracy and 0.05 of the distance."""
    assert claim_verdict(expected, metric, difference(metric, low, high), p) == verdict


CLAIM = Claim(id="x", text="A is better", place="section 4", table=4, untested="no model")


def finding(verdict: str, **more: Any) -> Finding:
    return Finding(CLAIM, "mini_dit", "accuracy", "acc1", "above", 8.87, verdict=verdict, **more)


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        (["supported", "supported"], "supported"),
        (["level", "level"], "level"),
        (["supported", "contradicted", "not run"], "contradicted"),
        (["supported", "not run"], "inconclusive"),
        (["supported", "level"], "supported in part"),
        (["supported", "level", "inconclusive"], "inconclusive"),
        (["not run", "not run"], "not run"),
    ],
)
def test_a_claim_has_one_verdict(verdicts: list[str], whole: str) -> None:
    assert overall([finding(each) for each in verdicts]) == whole


def test_the_page_says_what_was_found_and_what_is_missing() -> None:
    band = BandTest(label="x", quantity="margin", band="all", within=0.1)
    tested = CLAIM.model_copy(update={"id": "y", "untested": "", "bands": (band,)})
    spec = ClaimsSpec(protocols={}, runs={}, rivals=(), claims=(tested, CLAIM))
    measured = finding(
        "inconclusive",
        measured=Metric("acc1", -0.25, 400, -2.43, 1.93, "points"),
        excludes=True,
        runs=("a", "b"),
    )
    missing = finding(
        "not run", runs=("a", "c"), missing=(("operator=tome", "task.trial_list=[5]"),)
    )
    found = [
        Finding(**{**vars(each), "claim": tested, "label": label})
        for each, label in ((measured, "0.7"), (missing, "0.5"))
    ]
    page = claims_markdown(spec, [*found])
    assert page.startswith("2 comparisons, ")
    assert ": 0 supported, 0 contradicted, 0 level, 1 inconclusive, 1 not run." in page
    cells = [cell.strip() for cell in page.splitlines()[4].split("|")[1:-1]]
    assert cells[0] == "A is better"
    assert cells[2] == "0.7: +8.87 (DiT-XL/2)<br>0.5: +8.87 (DiT-XL/2)"
    assert cells[3] == "not in the paper"
    assert cells[4] == (
        "**inconclusive** (1 of 2 run)<br>0.7: −0.25 [−2.43, +1.93], n = 400: inconclusive, "
        "paper's size excluded<br>0.5: — [1]"
    )
    assert cells[5] == "[Table 4](../results/mini/tables/table04.md)"
    assert "python -m bigain operator=tome 'task.trial_list=[5]'  # [1]" in page
    assert "not tested: no model" in page.splitlines()[5]
    first, second = claims_csv(found).splitlines()[1:]
    assert first.endswith(",inconclusive,excluded,a b,")
    assert second.endswith(",not run,,a c,operator=tome 'task.trial_list=[5]'")


def claim(name: str, **more: Any) -> Claim:
    band = BandTest(label="x", quantity="margin", band="all", within=0.1)
    return CLAIM.model_copy(update={"id": name, "untested": "", "bands": (band,), **more})


def of(own: Claim, verdict: str, metric: str = "acc1", **more: Any) -> Finding:
    measured = Metric(metric, 0.0, 400, -1.0, 1.0, "points")
    found = Finding(own, "mini_unet", verdict, metric, "above", None, measured, verdict=verdict)
    return replace(found, **more)


def test_a_comparison_of_two_claims_counts_once() -> None:
    claims = (claim("y"), claim("z"), claim("q", question=True))
    spec = ClaimsSpec(protocols={}, runs={}, rivals=(), claims=claims)
    found = [
        of(claims[0], "supported", runs=("a", "b")),
        of(claims[1], "contradicted", runs=("b", "a")),
        of(claims[1], "level", runs=("a", "c")),
        of(claims[2], "supported", runs=("a", "d")),
    ]
    page = claims_markdown(spec, found)
    assert page.startswith("2 comparisons, ")
    assert ": 1 supported, 0 contradicted, 1 level, 0 inconclusive, 0 not run." in page
    assert page.index("| question |") > page.index("| claim |")


def test_the_margin_has_a_verdict_beside_that_of_the_papers_metrics() -> None:
    own = claim("y")
    spec = ClaimsSpec(protocols={}, runs={}, rivals=(), claims=(own,))
    found = [
        of(own, "inconclusive", runs=("a", "b")),
        of(own, "contradicted", "best_margin", runs=("a", "b")),
    ]
    cell = claims_markdown(spec, found).splitlines()[4].split("|")[4].strip()
    assert cell.startswith("**inconclusive**; by the margin: **contradicted**<br>")


@pytest.mark.parametrize(
    ("expected", "p", "adjusted", "text"),
    [
        ("above", 0.004, 0.12, ", n = 400, p 0.004, Holm 0.12: **level**"),
        ("not_worse", 1e-9, 0.00012, ", n = 400, delta 1.5, p < 0.0001, Holm 0.00012: **level**"),
        ("level", 0.5, 1.0, ", n = 400, delta 1.5, p 0.5, Holm 1: **level**"),
    ],
)
def test_a_number_has_both_p_values(expected: str, p: float, adjusted: float, text: str) -> None:
    own = claim("y")
    spec = ClaimsSpec(protocols={}, runs={}, rivals=(), claims=(own,))
    found = of(own, "level", expected=expected, p=p, adjusted=adjusted, runs=("a", "b"))
    assert text in claims_markdown(spec, [found])


def test_bands_have_no_p_and_are_not_counted() -> None:
    own = claim("y")
    spec = ClaimsSpec(protocols={}, runs={}, rivals=(), claims=(own,))
    found = [
        of(own, "supported", "best_margin", runs=("a", "b")),
        of(own, "contradicted", "margin_covariance"),
    ]
    page = claims_markdown(spec, found)
    total = page.splitlines()[0]
    assert total.startswith("1 comparisons, ")
    assert "1 supported, 0 contradicted" in total
    assert "Of these, 1 are of the margin: 1 supported, 0 contradicted" in total
    assert "Not counted: 1 of frequency bands" in total
    assert "n = 400, no p: contradicted" in page


def test_every_test_of_accuracy_has_one_of_the_margin() -> None:
    for each in load_claims().claims:
        tests = [(test.metric, test.expected, test.runs) for test in each.tests]
        for metric, *rest in tests:
            assert metric not in ("acc1", "map_image") or ("best_margin", *rest) in tests


def test_counts_have_a_table_of_their_own() -> None:
    count = CountTest(label="x", run="a=b", metric="flops_g", within=0.1, size=2.0)
    own = claim("y", bands=(), counts=(count,))
    spec = ClaimsSpec(protocols={}, runs={}, rivals=(), claims=(own,))
    counted = Metric("flops_g", 2.05, 1, NAN, NAN, "GFLOPs")
    found = [of(own, "equal", "flops_g", expected="equal", paper=2.0, measured=counted)]
    page = claims_markdown(spec, found)
    assert page.startswith("0 comparisons, ")
    assert "| equal: 2.00 | equal: 2.05: **equal** |" in page


def test_registered_tests_are_those_with_a_corrected_p(tmp_path: Path) -> None:
    path = tmp_path / "decomposition.csv"
    assert read_registered(path) == {}
    path.write_text(
        "first_run,second_run,quantity,p_holm\na,b,margin,0.5\na,b,auc,\na,c,margin,\n",
        encoding="utf-8",
    )
    ((hypothesis, p),) = read_registered(path).items()
    assert (hypothesis.runs, hypothesis.metric, p) == (frozenset("ab"), "best_margin", 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": "lgtm_9"}, "run=lgtm_9: allowed: lgtm_0.7, tome_0.7"),
        ({"metric": "acc5"}, "metric=acc5: allowed: acc1, map_image"),
        ({"expected": "more"}, "'above', 'below', 'level' or 'not_worse'"),
        ({"paper": {"mini_unet": "4/sd20/pets"}, "colour": 1}, "colour"),
        ({"metric": "map_image", "from": ["lgtm_0.3", "tome_0.3"]}, "allowed: acc1, best_margin"),
        ({"protocol": "acc5"}, "protocol=acc5: allowed: acc1, map_image"),
        ({"cells": {"none": "none/"}}, "cells=none: allowed: lgtm_0.7, tome_0.7"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    content = yaml.safe_load((CONFIGS / "claims.yaml").read_text("utf-8"))
    content["claims"][0]["tests"][0] |= change
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_claims(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", [0, 44])
def test_a_table_that_the_paper_does_not_have_is_refused(table: int) -> None:
    with pytest.raises(ValidationError, match="table"):
        Claim(id="x", text="A", place="section 4", table=table, untested="no model")


@pytest.mark.parametrize("cell", ["4/sd20/pets/lgtm/ratio=0.71/acc1", "4/sd20/pets", "x/a/b/c/d/e"])
def test_a_cell_that_the_paper_does_not_print_is_one_line(cell: str) -> None:
    test = CountTest(label="x", run="a=b", metric="flops_g", within=0.1, paper=cell)
    with pytest.raises(UserError, match=cell) as caught:
        counted_size(load_paper(), test)
    assert "\n" not in str(caught.value)


def test_a_lost_cell_is_one_line() -> None:
    cell = "1/sd20/pets/tome/ratio=0.5/flops_reduction_pct"
    test = CountTest(label="x", run="a=b", metric="flops_g", within=0.1, paper=cell)
    with pytest.raises(UserError, match="lost"):
        counted_size(load_paper(), test)


def test_the_margin_has_no_cell_of_the_paper() -> None:
    spec = load_claims()
    tests = (test for each in spec.claims for test in each.tests)
    own = next(test for test in tests if test.metric == "best_margin")
    own = own.model_copy(update={"paper": {"mini_unet": "4/sd20/pets"}})
    with pytest.raises(UserError, match="best_margin: allowed: acc1"):
        printed_size(spec, load_paper(), "mini_unet", own)
