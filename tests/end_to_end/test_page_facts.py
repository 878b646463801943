"""What results.md, operators.md and the README.md of the tables say in words, from the records."""

import json
import re
from itertools import combinations

import numpy as np
import pytest
from decomposition import BASELINE, EXPLORATORY, VARIANTS
from decomposition_figure import _SHADES

from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id
from tests.end_to_end.recomputed import MINI, ROOT, difference, holm, read_csv
from tests.end_to_end.test_decomposition_page import (
    BOTH,
    EQ7,
    FORWARD,
    PAIRED,
    RELEASED,
    REPLICATE,
    SHARED,
    margin,
    of,
)

RESULTS = (ROOT / "docs" / "results.md").read_text("utf-8")
OPERATORS = (ROOT / "docs" / "operators.md").read_text("utf-8")
MANIFESTS = {
    path.stem: json.loads(path.read_text("utf-8")) for path in (MINI / "manifests").glob("*.json")
}
ABM, SITO = ("operator=abm", "operator.ratio=0.5"), ("operator=sito", "operator.ratio=0.5")


def named(backbone: str, *overrides: str) -> str:
    return run_id(compose_config([f"backbone={backbone}", *overrides]))


# The ten lines.


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("operator", ["tome", "lgtm"])
def test_what_merging_costs(operator: str, ratio: float) -> None:
    variant = {"tome": PAIRED, "lgtm": EQ7}[operator]
    assert margin("mini_dit", ratio, "0", variant, BASELINE).high < 0
    assert (margin("mini_unet", ratio, "0", variant, BASELINE).high < 0) == (ratio == 0.7)
    words = (f"operator={operator}", f"operator.ratio={ratio}")
    dit, unet = (
        difference((named(b, *words), named(b)), "acc1") for b in ("mini_dit", "mini_unet")
    )
    assert dit.high < 0 or ratio == 0.3
    assert abs(unet.value) <= 0.5
    assert unet.low < 0 < unet.high
    unet_margin = difference((named("mini_unet", *words), named("mini_unet")), "best_margin")
    assert (unet_margin.high < 0) == (ratio == 0.7)


def test_adaptive_block_merge_is_behind_lgtm_on_the_unet_alone() -> None:
    words = [(f"operator={each}", "operator.ratio=0.7") for each in ("abm", "lgtm")]
    unet, dit = (
        difference([named(b, *each) for each in words], "acc1") for b in ("mini_unet", "mini_dit")
    )
    assert unet.high < -5
    assert dit.high > 0


@pytest.mark.parametrize("words", [ABM, SITO])
def test_other_merging_costs_the_unet_margin_at_half(words: tuple[str, ...]) -> None:
    """So the line names ToMe and L-GTM."""
    none = named("mini_unet")
    assert difference((named("mini_unet", *words), none), "best_margin").high < 0


@pytest.mark.parametrize("variant", [SHARED, *EXPLORATORY])
def test_one_plan_does_not_cost_the_unet_margin(variant: str) -> None:
    assert margin("mini_unet", 0.7, "0", variant, BASELINE).high > 0
    assert margin("mini_unet", 0.7, "0", variant, BASELINE).low > -0.02


def test_the_figure_is_described_as_it_is_drawn() -> None:
    assert sorted(_SHADES) == [0.3, 0.5, 0.7]
    assert (len(VARIANTS), len(EXPLORATORY)) == (7, 1)
    assert "of seven kinds of merging at 30, 50 and 70 %, and of ToMe with\none plan" in RESULTS
    assert margin("mini_unet", 0.7, "0", EQ7, PAIRED).high < 0
    for backbone in BOTH:
        assert margin(backbone, 0.7, "0", FORWARD, PAIRED).high < 0
        kinds = {
            each: margin(backbone, 0.7, "0", each, BASELINE).value
            for each in (EQ7, REPLICATE, RELEASED, SHARED)
        }
        assert max(kinds, key=kinds.__getitem__) == SHARED


# Margins of tables and of the first stage alone.


@pytest.mark.parametrize("backbone", BOTH)
def test_the_two_kinds_of_runs_have_other_timesteps(backbone: str) -> None:
    alone = ("dataset.limit=1000", "task.trial_list=[5]", "task.keep_list=[1]")
    for words, expected in (
        ((), "125, 325, 525, 725 and 925"),
        (alone, "100, 300, 500, 700 and 900"),
    ):
        with np.load(MINI / "errors" / f"{named(backbone, *words)}.npz") as own:
            found = sorted({int(each) for each in np.asarray(own["timesteps"]).ravel()})
        assert ", ".join(map(str, found[:-1])) + f" and {found[-1]}" == expected
        assert expected in " ".join(RESULTS.split())


def test_tables_2_to_5_are_of_the_whole_protocol_and_400_images() -> None:
    seen = 0
    for number in (2, 3, 4, 5):
        for row in read_csv(MINI / "tables" / f"table0{number}.csv"):
            if row["metric"] == "best_margin" and row["source"] == "measured" and row["value"]:
                manifest = MANIFESTS[row["run_id"]]
                task = manifest["config"]["task"]
                assert (task["trial_list"], task["keep_list"]) == ([5, 20], [5, 1])
                assert manifest["n_images"] == 400
                seen += 1
    assert seen > 30


# Table 16 and Table 17.


def test_schedules_of_alpha() -> None:
    lines = [r for r in read_csv(MINI / "tables" / "table16.csv") if r["source"] == "measured"]
    run = {r["row"]: r["run_id"] for r in lines if not r["versus"]}
    pairs = [*combinations(sorted(run), 2)]
    assert len(pairs) == 15
    found = [difference((run[a], run[b]), "frechet_mini") for a, b in pairs]
    corrected = holm([each.p for each in found])
    sign = {
        pair: (each.value > 0) - (each.value < 0) if p < 0.05 else 0
        for pair, each, p in zip(pairs, found, corrected, strict=True)
    }
    sign |= {(b, a): -each for (a, b), each in sign.items()}
    others = set(run) - {"from_nearest"}
    assert {sign["from_nearest", each] for each in others} == {-1}
    assert sign["constant", "todo"] == sign["constant", "rising"] == 1
    level = difference((run["rising"], run["todo"]), "frechet_mini")
    assert max(-level.low, level.high) < 0.05
    assert sign["rising", "todo"] == 0


def test_no_ordering_of_the_distance_in_table_17_stands() -> None:
    own = [
        float(row["p_holm"])
        for row in read_csv(MINI / "tables" / "table17.csv")
        if row["metric"] == "delta_frechet_mini" and row["p_holm"]
    ]
    assert len(own) == 6
    assert min(own) >= 0.05


# What is published of the runs.


def test_thirteen_manifests_were_written_later() -> None:
    later = {name for name, each in MANIFESTS.items() if each.get("rebuilt")}
    assert later == {name for name, each in MANIFESTS.items() if not each.get("cpu_model")}
    without = {
        name
        for name, each in MANIFESTS.items()
        if each["config"]["task"]["name"] == "classification"
        and not (MINI / "errors" / f"{name}.npz").is_file()
    }
    assert later == without
    (count,) = re.findall(r"but for (\d+) classifications", RESULTS)
    assert len(later) == int(count)


def test_four_of_the_rows_of_1000_images_have_no_errors() -> None:
    part = RESULTS.partition("## What do 1,000 images show?")[2].partition("\n## ")[0]
    words = re.findall(r"^\| (mini_\w+) \| (\w+)(?: (\S+))? \| ", part, re.M)
    runs = {
        named(b, "dataset.limit=1000", f"operator={o}", *([f"operator.{s}"] if s else []))
        for b, o, s in words
    }
    assert len(runs) == 9
    lacking = {each for each in runs if not (MINI / "errors" / f"{each}.npz").is_file()}
    assert lacking == set(re.findall(r"`([0-9a-f]{16})`", part))
    assert len(lacking) == 4


def test_lgtm_loses_accuracy_on_1000_images_and_not_visibly_on_400() -> None:
    words = ("operator=lgtm", "operator.ratio=0.7")
    for limit, is_seen in ((400, False), (1000, True)):
        few = [f"dataset.limit={limit}"] if limit != 400 else []
        own, none = (named("mini_unet", *each, *few) for each in (words, ("operator=none",)))
        assert (difference((own, none), "acc1").high < 0) is is_seen


# docs/operators.md and README.md of the tables.


def test_what_is_said_of_the_released_code_in_accuracy_and_margin() -> None:
    sizes = OPERATORS.partition("**Sizes on the minis.**")[2].partition("**Sites.**")[0]
    rows = [line.split("|")[1:-1] for line in sizes.splitlines() if line.startswith("| `")]
    assert len(rows) == 5
    for row in rows:
        for cell in (row[2], row[4]):
            _, low, high = map(float, re.findall(r"[-+]?\d+\.\d+", cell))
            assert low < 0 < high
    errors = {
        row[0].strip(): [float(each) for cell in (row[3], row[5]) for each in intervals(cell)]
        for row in rows
    }
    eq7 = errors["`lgtm` Eq. 7 / `tome` paired"]
    released = errors["`lgtm` as released / `tome` paired"]
    assert min(eq7[0], eq7[2]) > 0
    assert max(released[0], released[2]) < 0
    for backbone in BOTH:
        assert margin(backbone, 0.7, "0 1 2", RELEASED, PAIRED).high < 0
        assert of("accuracy", backbone, 0.7, FORWARD, PAIRED).high < 0


def intervals(cell: str) -> list[str]:
    """Both ends of the interval of a cell."""
    return re.findall(r"[-+]?\d+\.\d+", cell.partition("[")[2])


def test_where_the_accuracy_of_the_unet_falls() -> None:
    for words in (
        ("operator=todo", "operator.factor=4"),
        ("operator=avg_pool", "operator.factor=4"),
    ):
        runs = [named("mini_unet", *each, "dataset.limit=1000") for each in (words, ())]
        assert difference(runs, "acc1").high < 0
    assert of("accuracy", "mini_unet", 0.7, EQ7, BASELINE).high < 0
    runs = [named("mini_unet", "operator=abm", "operator.ratio=0.7"), named("mini_unet")]
    assert difference(runs, "acc1").high < 0


def test_the_empty_cells_of_the_tables_are_counted_again() -> None:
    """From the CSV files: a line of a run without a value is an empty cell, wherever it stands."""
    page = (MINI / "tables" / "README.md").read_text("utf-8").partition("## Empty cells")[2]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if re.match(r"\| \d", line)
    ]
    counts = {row[0]: [float(each) for each in row[1:]] for row in rows}
    total = np.zeros(5)
    for name, (cells, empty, percent, runs, missing) in counts.items():
        if " " in name:
            continue
        lines = [
            row
            for row in read_csv(MINI / "tables" / f"table{int(name):02d}.csv")
            if row["source"] == "measured" and not row["versus"]
        ]
        made = {row["run_id"] for row in lines if row["value"]}
        planned = {row["run_id"] for row in lines}
        assert (runs, missing) == (len(planned), len(planned - made))
        lacking = [row for row in lines if not row["value"] and row["row"] != "none"]
        assert {row["run_id"] for row in lacking} <= planned - made, "every gap is a missing run"
        assert not {row["run_id"] for row in lacking} & set(MANIFESTS)
        assert (empty, percent) == (len(lacking), round(100 * empty / cells, 1))
        commands = (MINI / "tables" / f"table{int(name):02d}.md").read_text("utf-8")
        assert not lacking or "## What is missing" in commands
        total += [cells, empty, 0, runs, missing] if int(name) <= 18 else np.zeros(5)
    cells, empty, percent, runs, missing = counts["1 to 18"]
    assert [cells, empty, 0, runs, missing] == total.tolist()
    assert percent == round(100 * empty / cells, 1)
    assert percent <= 15, "no more than this was promised to be empty"
