"""Which gates a sensitivity table switches off: against a transcription in numpy, and by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators import DiPGO, MaskTable
from bigain.operators.masks import branch_shares, choose_mask


def transcribed(d: np.ndarray, shares: np.ndarray, target: float, free: list[bool]) -> np.ndarray:
    """The rule of the module's docstring, one pair after the other."""
    mask = np.ones_like(d, dtype=bool)
    pairs = [(t, b) for t in range(len(d)) for b in range(d.shape[1]) if free[b]]
    removed = 0.0
    for t, b in sorted(pairs, key=lambda pair: d[pair] / shares[pair]):
        if removed >= target - 1e-12:
            break
        mask[t, b] = False
        removed += shares[t, b]
    return mask


def random_case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    d = torch.rand(6, 5, generator=generator, dtype=torch.float64)
    flops = torch.randint(1, 50, (5,), generator=generator).tolist()
    counts = torch.randint(1, 9, (6,), generator=generator).tolist()
    free = torch.rand(5, generator=generator) > 0.3
    free[0] = True
    return d, branch_shares(flops, 200, counts), free


@pytest.mark.parametrize("seed", range(8))
def test_the_mask_is_that_of_the_transcription(seed: int) -> None:
    d, shares, free = random_case(seed)
    target = 0.6 * float(shares[:, free].sum())
    mask = choose_mask(d, shares, target, free)
    wanted = transcribed(d.numpy(), shares.numpy(), target, free.tolist())
    assert np.array_equal(mask.numpy(), wanted)
    removed = shares[~mask]
    assert target <= float(removed.sum()) <= target + float(removed.max())
    assert bool(mask[:, ~free].all())


def test_shares_weigh_timesteps_by_their_evaluations() -> None:
    shares = branch_shares([10, 30], 100, [3, 1])
    assert shares.tolist() == pytest.approx(np.array([[0.075, 0.225], [0.025, 0.075]]))
    # Removing a branch at all timesteps removes its share of one evaluation.
    assert float(shares[:, 1].sum()) == pytest.approx(0.3)


def test_target_zero_keeps_everything_and_all_of_it_takes_everything() -> None:
    d, shares, _ = random_case(0)
    everything = torch.ones(5, dtype=torch.bool)
    assert bool(choose_mask(d, shares, 0.0, everything).all())
    assert not bool(choose_mask(d, shares, float(shares.sum()), everything).any())


def test_a_target_above_what_may_go_is_refused() -> None:
    d, shares, free = random_case(3)
    covered = float(shares[:, free].sum())
    with pytest.raises(
        UserError, match=rf"^operator.target={covered + 0.1:g}: allowed: .* {covered:.4g}, "
    ):
        choose_mask(d, shares, covered + 0.1, free)


def test_ties_go_to_the_earlier_timestep_then_branch() -> None:
    shares = branch_shares([1, 1], 2, [1, 1])
    mask = choose_mask(torch.zeros(2, 2), shares, 0.75, torch.ones(2, dtype=torch.bool))
    assert mask.tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ({"target": 1}, "target=1: allowed: a number from 0 to below 1"),
        ({"target": 0.1, "objective": "noise"}, "objective=noise: allowed: output, contrast"),
        ({"target": 0.1, "images": 0}, "images=0: allowed: an integer >= 1"),
        ({"target": 0.1, "seed": -1}, "seed=-1: allowed: an integer >= 0"),
        (
            {"target": 0.1, "protect_cross_attention": 1},
            "protect_cross_attention=1: allowed: true or false",
        ),
    ],
)
def test_settings_that_are_not_allowed(setting: dict[str, object], allowed: str) -> None:
    with pytest.raises(UserError) as refused:
        DiPGO(**setting)  # type: ignore[arg-type]
    assert str(refused.value) == allowed


def test_a_table_knows_its_timesteps_only() -> None:
    table = MaskTable(("a", "b"), {25: (True, False)}, {25: 10})
    assert table.pattern(25.0) == (True, False)
    assert table.evaluations == {25: 10}
    assert repr(table) == "MaskTable(1 of 2 gates off, 1 timesteps)"
    with pytest.raises(UserError, match=r"^timestep=26: .* allowed: 25, "):
        table.pattern(26)
    with pytest.raises(UserError, match=r"^masks: have \[1\] gates"):
        MaskTable(("a", "b"), {25: (True,)}, {25: 10})
    with pytest.raises(UserError, match=r"^masks: "):
        MaskTable(("a",), {25: (True,)}, {75: 10})
