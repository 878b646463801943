"""What the documents claim of the shipped backbones, computed again from the committed records.

1,000 test images, trial list [5, 20], keep list [5, 1], seed 0.  New weights have new run ids, so a
change of the weights without new measurements fails here.
"""

import re
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from bigain.launch.compose import compose_config
from bigain.metrics import paired_accuracy, paired_difference
from bigain.runs.archive import Archive
from bigain.runs.identity import run_id

RESULTS = Path(__file__).parents[2] / "results"
UNET = {
    "none": ["operator=none"],
    "tome": ["operator=tome", "operator.ratio=0.7"],
    "nearest": ["operator=todo", "operator.factor=4"],
    "average": ["operator=avg_pool", "operator.factor=4"],
}


def records(backbone: str, overrides: list[str]) -> pd.DataFrame:
    config = compose_config([f"backbone={backbone}", *overrides, "dataset.limit=1000"])
    samples = Archive(RESULTS, "mini").samples(run_id(config))
    assert samples is not None, f"no committed records of {backbone} {overrides}"
    assert len(samples) == 1000
    return samples.set_index("image_id")


def errors(samples: pd.DataFrame) -> "pd.Series[float]":
    return pd.Series({i: sum(e) / len(e) for i, e in samples["true_errors"].items()})


@pytest.mark.parametrize(("backbone", "floor"), [("mini_unet", 0.84), ("mini_dit", 0.82)])
def test_accuracy_without_acceleration(backbone: str, floor: float) -> None:
    assert records(backbone, ["operator=none"])["correct"].mean() >= floor


def test_merging_seven_tenths_costs_the_dit_at_least_eight_points() -> None:
    merged = records("mini_dit", ["operator=tome", "operator.ratio=0.7"])["correct"]
    difference = paired_accuracy(merged, records("mini_dit", ["operator=none"])["correct"])
    assert difference.n == 1000
    assert difference.mean <= -0.08
    assert difference.ci_high < 0


def generated(backbone: str, *overrides: str) -> pd.DataFrame:
    """The published records of a generation of 1,000 images."""
    command = ["task=generation", f"backbone={backbone}", *overrides]
    path = RESULTS / "mini" / "samples" / f"{run_id(compose_config(command))}.csv.gz"
    samples = pd.read_csv(path)
    assert len(samples) == 1000
    return samples.set_index("image_id")


def test_samples_of_the_unet_are_recognised() -> None:
    """On at least 85 of 100 images the shipped classifier agrees with the class."""
    assert generated("mini_unet")["correct"].mean() >= 0.85


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_samples_are_not_all_alike(backbone: str) -> None:
    runs = pd.read_csv(RESULTS / "mini" / "runs.csv")
    command = ["task=generation", f"backbone={backbone}"]
    own = runs[runs["run_id"] == run_id(compose_config(command))].set_index("metric")["value"]
    assert own["recall"] > 0.3
    assert own["precision"] > 0.3


def test_the_distance_of_the_unet_is_that_of_the_documents() -> None:
    assert generated("mini_unet")["frechet_value"].mean() == pytest.approx(0.266, abs=0.001)


@pytest.mark.parametrize(("a", "b"), list(combinations(UNET, 2)))
def test_noise_errors_separate_the_operators_of_the_unet(a: str, b: str) -> None:
    left, right = (errors(records("mini_unet", UNET[name])) for name in (a, b))
    difference = paired_difference(left, right)
    assert difference.n == 1000
    assert abs(difference.z) > 3


LGTM, TOME = ("operator=lgtm", "operator.ratio=0.7"), ("operator=tome", "operator.ratio=0.7")
IE_KVD, NEAREST = ("operator=ie_kvd", "operator.factor=2"), ("operator=todo", "operator.factor=2")


def classified(backbone: str, *overrides: str) -> pd.DataFrame:
    """The published records of a classification of the profile's 400 images."""
    samples = Archive(RESULTS, "mini").samples(
        run_id(compose_config([f"backbone={backbone}", *overrides]))
    )
    assert samples is not None
    assert len(samples) == 400
    return samples.set_index("image_id")


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_lgtm_disturbs_noise_and_samples_more_than_tome(backbone: str) -> None:
    """Against the direction of the paper, on both backbones."""
    noise = [errors(classified(backbone, *operator)) for operator in (LGTM, TOME)]
    assert paired_difference(*noise).z > 5
    values = [generated(backbone, *operator)["frechet_value"] for operator in (LGTM, TOME)]
    assert paired_difference(*values).ci_low > 0


def test_ie_kvd_on_the_dit_keeps_errors_and_loses_samples() -> None:
    noise = [errors(classified("mini_dit", *operator)) for operator in (IE_KVD, NEAREST)]
    assert paired_difference(*noise).z < -5
    values = [generated("mini_dit", *operator)["frechet_value"] for operator in (IE_KVD, NEAREST)]
    assert paired_difference(*values).ci_low > 0


@pytest.mark.parametrize(
    ("table", "row", "metric", "verdict"),
    [
        (4, "lgtm", "delta_frechet_mini", "contradicted"),
        (3, "ie_kvd", "delta_frechet_mini", "inconclusive"),
        (5, "lgtm", "delta_acc1", "inconclusive"),
        (5, "lgtm", "delta_eps_error_rise", "contradicted"),
    ],
)
def test_verdicts_after_correction(table: int, row: str, metric: str, verdict: str) -> None:
    """Of the headline settings, as the rendered tables have them."""
    found = pd.read_csv(RESULTS / "mini" / "tables" / f"table{table:02d}.csv")
    headline = found["setting"].isin(["ratio=0.7", "factor=2"]) & found["value"].notna()
    (own,) = found[
        headline
        & (found["row"] == row)
        & (found["metric"] == metric)
        & (found["dataset"] == "fashion_mnist")
    ]["p_holm"]
    assert (own < 0.05) == (verdict == "contradicted")


@pytest.mark.parametrize("operator", [TOME, LGTM, NEAREST, IE_KVD])
def test_no_operator_moves_the_accuracy_of_the_unet(operator: tuple[str, str]) -> None:
    correct = classified("mini_unet", *operator)["correct"]
    difference = paired_accuracy(correct, classified("mini_unet", "operator=none")["correct"])
    assert difference.ci_low < 0 < difference.ci_high


README = (RESULTS.parent / "README.md").read_text(encoding="utf-8")
HEADLINES = {"ToMe": TOME, "L-GTM": LGTM, "ToDo": NEAREST, "IE-KVD": IE_KVD}


def readme_row(operator: str) -> list[list[float]]:
    """The numbers of each cell of an operator's row in the README's result table."""
    table = README.partition("<!-- results:begin -->")[2].partition("<!-- results:end -->")[0]
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {operator} "))
    return [
        [float(number) for number in re.findall(r"[-+]?\d+\.\d+", cell)]
        for cell in line.split("|")[2:-1]
    ]


@pytest.mark.parametrize("name", HEADLINES)
def test_the_differences_in_the_readme_follow_from_the_records(name: str) -> None:
    for backbone, cells in zip(
        ["mini_dit", "mini_unet"], [readme_row(name)[:2], readme_row(name)[2:]], strict=True
    ):
        accuracy = paired_accuracy(
            classified(backbone, *HEADLINES[name])["correct"],
            classified(backbone, "operator=none")["correct"],
        )
        distance = paired_difference(
            generated(backbone, *HEADLINES[name])["frechet_value"],
            generated(backbone, "operator=none")["frechet_value"],
        )
        found = [
            [100 * part for part in (accuracy.mean, accuracy.ci_low, accuracy.ci_high)],
            [distance.mean, distance.ci_low, distance.ci_high],
        ]
        assert cells[0] == pytest.approx(found[0], abs=0.0501)
        assert cells[1] == pytest.approx(found[1], abs=0.00501)


def test_the_baselines_in_the_readme_are_those_of_runs_csv() -> None:
    archive = Archive(RESULTS, "mini")
    cells = readme_row("none")
    for position, (backbone, task, metric) in enumerate(
        (backbone, task, metric)
        for backbone in ("mini_dit", "mini_unet")
        for task, metric in (("classification", "acc1"), ("generation", "frechet_mini"))
    ):
        name = run_id(compose_config([f"backbone={backbone}", f"task={task}"]))
        found = archive.metrics(name)[metric]
        stated = [found.value, found.ci_low, found.ci_high]
        assert cells[position] == pytest.approx(stated, abs=0.0501)
