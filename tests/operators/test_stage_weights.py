"""How much each stage of timesteps loses: the score of MosaicDiff in closed form."""

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.operators import MosaicDiff, StageWeights
from bigain.operators.stage_weights import STAGES, Kept, allocate, stage_of, stage_scores


def linear_schedule() -> torch.Tensor:
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)


@pytest.mark.parametrize("energy", [0.25, 0.6, 1.0])
def test_scores_are_those_of_the_expected_distance(energy: float) -> None:
    abar = linear_schedule().numpy()
    distance = (1 - np.sqrt(abar)) ** 2 * energy + (1 - abar)
    growth = np.diff(distance)
    peak = 1 + int(growth.argmax())
    assert 239 <= peak <= 312
    wanted = []
    for first, end in STAGES:
        own = growth[[t - 1 for t in range(first, end) if t > 0]]
        wanted.append(own.mean() / growth.max())
    assert stage_scores(linear_schedule(), energy) == pytest.approx(wanted)
    assert max(wanted) == wanted[1]


def test_the_mean_over_evaluations_is_the_sparsity() -> None:
    scores, weights = [0.5, 0.9, 0.3], [0.2, 0.4, 0.4]
    own = allocate(0.2, scores, weights, "score")
    assert sum(s * w for s, w in zip(own, weights, strict=True)) == pytest.approx(0.2)
    assert own[0] / own[2] == pytest.approx(0.5 / 0.7)
    assert allocate(0.2, scores, weights, "uniform") == [0.2] * 3
    assert max(allocate(0.9, scores, weights, "score")) == 0.8
    assert allocate(0.0, scores, weights, "score") == [0, 0, 0]


def test_every_timestep_has_a_stage() -> None:
    assert [stage_of(t) for t in (0, 199.5, 200, 599, 600, 999)] == [0, 0, 1, 1, 2, 2]
    with pytest.raises(UserError, match=r"^timestep=1000: allowed: from 0 to below 1000"):
        stage_of(1000)


def test_a_module_has_weights_for_all_stages_or_none() -> None:
    kept = Kept((0,), torch.zeros(2, 2))
    assert "1 modules, 3 stages" in repr(StageWeights({"a": (kept, None, None)}, {25: 1}))
    with pytest.raises(UserError, match=r"^modules: a has no weights for each of 3 stages"):
        StageWeights({"a": (kept, None)}, {25: 1})


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ({"target": -0.1}, "target=-0.1: allowed: a number from 0 to below 1"),
        ({"target": 0.1, "allocation": "even"}, "allocation=even: allowed: score, uniform"),
        ({"target": 0.1, "images": 1.5}, "images=1.5: allowed: an integer >= 1"),
        ({"target": 0.1, "cross_attention": 0}, "cross_attention=0: allowed: true or false"),
    ],
)
def test_settings_that_are_not_allowed(setting: dict[str, object], allowed: str) -> None:
    with pytest.raises(UserError) as refused:
        MosaicDiff(**setting)  # type: ignore[arg-type]
    assert str(refused.value) == allowed
