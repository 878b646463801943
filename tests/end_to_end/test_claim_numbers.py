"""Every number of claims.csv, again from the committed records.

The rows of the file say what to compute; `scripts/recompute*.py` compute it without the library.
"""

import json
import math
from functools import cache
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from bigain.launch.compose import compose_config, compose_configs
from bigain.runs.identity import run_id
from bigain.tables.planner import plan_table, remembering
from bigain.tables.render import families_of_all, load_spec
from tests.end_to_end.recomputed import (
    MINI,
    ROOT,
    Found,
    difference,
    holm,
    read_csv,
)

ROWS = read_csv(MINI / "claims.csv")
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "claims.yaml").read_text("utf-8"))
DELTAS = yaml.safe_load((ROOT / "configs" / "verdicts.yaml").read_text("utf-8"))["level"]
TESTED = [row for row in ROWS if row["p"]]
LOWER = {"frechet_mini"}
PRINTED = {"acc1": "acc1", "map_image": "map", "frechet_mini": "fid"}


def baseline(run: str) -> str:
    """The run without an operator that belongs to a run, from its manifest."""
    manifest = json.loads((MINI / "manifests" / f"{run}.json").read_text("utf-8"))
    return str(manifest.get("baseline_id", run))


def recomputed(row: dict[str, str]) -> Found:
    runs = row["runs"].split()
    return difference(runs, row["metric"], baseline(runs[0]))


def number(row: dict[str, str], key: str) -> float:
    return float(row[key])


# claims.csv.


def test_most_claims_have_a_test() -> None:
    assert {row["claim"] for row in ROWS} == {
        each["id"] for each in SPEC["claims"] if "untested" not in each
    }
    assert len({row["claim"] for row in TESTED}) >= 20


def test_values_intervals_and_p_follow_from_the_records() -> None:
    for row in TESTED:
        found = recomputed(row)
        assert int(row["n"]) == found.n, row
        for key, other in (("value", found.value), ("ci_low", found.low), ("ci_high", found.high)):
            assert number(row, key) == pytest.approx(other, rel=1e-6, abs=1e-8), row
        assert number(row, "p") == pytest.approx(found.p, rel=1e-4), row


def is_published(run: str, metric: str) -> bool:
    """With the errors of its first stage, if a margin needs them."""
    has_errors = metric != "best_margin" or (MINI / "errors" / f"{run}.npz").is_file()
    return has_errors and (MINI / "samples" / f"{run}.csv.gz").is_file()


def words(name: str) -> list[str]:
    return list(SPEC["runs"][name]["run"].split())


@cache
def named(*words: str) -> str:
    return run_id(compose_config([*words]))


def test_the_runs_are_those_that_the_claims_name() -> None:
    for claim in SPEC["claims"]:
        for test in claim.get("tests", ()):
            for backbone in claim.get("backbones", ("mini_unet", "mini_dit")):
                names = [test["first"], test["second"], *test.get("from", ())]
                protocol = SPEC["protocols"][test.get("protocol", test["metric"])]
                start = [f"backbone={backbone}", *protocol, *test.get("set", ())]
                ids = [named(*start, *words(name)) for name in names]
                (own,) = (
                    row
                    for row in ROWS
                    if (row["claim"], row["backbone"], row["label"])
                    == (claim["id"], backbone, test["label"])
                )
                assert own["runs"].split() == ids
                assert (own["metric"], own["expected"]) == (test["metric"], test["expected"])
                assert bool(own["value"]) != bool(own["missing"])
                needed = [*ids, *([named(*start, "operator=none")] if is_margin(own) else [])]
                done = all(is_published(run, own["metric"]) for run in needed)
                assert done != bool(own["missing"]), "make claims was forgotten"
                assert not done or not is_margin(own) or baseline(ids[0]) == needed[-1]


def is_margin(row: dict[str, str]) -> bool:
    return row["metric"] == "best_margin"


def printed(cell: str) -> float:
    """table/backbone/dataset/method/setting/metric of the paper's values."""
    table, backbone, dataset, method, setting, metric = cell.split("/")
    wanted = (table, backbone, dataset, method, parts(setting), metric)
    (found,) = (
        row["value"]
        for row in read_csv(ROOT / "bigain" / "assets" / "paper_tables.csv")
        if (
            *(row[key] for key in ("table", "backbone", "dataset", "method")),
            parts(row["setting"]),
            row["metric"],
        )
        == wanted
    )
    return float(found)


def parts(setting: str) -> tuple[str, ...]:
    """In one order, with numbers by value."""
    named = (each.partition("=") for each in setting.split(";") if each)
    return tuple(sorted(f"{key}={plain(value)}" for key, _, value in named))


def plain(value: str) -> str:
    try:
        return str(float(value))
    except ValueError:
        return value


def test_the_papers_sizes_are_those_of_its_tables() -> None:
    seen = 0
    for claim in SPEC["claims"]:
        for test in (*claim.get("tests", ()), *claim.get("counts", ())):
            rows = [
                row for row in ROWS if (row["claim"], row["label"]) == (claim["id"], test["label"])
            ]
            for row in rows:
                place = test.get("paper")
                if "run" in test:
                    size = test["size"] if "size" in test else printed(place)
                    size -= printed(test["minus_paper"]) if "minus" in test else 0.0
                elif place is None or row["backbone"] not in place:
                    assert row["paper"] == ""
                    continue
                else:
                    names = [test["first"], test["second"], *test.get("from", ())]
                    own = {name: SPEC["runs"][name]["cell"] for name in names}
                    own |= test.get("cells", {})
                    where, metric = place[row["backbone"]], PRINTED[test["metric"]]
                    cells = [printed(f"{where}/{own[name]}/{metric}") for name in names]
                    size = cells[0] - cells[1]
                    size -= cells[2] - cells[3] if len(cells) == 4 else 0.0
                assert number(row, "paper") == pytest.approx(size, abs=1e-4)
                seen += 1
    assert seen > 40


def test_counted_numbers_and_bands_are_those_of_their_files() -> None:
    runs = {(row["run_id"], row["metric"]): row["value"] for row in read_csv(MINI / "runs.csv")}
    bands = read_csv(MINI / "bands.csv")
    counted = [row for row in ROWS if row["expected"] == "equal" and row["value"]]
    assert len(counted) >= 4
    within = {
        test["label"]: test["within"] for each in SPEC["claims"] for test in each.get("counts", ())
    }
    for row in counted:
        counted_here, *other = (float(runs[name, row["metric"]]) for name in row["runs"].split())
        assert number(row, "value") == pytest.approx(counted_here - sum(other), 1e-5)
        is_equal = abs(counted_here - sum(other) - number(row, "paper")) <= within[row["label"]]
        assert row["verdict"] == ("equal" if is_equal else "not equal")
    for row in (each for each in ROWS if each["metric"].startswith("margin")):
        band = "all" if row["metric"] == "margin_covariance" else "high"
        (own,) = (
            each
            for each in bands
            if (each["backbone"], each["operator"], each["timestep"], each["band"])
            == (row["backbone"], "none", "all", band)
            and each["quantity"] == row["metric"]
        )
        for key in ("value", "ci_low", "ci_high"):
            assert number(row, key) == pytest.approx(number(own, key), rel=1e-4)
        assert row["verdict"] == band_verdict(row, bands)


def band_verdict(row: dict[str, str], bands: list[dict[str, str]]) -> str:
    """Of the intervals: within the bound, or above that of the low band."""
    (test,) = next(each["bands"] for each in SPEC["claims"] if each["id"] == row["claim"])
    low, high = number(row, "ci_low"), number(row, "ci_high")
    if "within" in test:
        bound = test["within"]
        if -bound < low and high < bound:
            return "supported"
        return "contradicted" if high < -bound or low > bound else "inconclusive"
    (other,) = (
        each
        for each in bands
        if (each["backbone"], each["operator"], each["timestep"])
        == (row["backbone"], "none", "all")
        and (each["band"], each["quantity"]) == (test["above"], row["metric"])
    )
    if low > number(other, "ci_high"):
        return "supported"
    return "contradicted" if high < number(other, "ci_low") else "inconclusive"


# Corrections and verdicts.


def test_what_no_table_tests_is_corrected_in_one_family_of_all_claims() -> None:
    """In whatever metric; a test that was not run counts with p = 1."""
    hypotheses = {
        (frozenset(row["runs"].split()), row["metric"]): float(row["p"] or 1)
        for row in ROWS
        if row["family"]
    }
    corrected = dict(zip(hypotheses, holm(list(hypotheses.values())), strict=True))
    own = [row for row in TESTED if row["family"] == "claims"]
    for row in own:
        p = corrected[frozenset(row["runs"].split()), row["metric"]]
        assert number(row, "p_holm") == pytest.approx(p, rel=1e-4)
    assert {row["metric"] for row in own} == {"acc1", "best_margin", "frechet_mini"}


def test_every_paired_test_has_a_family() -> None:
    for row in ROWS:
        assert bool(row["family"]) == (bool(row["runs"]) and row["expected"] != "equal"), row


def test_other_families_have_the_p_of_their_files() -> None:
    registered = {
        frozenset((row["first_run"], row["second_run"])): number(row, "p_holm")
        for row in read_csv(MINI / "decomposition.csv")
        if row["p_holm"]
    }
    tables = [
        row
        for path in sorted((MINI / "tables").glob("table*.csv"))
        for row in read_csv(path)
        if row.get("p_holm")
    ]
    for row in TESTED:
        if row["family"] == "decomposition":
            p = registered[frozenset(row["runs"].split())]
            assert number(row, "p_holm") == pytest.approx(p, rel=1e-4)
        elif row["family"] == "tables":
            assert any(is_same(row, each) for each in tables), row


def is_same(row: dict[str, str], other: dict[str, str]) -> bool:
    """Whether a table has this comparison, either way round, with this corrected p."""
    if (other["metric"], other["backbone"]) != (f"delta_{row['metric']}", row["backbone"]):
        return False
    return math.isclose(abs(number(row, "value")), abs(number(other, "value")), rel_tol=1e-4) and (
        math.isclose(number(row, "p_holm"), number(other, "p_holm"), rel_tol=0.01)
    )


KINDS = {"eps_error_rise": "error", "eps_rise_equal": "error", "best_margin": "margin"}


@pytest.mark.slow
def test_corrected_p_values_of_the_tables_are_holms() -> None:
    """Of all planned hypotheses of one kind; one that several tables have counts once."""
    kinds: dict[str, dict[tuple[frozenset[str], str], float]] = {}
    compose = remembering(compose_configs)
    plan = plan_table(load_spec(4), "mini", "default", (f"paths.results={MINI.parent}",), compose)
    for runs, metric in families_of_all(compose).of(plan):
        kinds.setdefault(KINDS.get(metric, "paper"), {})[runs, metric] = 1.0
    rows = []
    for path in sorted((MINI / "tables").glob("table*.csv")):
        for row in read_csv(path):
            if row.get("p_holm"):
                metric = row["metric"].removeprefix("delta_")
                kind = KINDS.get(metric, "paper")
                name = frozenset((row["run_id"], row["versus_run_id"])), metric
                assert name in kinds[kind]
                kinds[kind][name] = number(row, "p")
                rows.append((kind, name, row))
    assert {kind for kind, *_ in rows} == {"paper", "error", "margin"}
    corrected = {
        kind: dict(zip(own, holm(list(own.values())), strict=True)) for kind, own in kinds.items()
    }
    for kind, name, row in rows:
        assert number(row, "p_holm") == pytest.approx(corrected[kind][name], rel=0.02), row


def expected_verdict(row: dict[str, str]) -> str:
    low, high, p = (number(row, key) for key in ("ci_low", "ci_high", "p_holm"))
    delta, metric, expected = DELTAS[row["metric"]], row["metric"], row["expected"]
    is_level = -delta < low and high < delta
    if expected == "level":
        return "supported" if is_level else "contradicted" if p < 0.05 else "inconclusive"
    if expected == "not_worse":
        if (high < delta) if metric in LOWER else (low > -delta):
            return "supported"
        is_worse = (number(row, "value") > 0) == (metric in LOWER)
        return "contradicted" if is_worse and p < 0.05 else "inconclusive"
    if is_level:
        return "level"
    if p >= 0.05:
        return "inconclusive"
    is_above = number(row, "value") > 0
    return "supported" if is_above == (expected == "above") else "contradicted"


def test_verdicts_follow_from_intervals_and_corrected_p() -> None:
    for row in TESTED:
        assert row["verdict"] == expected_verdict(row), row
        if row["papers_size"]:
            inside = number(row, "ci_low") <= number(row, "paper") <= number(row, "ci_high")
            assert row["papers_size"] == ("possible" if inside else "excluded")
        assert bool(row["papers_size"]) == (
            row["metric"] in ("acc1", "map_image") and bool(row["paper"])
        )
    assert {row["verdict"] for row in ROWS if not row["value"]} <= {"not run"}
