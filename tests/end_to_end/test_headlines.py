"""What the shipped backbones must do, and what the documents say in words, from the records.

The numbers of the documents are computed again in `test_claim_numbers`, `test_page_numbers` and
`test_decomposition_numbers`.  New weights have new run ids, so a change of the weights without new
measurements fails here.
"""

from itertools import combinations

import pytest

from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id
from tests.end_to_end.recomputed import MINI, difference, read_csv, value

UNET = {
    "none": ("operator=none",),
    "tome": ("operator=tome", "operator.ratio=0.7"),
    "nearest": ("operator=todo", "operator.factor=4"),
    "average": ("operator=avg_pool", "operator.factor=4"),
}
NONE, TOME = ("operator=none",), ("operator=tome", "operator.ratio=0.7")
LGTM = ("operator=lgtm", "operator.ratio=0.7")
IE_KVD, NEAREST = ("operator=ie_kvd", "operator.factor=2"), ("operator=todo", "operator.factor=2")


def named(backbone: str, *overrides: str) -> str:
    return run_id(compose_config([f"backbone={backbone}", *overrides]))


def on_1000(backbone: str, *overrides: str) -> str:
    """The run of a classification of 1,000 images."""
    run = named(backbone, *overrides, "dataset.limit=1000")
    assert value(run, "acc1").n == 1000
    return run


def generated(backbone: str, *overrides: str) -> str:
    """The run of a generation of 1,000 images."""
    run = named(backbone, "task=generation", *overrides)
    assert value(run, "frechet_mini").n == 1000
    return run


@pytest.mark.parametrize(("backbone", "floor"), [("mini_unet", 84), ("mini_dit", 82)])
def test_accuracy_without_acceleration(backbone: str, floor: float) -> None:
    assert value(on_1000(backbone, *NONE), "acc1").value >= floor


def test_merging_seven_tenths_costs_the_dit_at_least_eight_points() -> None:
    found = difference((on_1000("mini_dit", *TOME), on_1000("mini_dit", *NONE)), "acc1")
    assert found.value <= -8
    assert found.high < 0


def test_samples_of_the_unet_are_recognised() -> None:
    """On at least 85 of 100 images the shipped classifier agrees with the class."""
    assert value(generated("mini_unet"), "class_agreement").value >= 85


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_samples_are_not_all_alike(backbone: str) -> None:
    run = generated(backbone)
    own = {
        row["metric"]: float(row["value"])
        for row in read_csv(MINI / "runs.csv")
        if row["run_id"] == run
    }
    assert own["recall"] > 0.3
    assert own["precision"] > 0.3


@pytest.mark.parametrize(("a", "b"), list(combinations(UNET, 2)))
def test_noise_errors_separate_the_operators_of_the_unet(a: str, b: str) -> None:
    runs = [on_1000("mini_unet", *UNET[name]) for name in (a, b)]
    none = on_1000("mini_unet", *NONE)
    assert difference(runs, "eps_error_rise", none).p < 0.003


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_lgtm_disturbs_noise_and_samples_more_than_tome(backbone: str) -> None:
    """Against the direction of the paper, on both backbones."""
    runs = [named(backbone, *operator) for operator in (LGTM, TOME)]
    assert difference(runs, "eps_error_rise", named(backbone, *NONE)).low > 0
    runs = [generated(backbone, *operator) for operator in (LGTM, TOME)]
    assert difference(runs, "frechet_mini").low > 0


def test_ie_kvd_on_the_dit_keeps_errors_and_two_fold_costs_samples() -> None:
    runs = [named("mini_dit", *operator) for operator in (IE_KVD, NEAREST)]
    assert difference(runs, "eps_error_rise", named("mini_dit", *NONE)).high < 0
    runs = [generated("mini_dit", *operator) for operator in (IE_KVD, NONE)]
    assert difference(runs, "frechet_mini").low > 0.05


@pytest.mark.parametrize(
    "operator",
    [
        ("operator=abm", "operator.ratio=0.7"),
        (
            "operator=kv_select",
            "operator.strategy=low_frequency",
            "operator.sparsity=0.75",
        ),
        (
            "operator=kv_select",
            "operator.strategy=high_frequency",
            "operator.sparsity=0.75",
        ),
    ],
)
def test_the_accuracy_of_the_unet_does_move(operator: tuple[str, ...]) -> None:
    found = difference((named("mini_unet", *operator), named("mini_unet", *NONE)), "acc1")
    assert found.high < 0


@pytest.mark.parametrize("name", ["nearest", "average"])
def test_the_accuracy_of_the_unet_moves_under_four_fold_downsampling(name: str) -> None:
    runs = (on_1000("mini_unet", *UNET[name]), on_1000("mini_unet", *NONE))
    assert difference(runs, "acc1").high < 0
