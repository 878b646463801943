"""Races over errors of the two mini backbones, which `scripts/race_tables.py` measured.

100 images, and the covariance of 150 others.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bigain.engine.build_protocol import WORST_FIT
from bigain.tasks import race_rules
from bigain.tasks.protocol import StagedProtocol
from bigain.tasks.race_model import fit_ratios, spread_order
from bigain.tasks.race_rules import HalvingRule, RaceRule, StudentRule
from bigain.tasks.racing import RacingProtocol, decide
from tests.tasks.races import drawn, model_of, protocol_of, race, spent_of

TABLES = load_file(Path(__file__).parent / "race_tables.safetensors")
UNET = TABLES["mini_unet.covariance"]
STAGED = StagedProtocol((5, 20), (5, 1))
FULL = StagedProtocol((20,), (1,))


def evaluations_and_agreement(rule: RaceRule, tables: Tensor) -> tuple[float, int]:
    """Mean evaluations, and how many images the full grid decides alike."""
    decisions = [decide(RacingProtocol(rule, 0.0, 0), 0, table) for table in tables]
    taken = [each.ledger.evaluations for each in decisions if each.ledger is not None]
    full = [decide(FULL, 0, table).prediction for table in tables]
    same = sum(each.prediction == other for each, other in zip(decisions, full, strict=True))
    return sum(taken) / len(tables), same


@pytest.mark.parametrize(("backbone", "most"), [("mini_unet", 70), ("mini_dit", 50)])
def test_a_race_takes_less_than_half_of_the_staged_evaluations_and_decides_alike(
    backbone: str, most: int
) -> None:
    rule = protocol_of(TABLES[f"{backbone}.covariance"]).rule
    taken, same = evaluations_and_agreement(rule, TABLES[f"{backbone}.errors"])
    assert 20 <= taken < most
    assert same >= 97


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_published_rules_take_more_for_no_more_agreement(backbone: str) -> None:
    s, tables = TABLES[f"{backbone}.covariance"], TABLES[f"{backbone}.errors"]
    taken, same = evaluations_and_agreement(protocol_of(s).rule, tables)
    halving = HalvingRule(20, ((3, 5), (6, 3), (12, 2)))
    for rival in (StudentRule(spread_order(s), 0.05, 5), halving):
        other_taken, other_same = evaluations_and_agreement(rival, tables)
        assert other_taken > taken
        assert other_same <= same
        assert other_same >= 95


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_the_fit_is_accepted_and_that_of_a_quarter_of_the_covariance_is_not(backbone: str) -> None:
    s, tables = TABLES[f"{backbone}.covariance"], TABLES[f"{backbone}.errors"]
    right, wrong = fit_ratios(model_of(s), tables), fit_ratios(model_of(s / 4), tables)
    assert max(right.values()) < WORST_FIT < min(wrong.values())
    assert min(right.values()) > 1 / WORST_FIT


def others_and_spent(tables: Tensor, z: float) -> tuple[Tensor, Tensor]:
    """Whether the sums decide otherwise, and what the race promised, of each image."""
    decisions = [race(table, UNET, z=z) for table in tables]
    full = tables.float().double().sum(dim=1).argmin(dim=1).tolist()
    pairs = zip(decisions, full, strict=True)
    others = [float(each.prediction != winner) for each, winner in pairs]
    return torch.tensor(others), torch.tensor([spent_of(each) for each in decisions])


@pytest.mark.parametrize("z", [1.0, 1.6])
def test_of_two_classes_of_known_scale_as_many_are_reversed_as_promised(
    z: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race_rules, "_PRIOR_WEIGHT", 1e12)
    others, spent = others_and_spent(drawn(UNET, 1000, 2, seed=3), z)
    error = float((others - spent).std()) / len(spent) ** 0.5
    assert abs(float((others - spent).mean())) < 3 * error
    assert others.sum() > 10


@pytest.mark.parametrize("tails", ["normal", "heavy"])
def test_of_ten_classes_fewer_are_reversed_than_promised_with_heavy_tails_too(tails: str) -> None:
    """Scale mixtures with 6 degrees of freedom: ten classes tell the scale of their image."""
    tables = drawn(UNET, 300, 10, seed=4)
    if tails == "heavy":
        normal = torch.randn(300, 6, generator=torch.Generator().manual_seed(5)).double()
        tables = tables * (6 / normal.square().sum(dim=1)).sqrt()[:, None, None]
    others, spent = others_and_spent(tables, 2.0)
    assert 0 < others.sum() < spent.sum()


def test_of_two_classes_with_heavy_tails_more_are_reversed_than_promised() -> None:
    normal = torch.randn(1200, 6, generator=torch.Generator().manual_seed(6)).double()
    scales = (6 / normal.square().sum(dim=1)).sqrt()
    others, spent = others_and_spent(drawn(UNET, 1200, 2, seed=7) * scales[:, None, None], 2.0)
    assert others.sum() > 1.5 * spent.sum() > 0


def test_the_staged_protocol_decides_as_the_full_grid_on_these_images() -> None:
    """What the numbers above are compared with."""
    for backbone in ("mini_unet", "mini_dit"):
        tables = TABLES[f"{backbone}.errors"]
        pairs = [(decide(STAGED, 0, e).prediction, decide(FULL, 0, e).prediction) for e in tables]
        assert sum(a == b for a, b in pairs) >= 99
