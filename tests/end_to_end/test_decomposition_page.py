"""Every number of docs/decomposition.md, from the errors, without the library's statistics.

Tables are compared cell by cell.  The numbers of the prose are settings, which are listed here;
what it says in words is tested as facts.
"""

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import pandas as pd
import pytest
from decomposition import BASELINE, EXPLORATORY, VARIANTS, Run, narrowing, planned, registered
from decomposition_results import EXPLORED, HYPOTHESES
from recompute_statistics import Found, mcnemar, paired

from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id
from tests.end_to_end.recomputed import MINI, ROOT, holm
from tests.end_to_end.test_decomposition_numbers import DELTA, EXPECTED, read, values

PAGE = (ROOT / "docs" / "decomposition.md").read_text("utf-8")
TITLES = {"mini U-Net": "mini_unet", "mini DiT": "mini_dit"}
QUANTITIES = ("margin", "accuracy", "auc", "noise_error")
NUMBER = re.compile(r"(?<![\w.])[-+\u2212]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
MISSING = "\N{EM DASH}"


@cache
def published() -> dict[Run, str]:
    """The runs whose errors are committed, with their ids."""
    named = {run: run_id(compose_config([*run.overrides])) for run in planned()}
    return {run: each for run, each in named.items() if (MINI / "errors" / f"{each}.npz").is_file()}


@cache
def found(
    backbone: str, ratio: float, seeds: str, first: str, second: str, quantity: str = "margin"
) -> Found | None:
    """First minus second; None if a run is missing."""

    def ids(variant: str, of_seeds: str = seeds) -> str | None:
        level = 0.0 if variant == BASELINE else ratio
        runs = [Run(backbone, variant, level, int(seed)) for seed in of_seeds.split()]
        own = [published().get(run, "") for run in runs]
        return " ".join(own) if all(own) else None

    own, other = ids(first), ids(second)
    none = ids(BASELINE, " ".join(each if each in "012" else "0" for each in seeds.split()))
    if own is None or other is None or none is None:
        return None
    sides = [pd.Series(values(each, quantity, none)) for each in (own, other)]
    if quantity == "accuracy" and " " not in seeds:
        return mcnemar(*(side / 100 for side in sides)).times(100)
    return paired(*sides)


def margin(backbone: str, ratio: float, seeds: str, first: str, second: str) -> Found:
    own = found(backbone, ratio, seeds, first, second)
    assert own is not None
    return own


def text_of(own: Found | None, quantity: str = "margin") -> str:
    if own is None:
        return MISSING
    digits = 3 if quantity == "margin" else 2
    return f"{own.value:+.{digits}f} [{own.low:+.{digits}f}, {own.high:+.{digits}f}]"


@cache
def corrected_tests() -> dict[tuple[str, str], tuple[Found, float]]:
    """The registered tests with their corrected p; one that was not run has p = 1."""
    own = {
        (name, backbone): each
        for name, (first, second, _) in HYPOTHESES.items()
        for backbone in TITLES.values()
        if (each := found(backbone, 0.7, "0", first, second)) is not None
    }
    missing = [1.0] * (12 - len(own))
    corrected = holm([*(each.p for each in own.values()), *missing])
    return {key: (each, p) for (key, each), p in zip(own.items(), corrected, strict=False)}


def verdict(name: str, own: Found, p: float) -> str:
    sign = EXPECTED[name]
    if max(-own.low, own.high) < DELTA:
        return "level" if sign else "supported"
    if not sign:
        excludes = own.low > 0 or own.high < 0
        return "inconclusive" if not excludes else by_interval(p)
    if p >= 0.05:
        return "inconclusive"
    return "supported" if own.value * sign > 0 else "contradicted"


def by_interval(p: float) -> str:
    return "contradicted" if p < 0.05 else "contradicted [by the interval]"


# The tables, from the marks to the lines that should be between them.


def registered_table() -> Iterator[str]:
    for name, (first, second, _) in HYPOTHESES.items():
        for backbone in TITLES.values():
            if (name, backbone) in corrected_tests():
                own, p = corrected_tests()[name, backbone]
                words = f"{text_of(own)} | {own.p:.2g} | {p:.2g} | {verdict(name, own, p)}"
                yield f"| {name} | {first} - {second} | {backbone} | {words} |"


def beside_table(backbone: str) -> Iterator[str]:
    for variant in (*VARIANTS, *EXPLORATORY):
        if found(backbone, 0.7, "0", variant, BASELINE) is not None:
            texts = [
                text_of(found(backbone, 0.7, "0", variant, BASELINE, q), q) for q in QUANTITIES
            ]
            yield f"| 0.7, 0 | {variant} | {' | '.join(texts)} |"


Places = list[tuple[str, float, str]]


def pairs_table(pairs: dict[str, tuple[str, str]], places: Places) -> Iterator[str]:
    for title, (first, second) in pairs.items():
        texts = [text_of(found(*place, first, second)) for place in places]
        if set(texts) != {MISSING}:
            yield f"| {title} | {' | '.join(texts)} |"


ALL_SEEDS = " ".join(map(str, sorted({0, 1, 2} | {run.seed for run in narrowing()})))


@cache
def expected() -> dict[str, list[str]]:
    hypotheses = {
        f"{name} | {first} - {second}": (first, second)
        for name, (first, second, _) in HYPOTHESES.items()
    }
    explored = {f"{first} - {second}": (first, second) for first, second in EXPLORED}
    both = tuple(TITLES.values())
    tables = {
        "tests": registered_table(),
        "seeds": pairs_table(hypotheses, [(b, 0.7, "0 1 2") for b in both]),
        "ratios": pairs_table(hypotheses, [(b, r, "0") for b in both for r in (0.5, 0.3)]),
        "more seeds": pairs_table(
            {name: pair for name, pair in hypotheses.items() if name.startswith("H2")},
            [("mini_dit", 0.7, "0 1 2"), ("mini_dit", 0.7, ALL_SEEDS)],
        ),
    }
    for b in both:
        places = [(b, 0.7, "0"), (b, 0.7, "0 1 2"), (b, 0.5, "0"), (b, 0.3, "0")]
        tables[f"beside {b}"] = beside_table(b)
        tables[f"explored {b}"] = pairs_table(explored, places)
    return {name: [*lines] for name, lines in tables.items()}


MARKS = re.compile(r"<!-- ([a-z_ ]+):begin -->\n(.*?)<!-- \1:end -->", re.S)


def wrong_lines(page: str) -> list[str]:
    """Lines of the marked tables that differ, and numbers outside them that are no settings."""
    parts = dict(MARKS.findall(page))
    wrong = [name for name in (*expected(), "count") if name not in parts]
    for name, lines in expected().items():
        shown = parts.get(name, "").splitlines()[2:]
        wrong += [line for line in shown if line not in lines]
        wrong += [line for line in lines if line not in shown]
    total = sum(1 for _ in registered())
    done = sum(run in published() for run in registered())
    if not parts.get("count", "").startswith(f"{done} of the {total} registered runs are done."):
        wrong.append(parts.get("count", ""))
    for date in DATES:
        page = page.replace(date, "")
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)|```.*?```", " ", MARKS.sub(" ", page), flags=re.S)
    wrong += [each for each in NUMBER.findall(prose) if each.strip(",") not in SETTINGS]
    return wrong


def border(side: int) -> str:
    """Per cent of the 2 x 2 cells of a grid that touch its border."""
    cells = side // 2
    return f"{100 * (1 - ((cells - 2) / cells) ** 2):.0f}"


RUNS = [*registered()]
ADDED = len([*planned()]) - len(RUNS)
SETTINGS = {
    *(
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
        "16",
    ),  # lists, hypotheses, seeds, Eq. 7, batch size 8
    *("0.3", "0.5", "0.7", "0.05", "95", "0.02", "0.01"),  # ratios and levels
    *("1,000", "10", "50"),  # images, classes, evaluations
    *("100", "300", "500", "700", "900", "-100"),  # timesteps
    *("16", "32", "64", border(16), border(64)),  # grids
    *("31", "28", "27", "25"),  # per cent of random maps, measured in tests/operators/test_cells.py
    *("260", "3,669"),  # evaluations and images of Pets
    *(
        str(len(RUNS)),
        str(ADDED),
        f"{len(RUNS) * 50 * 1000 / 1e6:.1f}",
        f"{ADDED * 50 * 1000 / 1e6:.1f}",
    ),
}
"""Numbers that no run gives."""
DATES = ("2026-11-29, 22:10", "23:31", "23:20", "2026-12-01, 13:20", "15:45", "2026-12-01")


def test_the_page_has_the_numbers_of_the_errors() -> None:
    assert wrong_lines(PAGE) == []


def test_any_other_number_in_a_table_would_be_seen() -> None:
    """Every number of every table, with another last digit."""
    seen = 0
    for part in MARKS.finditer(PAGE):
        head = part.group(2).splitlines(keepends=True)[:2]
        start = part.start(2) + (sum(map(len, head)) if part.group(1) != "count" else 0)
        for number in re.finditer(r"\d(?![\d.e])", PAGE[start : part.end(2)]):
            at = start + number.start()
            other = f"{PAGE[:at]}{(int(PAGE[at]) + 1) % 10}{PAGE[at + 1 :]}"
            if part.group(1) != "count" or number.start() < 8:
                assert wrong_lines(other), PAGE[at - 30 : at + 1]
                seen += 1
    assert seen > 400


@pytest.mark.parametrize("words", ["loses 0.081 sigma_t", "+0.029 [+0.020, +0.038]", "77 runs"])
def test_a_result_in_the_prose_would_be_seen(words: str) -> None:
    assert wrong_lines(f"{PAGE}\nIt {words}.\n")


# What the page says in words.

BOTH = tuple(TITLES.values())
PAIRED, FORWARD, RANDOM = "ToMe, paired", "ToMe, per forward", "random, per sample"
EQ7, REPLICATE, RELEASED = "L-GTM, Eq. 7", "L-GTM, replicate", "L-GTM, as released"
SHARED = "L-GTM, shared"


def sign(own: Found) -> int:
    """Of the interval; 0 if it includes 0."""
    return (own.low > 0) - (own.high < 0)


def of(quantity: str, backbone: str, ratio: float, first: str, second: str) -> Found:
    own = found(backbone, ratio, "0", first, second, quantity)
    assert own is not None
    return own


@pytest.mark.parametrize("backbone", BOTH)
def test_what_is_said_at_seven_tenths(backbone: str) -> None:
    assert of("accuracy", backbone, 0.7, FORWARD, PAIRED).high < 0
    assert of("noise_error", backbone, 0.7, FORWARD, PAIRED).value < 0
    noise = {v: of("noise_error", backbone, 0.7, v, BASELINE).value for v in VARIANTS}
    assert max(noise, key=noise.__getitem__) == SHARED
    for variant in (PAIRED, RANDOM):
        assert margin(backbone, 0.7, "0", variant, BASELINE).high < 0
    border = margin(backbone, 0.7, "0", REPLICATE, EQ7)
    assert sign(border) == 0
    assert max(-border.low, border.high) > DELTA
    for first, second, _ in (HYPOTHESES["H5"], HYPOTHESES["H6"]):
        assert margin(backbone, 0.7, "0", first, second).low > 0
    assert sign(margin(backbone, 0.7, "0", RELEASED, PAIRED)) <= 0


def test_one_plan_gives_back_the_margin_of_the_unet_alone() -> None:
    own = margin("mini_unet", 0.7, "0", SHARED, BASELINE)
    assert max(-own.low, own.high) < DELTA
    other = margin("mini_dit", 0.7, "0", SHARED, BASELINE)
    assert other.high < -DELTA
    gains = [margin(b, 0.7, "0", SHARED, EQ7).value for b in BOTH]
    assert gains[0] > gains[1]


def test_what_is_said_of_three_seeds() -> None:
    for name, (first, second, _) in HYPOTHESES.items():
        own = margin("mini_unet", 0.7, "0 1 2", first, second)
        assert sign(own) != 0, name
        assert own.value * margin("mini_unet", 0.7, "0", first, second).value > 0
    pooled, alone = (margin("mini_unet", 0.7, each, EQ7, PAIRED) for each in ("0 1 2", "0"))
    assert pooled.high - pooled.low < abs(pooled.value) / 3
    assert alone.high - alone.low > abs(alone.value) / 3
    dit = margin("mini_dit", 0.7, "0 1 2", EQ7, PAIRED)
    assert dit.high < 0
    assert dit.high - dit.low > abs(dit.value) / 3
    assert dit.low < -DELTA


def test_the_spread_of_the_classes_hardly_differs_between_the_seeds() -> None:
    """So that of seed 0 serves for the further seeds."""
    spreads = []
    for seed in (0, 1, 2):
        errors, _ = read(published()[Run("mini_dit", BASELINE, 0.0, seed)])
        spreads.append(errors.std(axis=2).mean(axis=0))
    assert (np.max(spreads, axis=0) / np.min(spreads, axis=0)).max() < 1.02


def test_what_is_said_of_smaller_ratios() -> None:
    larger = 0
    for ratio in (0.5, 0.3):
        for variant in VARIANTS:
            own = sign(margin("mini_unet", ratio, "0", variant, BASELINE))
            assert own >= 0
            larger += own
        assert margin("mini_unet", ratio, "0", PAIRED, BASELINE).low > 0
        assert sign(margin("mini_dit", ratio, "0", SHARED, EQ7)) == 0
        assert of("accuracy", "mini_dit", ratio, SHARED, EQ7).low > 0
    assert larger > len(VARIANTS)
    for first, second, _ in HYPOTHESES.values():
        half, most = (margin("mini_unet", ratio, "0", first, second) for ratio in (0.5, 0.7))
        assert 0 < half.value / most.value < 1
        least = margin("mini_unet", 0.3, "0", first, second)
        assert sign(least) == 0
        assert max(-least.low, least.high) < 0.01
    for ratio in (0.3, 0.5, 0.7):
        assert margin("mini_dit", ratio, "0", FORWARD, PAIRED).high < 0
        assert margin("mini_dit", ratio, "0", EQ7, PAIRED).high < 0
    costs = [margin("mini_dit", ratio, "0", FORWARD, PAIRED).value for ratio in (0.5, 0.7)]
    assert costs[0] <= costs[1]


def test_what_is_said_of_differences_that_were_not_registered() -> None:
    for other in (PAIRED, RANDOM):
        signs = [sign(margin("mini_unet", r, "0", SHARED, other)) for r in (0.7, 0.5, 0.3)]
        assert signs[0] == 1
        assert max(signs[1:]) <= 0
        signs = [sign(margin("mini_dit", r, "0", SHARED, other)) for r in (0.7, 0.5, 0.3)]
        assert max(signs) <= 0
        assert signs[1] == -1
    released = {(b, r): sign(margin(b, r, "0", RELEASED, PAIRED)) for b in BOTH for r in (0.3, 0.5)}
    assert max(released.values()) <= 0
    assert released["mini_dit", 0.5] == released["mini_dit", 0.3] == -1
    assert margin("mini_unet", 0.7, "0 1 2", RELEASED, PAIRED).high < 0
