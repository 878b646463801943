"""Every number of docs/results.md and README.md, again from claims.csv and the committed records.

`test_claim_numbers` computes those of claims.csv again.
"""

import re
from collections.abc import Iterator
from typing import Any

import claims
import pytest
import yaml  # type: ignore[import-untyped]

from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id
from tests.end_to_end.recomputed import (
    MINI,
    ROOT,
    difference,
    read_csv,
    value,
)

ROWS = read_csv(MINI / "claims.csv")
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "claims.yaml").read_text("utf-8"))
DELTAS = yaml.safe_load((ROOT / "configs" / "verdicts.yaml").read_text("utf-8"))["level"]
DIGITS = {"best_margin": 3, "frechet_mini": 3}
RESULTS = (ROOT / "docs" / "results.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def between(text: str, name: str) -> list[list[str]]:
    """The rows of the table between two marks."""
    own = text.partition(f"<!-- {name}:begin -->")[2].partition(f"<!-- {name}:end -->")[0]
    lines = [line for line in own.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[1:]]


def shown(row: dict[str, str]) -> str:
    """A measured test as the page prints it."""
    numbers = [float(row[key]) for key in ("value", "ci_low", "ci_high") if row[key]]
    if row["expected"] == "equal":
        text = f"{numbers[0]:.2f}"
    else:
        digits = DIGITS.get(row["metric"], 3 if row["metric"].startswith("margin") else 2)
        sign = "" if row["metric"].startswith("margin") else "+"
        own = [f"{each:{sign}.{digits}f}" for each in numbers]
        own = [each.lstrip("+") if float(each) == 0 and digits == 2 else each for each in own]
        text = f"{own[0]} [{own[1]}, {own[2]}]"
        text += low_band(row["backbone"]) if row["metric"] == "margin" else ""
        text += f", n = {int(row['n']):,}"
    return f"{row['label']}: {text}".replace(": -0.00 ", ": 0.00 ").replace("-", "−")


def criteria(row: dict[str, str]) -> str:
    """What follows the number: delta where the claim is about the interval, and both p values."""
    if not row["runs"]:
        return ", no p: "
    texts = [
        short(name, float(row[key])) for name, key in (("p", "p"), ("Holm", "p_holm")) if row[key]
    ]
    if row["expected"] in ("level", "not_worse"):
        texts.insert(0, f"delta {DELTAS[row['metric']]}")
    return f"{''.join(f', {each}' for each in texts)}: "


def short(name: str, p: float) -> str:
    return f"{name} < 0.0001" if p < 0.0001 else f"{name} {p:.2g}"


def claims_of_the_page() -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each claim and the cells of its row: first the paper's, then our questions, then counts."""
    rows = [cells for cells in between(RESULTS, "claims") if cells[1] != "where"]
    kinds = [2 * ("counts" in each) or each.get("question", False) for each in SPEC["claims"]]
    shown_first = sorted(zip(kinds, SPEC["claims"], strict=True), key=lambda each: each[0])
    yield from ((claim, cells) for (_, claim), cells in zip(shown_first, rows, strict=True))


def test_the_page_has_the_numbers_of_the_file() -> None:
    for claim, cells in claims_of_the_page():
        assert cells[0].startswith(claim["text"])
        for row in (each for each in ROWS if each["claim"] == claim["id"]):
            cell = cells[3 if row["backbone"] == "mini_unet" or "counts" in claim else 4]
            texts = [each.replace("-", "−") for each in cell.split("<br>")]
            (text,) = (
                each for each in texts if each.startswith(f"{row['label']}:".replace("-", "−"))
            )
            if row["value"]:
                assert text.startswith(shown(row)), (text, shown(row))
                assert text[len(shown(row)) :].startswith(criteria(row)), (text, criteria(row))
                assert row["verdict"] in text
                assert not row["papers_size"] or row["papers_size"] in text
            else:
                assert "—" in text


def whole(rows: list[dict[str, str]]) -> str:
    """The verdict of several tests together."""
    verdicts = {row["verdict"] for row in rows}
    if "contradicted" in verdicts:
        return "contradicted"
    if verdicts == {"supported", "level"}:
        return "supported in part"
    return min(verdicts) if len(verdicts) == 1 else "inconclusive"


def test_the_verdicts_in_bold_follow_from_those_of_the_file() -> None:
    seen = 0
    for claim, cells in claims_of_the_page():
        for place, backbone in ((3, "mini_unet"), (4, "mini_dit")):
            own = [
                row for row in ROWS if (row["claim"], row["backbone"]) == (claim["id"], backbone)
            ]
            if not own or claim.get("counts"):
                continue
            margins = [row for row in own if row["metric"] == "best_margin"]
            others = [row for row in own if row["metric"] != "best_margin"]
            groups = [others, margins] if margins and others else [own]
            is_run = len(own) > 1 or own[0]["verdict"] != "not run"
            bold = re.findall(r"\*\*(.+?)\*\*", cells[place])
            assert bold == [whole(group) for group in groups if is_run], claim["id"]
            seen += len(bold)
    assert seen > 40


def test_the_total_counts_each_comparison_once() -> None:
    """Bands have no p value and are not among them."""
    verdicts: dict[tuple[frozenset[str], str], str] = {}
    questions = {each["id"] for each in SPEC["claims"] if each.get("question")}
    own = [row for row in ROWS if row["claim"] not in questions and row["expected"] != "equal"]
    for row in own:
        if row["runs"]:
            name = (frozenset(row["runs"].split()), row["metric"])
            verdicts.setdefault(name, row["verdict"])
    (line,) = (each for each in RESULTS.splitlines() if " comparisons, each once" in each)
    whole, margins, bands = re.split(r"(?<=\.) ", line)
    check_counts(whole, "comparisons", list(verdicts.values()))
    of_margin = [each for (_, metric), each in verdicts.items() if metric == "best_margin"]
    check_counts(margins, "are of the margin", of_margin)
    assert f": {sum(not row['runs'] for row in own)} of frequency bands" in bands


def check_counts(text: str, name: str, verdicts: list[str]) -> None:
    counts = {name: int(n) for n, name in re.findall(r"(\d+) ([a-z ]+?)(?=[,.:]|$)", text)}
    assert counts.pop(name) == len(verdicts) == sum(counts.values())
    assert counts == {each: verdicts.count(each) for each in counts}


def low_band(backbone: str) -> str:
    """The margin of the low band of the baseline, beside which that of the high band stands."""
    (own,) = (
        row
        for row in read_csv(MINI / "bands.csv")
        if (row["backbone"], row["operator"], row["timestep"]) == (backbone, "none", "all")
        and (row["band"], row["quantity"]) == ("low", "margin")
    )
    value, low, high = (f"{float(own[key]):.3f}" for key in ("value", "ci_low", "ci_high"))
    return f", low {value} [{low}, {high}]"


def numbers_of(text: str) -> list[float]:
    return [float(each) for each in re.findall(r"[-+]?\d+\.\d+", text.replace("−", "-"))]


def readme_cells() -> Iterator[tuple[str, str, str, str]]:
    """Backbone, metric, name of the run, and the cell."""
    places = [
        (b, m) for b in ("mini_dit", "mini_unet") for m in ("best_margin", "acc1", "frechet_mini")
    ]
    for rival, row in zip(SPEC["rivals"], between(README, "results"), strict=True):
        assert row[0] == rival["label"]
        for (backbone, metric), cell in zip(places, row[1:], strict=True):
            yield backbone, metric, rival["run"], cell


def test_the_table_of_the_readme_follows_from_the_records() -> None:
    seen = 0
    for backbone, metric, name, cell in readme_cells():
        words = [f"backbone={backbone}", *SPEC["protocols"][metric]]
        own, none = (
            run_id(compose_config([*words, *SPEC["runs"][each]["run"].split()]))
            for each in (name, "none")
        )
        if cell == "—":
            assert not (MINI / "samples" / f"{own}.csv.gz").is_file()
            continue
        seen += 1
        found = value(none, metric) if name == "none" else difference((own, none), metric, none)
        assert numbers_of(cell) == pytest.approx(
            [found.value, found.low, found.high], abs=0.00501 if metric == "acc1" else 0.000501
        )
    assert seen >= 22


def test_the_rows_of_1000_images_follow_from_the_records() -> None:
    rows = re.findall(r"^\| (mini_\w+) \| (\w+)(?: (\S+))? \| (.+?) \| (.*?) ?\|$", RESULTS, re.M)
    assert len(rows) == 9
    for backbone, operator, setting, cell, minus in rows:
        words = [f"backbone={backbone}", "dataset.limit=1000"]
        own, none = (
            run_id(compose_config([*words, *each]))
            for each in (
                [f"operator={operator}", *([f"operator.{setting}"] if setting else [])],
                ["operator=none"],
            )
        )
        found = value(own, "acc1")
        assert found.n == 1000
        assert numbers_of(cell) == pytest.approx([found.value, found.low, found.high], abs=0.0501)
        if minus:
            gap = difference((own, none), "acc1")
            assert numbers_of(minus) == pytest.approx([gap.value, gap.low, gap.high], abs=0.0501)


@pytest.mark.slow
def test_files_and_pages_are_those_that_make_claims_writes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert claims.main(["--check"]) == 0, capsys.readouterr().out


def band_share(backbone: str, band: str) -> str:
    """Per cent of the baseline's margin that is in a band."""
    own = {
        row["band"]: float(row["value"])
        for row in read_csv(MINI / "bands.csv")
        if (row["backbone"], row["operator"], row["timestep"]) == (backbone, "none", "all")
        and row["quantity"] == "margin"
    }
    return f"{100 * own[band] / own['all']:.0f}"


def delta_share(backbone: str) -> str:
    """Per cent that the delta of the distance is of the baseline's distance."""
    level = yaml.safe_load((ROOT / "configs" / "verdicts.yaml").read_text("utf-8"))["level"]
    run = run_id(compose_config([f"backbone={backbone}", "task=generation"]))
    return f"{100 * level['frechet_mini'] / value(run, 'frechet_mini').value:.0f}"


SETTINGS = {
    *map(str, range(1, 11)),  # lines of the answer, and small settings
    *("0", "2.0", "2.14", "0.42", "64", "95", "0.05"),  # versions, names and levels
    *("30", "50", "70", "0.7", "20", "25", "400", "1,000"),  # ratios, trials, images
    *map(str, range(11, 20)),  # tables, and a grid of 16 x 16
    *("256", "4,096", "0.01"),  # grids, rounding
    *("0.34", "1.85", "1.33"),  # printed by the paper
    *("2026", "01", "0.3", "0.5"),  # a date, and ratios
    *("100", "300", "500", "700", "900"),  # timesteps of a first stage alone
    *("125", "325", "525", "725", "925"),  # and of that of the whole protocol
    *("0.8", "0.9", "1.2"),  # alpha
}
"""Numbers of the prose that no run gives."""


def wrong_numbers(page: str) -> list[str]:
    """Numbers of the prose that are no settings and that the records do not give."""
    text = page.partition("<!-- claims:begin -->")[0] + page.partition("<!-- claims:end -->")[2]
    text = re.sub(r"^\| mini_.*$", "", text, flags=re.M)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|```.*?```", "", text, flags=re.S)
    shares = [band_share(each, "low") for each in ("mini_dit", "mini_unet")]
    own = [f"part of the margin**: {shares[0]} % on the DiT, {shares[1]} % on the U-Net"]
    deltas = [delta_share(each) for each in ("mini_unet", "mini_dit")]
    own.append(f"is 0.05: {deltas[0]} % of the U-Net's baseline and {deltas[1]} % of the DiT's")
    text = " ".join(text.split())
    wrong = [each for each in own if each not in text]
    for each in own:
        text = text.replace(each, "")
    found = re.findall(r"(?<![\w.])[-+\u2212]?\d[\d,]*(?:\.\d+)?", text)
    return wrong + [each for each in found if each.strip(",") not in SETTINGS]


def test_the_prose_has_no_number_that_the_records_do_not_give() -> None:
    assert wrong_numbers(RESULTS) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("margin**: 64 %", "margin**: 65 %"), ("49 % on", "48 % on"), ("0.05: 19 %", "0.05: 18 %")],
)
def test_another_number_in_the_prose_would_be_seen(old: str, new: str) -> None:
    assert old in RESULTS
    assert wrong_numbers(RESULTS.replace(old, new))
    assert wrong_numbers(f"{RESULTS}\nL-GTM loses 0.173 sigma_t.\n")


def test_no_other_interval_stands_on_the_pages() -> None:
    """So that every number with an interval is one of those above."""
    interval = re.compile(r"\[[-+−]?\d+\.\d+, [-+−]?\d+\.\d+\]")
    rest = RESULTS.partition("<!-- claims:begin -->")[0]
    rest += RESULTS.partition("<!-- claims:end -->")[2]
    assert len(interval.findall(rest)) == 9 + 7
    outside = README.partition("<!-- results:begin -->")[0]
    outside += README.partition("<!-- results:end -->")[2]
    assert not interval.findall(outside)
