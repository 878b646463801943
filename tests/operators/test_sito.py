from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators import RandomKey, SelectReduction, SiTo


def selected(
    metric: Tensor, grid: tuple[int, int], operator: SiTo, draw: RandomKey | None = None
) -> SelectReduction:
    plan = operator.plan(metric, grid, draw)
    assert isinstance(plan, SelectReduction)
    return plan


@pytest.mark.parametrize(
    ("ratio", "cell", "weights"),
    [(0.2, (2, 2), (1.0, 0.1)), (0.7, (2, 2), (1.0, 0.1)), (0.8, (3, 2), (0.3, 4.0))],
)
def test_it_is_its_definition(
    slow: SimpleNamespace,
    grid: tuple[int, int],
    ratio: float,
    cell: tuple[int, int],
    weights: tuple[float, float],
) -> None:
    torch.manual_seed(grid[0])
    metric, x = torch.randn(2, 2, grid[0] * grid[1], 6, dtype=torch.float64).unbind()
    draw = RandomKey(4, "site", torch.tensor([10, 20]))
    noise = draw.normals(len(metric[0]), metric)
    plan = selected(metric, grid, SiTo(ratio, cell, *weights), draw)
    tiles, removed = slow.cells(*grid, *cell), int(len(metric[0]) * ratio)
    removed = min(removed, len(metric[0]) - len(tiles))
    for b in range(2):
        kept, assignment = slow.sito(metric[b].numpy(), noise[b].tolist(), tiles, removed, weights)
        np.testing.assert_array_equal(plan.reduce(x)[b], x[b, kept])
        np.testing.assert_array_equal(plan.restore(plan.reduce(x))[b], x[b, kept][assignment])


def test_single_precision_decides_as_double() -> None:
    torch.manual_seed(3)
    metric = torch.randn(4, 256, 48)
    single, double = (selected(m, (16, 16), SiTo(0.6)) for m in (metric, metric.double()))
    assert torch.equal(single.kept, double.kept)
    assert single.assignment is not None
    assert double.assignment is not None
    assert torch.equal(single.assignment, double.assignment)


def test_destinations_are_never_dropped() -> None:
    """At the clamp only destinations stay: one token of every cell."""
    kept = selected(torch.randn(3, 64, 4), (8, 8), SiTo(0.75)).kept
    cells = kept // 16 * 4 + kept % 8 // 2
    assert torch.equal(cells.sort(dim=-1).values, torch.arange(16).expand(3, -1))


def test_the_noise_moves_the_choice_and_its_weight_how_much() -> None:
    metric = torch.randn(1, 64, 4)
    draws = [RandomKey(seed, "s", torch.tensor(5)) for seed in (0, 1)]
    loud, quiet = (
        [selected(metric, (8, 8), SiTo(0.75, noise_alpha=alpha), draw).kept for draw in draws]
        for alpha in (50.0, 0.0)
    )
    assert not torch.equal(loud[0], loud[1])
    assert torch.equal(quiet[0], quiet[1])


@pytest.mark.parametrize(
    "other",
    [
        RandomKey(1, "s", torch.tensor(5)),
        RandomKey(0, "r", torch.tensor(5)),
        RandomKey(0, "s", None),
    ],
)
def test_the_choice_changes_with_seed_site_and_time(other: RandomKey) -> None:
    metric, noisy = torch.randn(1, 64, 4), SiTo(0.75, noise_alpha=50.0)
    one = selected(metric, (8, 8), noisy, RandomKey(0, "s", torch.tensor(5)))
    assert not torch.equal(one.kept, selected(metric, (8, 8), noisy, other).kept)


def test_the_choice_is_that_of_the_sample_alone_whatever_the_batch() -> None:
    metric, operator = torch.randn(3, 64, 4), SiTo(0.6, noise_alpha=20.0)
    together = selected(metric, (8, 8), operator, RandomKey(timesteps=torch.tensor([7, 3, 7])))
    for b, time in enumerate((7, 3, 7)):
        draw = RandomKey(timesteps=torch.tensor(time))
        alone = selected(metric[b : b + 1], (8, 8), operator, draw)
        assert torch.equal(alone.kept[0], together.kept[b])


def test_equal_tokens_drop_the_first_sources() -> None:
    plan = selected(torch.ones(1, 16, 3), (4, 4), SiTo(0.5, noise_alpha=0.0))
    assert plan.kept[0].tolist() == [0, 2, 8, 10, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0.76}, r"^ratio=0\.76: .*0\.75"),
        ({"ratio": 0.5, "cell": "22"}, r"^cell=22: "),
        ({"ratio": 0.5, "sim_beta": float("inf")}, r"^sim_beta=inf: allowed: a finite number"),
        ({"ratio": 0.5, "noise_alpha": float("nan")}, r"^noise_alpha=nan: allowed: a finite"),
        ({"ratio": 0.5, "noise_alpha": None}, r"^noise_alpha=None: allowed: a finite"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        SiTo(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_draws_per_forward_share_one_noise_in_the_batch() -> None:
    """With noise alone the destinations are the noise's, for batches of any size."""
    x, times = torch.randn(3, 64, 6), torch.tensor([5, 125, 999])
    for draws, same in (("per_forward", True), ("paired", False)):
        operator = SiTo(0.75, sim_beta=0.0, noise_alpha=1.0, draws=draws)
        plan = operator.plan(x, (8, 8), RandomKey(0, "s", times, (x,)))
        assert isinstance(plan, SelectReduction)
        assert bool((plan.kept == plan.kept[:1]).all()) == same
