"""100 random cells of the committed tables, again from the committed raw records.

`scripts/recompute*.py` share no code with the package.  Value, interval, p and number of images
must agree to all printed digits.  Not recomputed: `p_holm` (its families are defined in
`bigain.tables.families`; tests/tables has Holm's correction by hand), and KID, precision and recall
of runs whose features are not published; the latter are counted below, none is left out silently.
"""

import csv
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import recompute
from recompute_quantities import OF_FEATURES, PAIRED, RUNS, Pair, difference

MINI = Path(__file__).parents[2] / "results" / "mini"
CELLS = list(recompute.measured_cells(MINI))
KNOWN = [cell for cell in CELLS if not recompute.is_lacking(MINI, cell)]


def test_a_hundred_random_cells_agree_to_all_printed_digits() -> None:
    drawn = recompute.draw(KNOWN, 100, seed=17)
    assert len({id(cell) for cell in drawn}) == len(drawn) >= 100
    assert [text for cell in drawn for text in recompute.problems(MINI, cell)] == []


def test_every_quantity_of_the_tables_is_recomputed() -> None:
    """Each kind is among the 100; the only ones that may lack all records are those of features."""
    kinds = Counter(map(recompute.quantity, CELLS))
    assert {name.removeprefix("delta_") for name in kinds} <= set(RUNS)
    assert set(PAIRED) <= set(RUNS)
    drawn = Counter(map(recompute.quantity, recompute.draw(KNOWN, 100, seed=17)))
    of_features = {f"{prefix}{name}" for name in OF_FEATURES for prefix in ("", "delta_")}
    assert set(kinds) - set(drawn) <= of_features
    lacking = [cell for cell in CELLS if recompute.is_lacking(MINI, cell)]
    assert len(lacking) + len(KNOWN) == len(CELLS) > 800
    for cell in lacking:
        assert recompute.quantity(cell) in of_features
        paths = (MINI / "features" / f"{cell[key]}.npz" for key in ("run_id", "versus_run_id"))
        assert not all(path.is_file() for path in paths if path.stem)


@pytest.mark.parametrize(
    ("metric", "called"),
    [("margin", "best_margin"), ("accuracy", "acc1_first"), ("auc", "pairwise_auc")],
)
def test_quantities_of_single_trials_are_those_of_the_decomposition(
    metric: str, called: str
) -> None:
    """They stand in tables as soon as a run of a table kept its errors."""
    with (MINI / "decomposition.csv").open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["quantity"] == metric]
    lines = [row for row in rows if " " not in row["seed"]]
    for row in random.Random(5).sample(lines, 4):
        own, versus = (recompute.run_of(MINI, row[key]) for key in ("first_run", "second_run"))
        none = recompute.run_of(MINI, own.manifest["baseline_id"])
        found = difference(called, Pair(own, none, versus))
        assert recompute.agrees(row["value"], found.value, 6)
        assert recompute.agrees(row["ci_low"], found.low, 6)
        assert recompute.agrees(row["ci_high"], found.high, 6)
        assert recompute.agrees(row["p"], found.p, 6)
        assert int(row["n"]) == found.n


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The profile with one table."""
    for name in ("samples", "manifests", "errors"):
        (tmp_path / name).symlink_to(MINI / name)
    (tmp_path / "tables").mkdir()
    shutil.copy(MINI / "tables" / "table05.csv", tmp_path / "tables")
    return tmp_path


@pytest.mark.parametrize("part", ["value", "ci_low", "ci_high", "p", "n"])
@pytest.mark.parametrize("metric", ["acc1", "eps_error_rise", "delta_acc1", "delta_frechet_mini"])
def test_a_cell_that_is_off_by_one_in_its_last_digit_is_found(
    copy: Path, capsys: pytest.CaptureFixture[str], metric: str, part: str
) -> None:
    path = copy / "tables" / "table05.csv"
    with path.open(newline="") as handle:
        lines = list(csv.DictReader(handle))
    cell = next(r for r in lines if r["source"] == "measured" and r["metric"] == metric and r["n"])
    text = cell[part] or "0.5"
    last = max(i for i, c in enumerate(text) if c.isdigit() and "e" not in text[:i])
    cell[part] = f"{text[:last]}{(int(text[last]) + 1) % 10}{text[last + 1 :]}"
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    assert recompute.main(["--cells", "0", "--profile", str(copy)]) == 1
    assert f"{metric}, {part}: {cell[part]}, but the records give" in capsys.readouterr().out
