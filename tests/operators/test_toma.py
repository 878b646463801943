"""ToMA against a slow transcription, its limits, and what its definition promises."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators import UNCHANGED, MapReduction, RandomKey, ToMA
from bigain.operators.tile_destinations import facility_location, representatives


def mapped(metric: Tensor, grid: tuple[int, int], operator: ToMA) -> MapReduction:
    plan = operator.plan(metric, grid)
    assert isinstance(plan, MapReduction)
    return plan


@pytest.mark.parametrize("tau", [1000.0, 5, "hard"])
@pytest.mark.parametrize("rule", ["facility", "representative"])
@pytest.mark.parametrize(("ratio", "side"), [(0.5, 8), (0.7, 4), (0.3, 3), (0.6, 20)])
def test_it_is_its_definition(
    slow: SimpleNamespace,
    grid: tuple[int, int],
    ratio: float,
    side: int,
    tau: float | str,
    rule: str,
) -> None:
    torch.manual_seed(grid[0])
    metric, x = torch.randn(2, 2, grid[0] * grid[1], 6, dtype=torch.float64).unbind()
    plan = mapped(metric, grid, ToMA(ratio, side, tau, rule))
    reduced = plan.reduce(x)
    restored = plan.restore(reduced)
    sharpness = math.inf if tau == "hard" else float(tau)
    for b in range(2):
        start = 0
        for tile in slow.tiles(*grid, side):
            count = len(tile) - int(len(tile) * ratio)
            dst, weights = slow.toma(metric[b].numpy(), tile, count, sharpness, rule)
            means = weights / weights.sum(axis=1, keepdims=True)
            own = slice(start, start + count)
            np.testing.assert_array_equal(plan.dst[b, own], dst)
            np.testing.assert_allclose(reduced[b, own], means @ x[b, tile].numpy(), atol=1e-10)
            back = weights.T @ reduced[b, own].numpy()
            np.testing.assert_allclose(restored[b, tile], back, atol=1e-10)
            start += count
        assert start == reduced.shape[1]


def test_columns_of_the_map_and_rows_of_the_means_sum_to_one() -> None:
    metric = torch.randn(3, 13 * 11, 8)
    plan = mapped(metric, (13, 11), ToMA(0.5, 4))
    sizes = [tuple(part.weights.shape[1:]) for part in plan.tiles]
    assert sizes == [(6, 8, 16), (3, 6, 12), (2, 2, 4), (1, 2, 3)]
    for part in plan.tiles:
        assert part.weights.dtype == torch.float32
        sums = part.weights.sum(dim=-2)
        torch.testing.assert_close(sums, torch.ones_like(sums))
    ones = torch.ones(3, 143, 1)
    torch.testing.assert_close(plan.reduce(ones), torch.ones(3, 72, 1))
    torch.testing.assert_close(plan.restore(plan.reduce(ones)), ones)


def test_without_anything_to_remove_the_map_tends_to_the_identity() -> None:
    """With all tokens as destinations; the operator itself then plans nothing at all."""
    metric = torch.randn(1, 64, 8, dtype=torch.float64)
    kept = ToMA(1e-9, 8)._mapped(metric / metric.norm(dim=-1, keepdim=True), torch.arange(64)[None])
    torch.testing.assert_close(kept.weights[0, 0], torch.eye(64).double(), atol=1e-9, rtol=0)
    plan = MapReduction((kept,), torch.arange(64))
    torch.testing.assert_close(plan.restore(plan.reduce(metric)), metric)
    assert ToMA(0).plan(metric, (8, 8)) is UNCHANGED
    assert ToMA(0).plan_flops((8, 8), 3) == ToMA(0).apply_flops((8, 8), 3) == 0


def test_the_hard_limit_is_a_scatter_mean_that_is_copied_back() -> None:
    torch.manual_seed(0)
    metric, x = torch.randn(2, 3, 64, 8)
    plan = mapped(metric, (8, 8), ToMA(0.6, 8, "hard"))
    unit = metric / metric.norm(dim=-1, keepdim=True)
    for b in range(3):
        dst = plan.dst[b]
        place = (unit[b, dst] @ unit[b].T).argmax(dim=0)
        means = torch.stack([x[b, place == j].mean(dim=0) for j in range(len(dst))])
        torch.testing.assert_close(plan.reduce(x)[b], means)
        assert torch.equal(plan.restore(plan.reduce(x))[b], plan.reduce(x)[b, place])
    assert torch.equal(ToMA(0.6, tau=math.inf).plan(metric, (8, 8)).reduce(x), plan.reduce(x))


def test_the_search_is_exact_for_one_and_near_the_best_for_more(slow: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    for n, count in itertools.product((3, 6, 10), (1, 2, 3)):
        tokens = rng.standard_normal((n, 4))
        similar = np.array([[slow.cosine(a, b) + 1 for b in tokens] for a in tokens])
        best = max(value(similar, each) for each in itertools.combinations(range(n), count))
        found = facility_location(torch.from_numpy(similar)[None], count)[0].tolist()
        assert len(set(found)) == count
        assert value(similar, found) >= (1 - 1 / math.e) * best
        assert count > 1 or value(similar, found) == pytest.approx(best)


def value(similar: Any, chosen: Any) -> float:
    return float(similar[:, list(chosen)].max(axis=1).sum())


@pytest.mark.parametrize("tau", [1000.0, "hard"])
def test_two_clusters_have_a_destination_each(tau: float | str) -> None:
    """The representatives alone would both be of the larger cluster."""
    a, b = torch.tensor([1.0, 0.1, 0.0]), torch.tensor([-0.2, 1.0, 3.0])
    second = torch.tensor([0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0], dtype=torch.bool)
    metric = torch.where(second[:, None], b, a)[None]
    x = torch.randn(1, 16, 5)
    plan = mapped(metric, (4, 4), ToMA(14 / 16, 4, tau))
    assert sorted(second[plan.dst[0]].tolist()) == [False, True]
    means = torch.where(second[:, None], x[0, second].mean(dim=0), x[0, ~second].mean(dim=0))
    torch.testing.assert_close(plan.restore(plan.reduce(x))[0], means)
    common = mapped(metric, (4, 4), ToMA(14 / 16, 4, tau, "representative"))
    assert second[common.dst[0]].tolist() == [False, False]


@pytest.mark.parametrize("tau", [1000.0, "hard"])
def test_equal_tokens_stay_as_they_are(tau: float | str) -> None:
    x = torch.full((2, 12 * 7, 3), 0.25)
    plan = mapped(x, (12, 7), ToMA(0.5, 4, tau))
    assert len(set(plan.dst[0].tolist())) == ToMA(0.5, 4).num_kept((12, 7))
    torch.testing.assert_close(plan.restore(plan.reduce(x)), x)
    assert mapped(x, (12, 7), ToMA(0.5, 8)).dst[0].tolist()[:3] == [0, 1, 2]


def clusters(tokens: int, seed: int) -> tuple[Tensor, list[int]]:
    """(tokens, 320) in groups of equal tokens, the groups at right angles; the group of each."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [tokens // 2, tokens // 4, tokens // 8]
    sizes.append(tokens - sum(sizes) - 1)
    group = torch.tensor([g for g, size in enumerate([*sizes, 1]) for _ in range(size)])
    group = group[torch.randperm(tokens, generator=generator)]
    return torch.eye(5, 320)[group] * 3.7, group.tolist()


def expected(group: list[int], count: int, rule: str) -> list[int]:
    """The first token of each group, the larger before, and then the first tokens of all."""
    by_size = sorted(set(group), key=lambda g: (-group.count(g), group.index(g)))
    if rule == "representative":
        return [i for g in by_size for i, own in enumerate(group) if own == g][:count]
    chosen = [group.index(g) for g in by_size][:count]
    return chosen + [i for i in range(len(group)) if i not in chosen][: count - len(chosen)]


@pytest.mark.parametrize("side", [8, 16, 32, 48])
@pytest.mark.parametrize("rule", ["facility", "representative"])
def test_what_is_equal_up_to_rounding_is_equal_in_tiles_of_any_size(side: int, rule: str) -> None:
    """Similarities are wrong by 7e-8 each, in the same direction for all of a token's."""
    tokens = side**2
    metric, group = clusters(tokens, side)
    unit = metric / metric.norm(dim=-1, keepdim=True)
    exact = unit @ unit.T
    count = 4 if rule == "facility" else tokens // 8 + 3
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, (1, tokens), generator=generator) * 2.0 - 1
        rounded = exact + 7e-8 * signs * exact.ceil()
        found = {"facility": facility_location, "representative": representatives}[rule](
            rounded, count
        )
        assert sorted(found.tolist()) == sorted(expected(group, count, rule))


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("rule", ["facility", "representative"])
def test_a_batch_of_another_size_has_the_same_destinations(side: int, rule: str) -> None:
    """Pairs of equal tokens: either of a pair gains the same, so every choice is a tie."""
    generator = torch.Generator().manual_seed(side)
    half = torch.randn(2, side**2 // 2, 64, generator=generator)
    metric = torch.cat([half, half.flip(1)], dim=1)
    operator = ToMA(0.9, side, destinations=rule)
    alone = [mapped(metric[i : i + 1], (side, side), operator).dst[0] for i in range(2)]
    for repeats in (1, 2, 4):
        together = mapped(metric.repeat(repeats, 1, 1), (side, side), operator).dst
        assert all(torch.equal(own, alone[i % 2]) for i, own in enumerate(together))
    # The first of each pair, unless both are destinations.
    for dst in alone:
        pairs = [min(i, side**2 - 1 - i) for i in dst.tolist()]
        assert all(pair in dst.tolist() for pair in pairs)


def test_zero_tokens_make_no_nan() -> None:
    x = torch.randn(2, 64, 4)
    x[0, 5:40] = 0
    for tau in (1000.0, "hard"):
        plan = mapped(x, (8, 8), ToMA(0.5, 4, tau))
        assert plan.restore(plan.reduce(x)).isfinite().all()


def test_it_does_something_and_less_with_a_smaller_ratio() -> None:
    """A map that does nothing, or pools whole tiles, fails here."""
    torch.manual_seed(2)
    x = torch.randn(4, 256, 16)
    errors = []
    for ratio in (0.1, 0.5, 0.9):
        plan = mapped(x, (16, 16), ToMA(ratio))
        errors.append(float((plan.restore(plan.reduce(x)) - x).square().mean()))
    assert 0.01 < errors[0] < errors[1] < errors[2] < float(x.square().mean())


def test_each_setting_changes_the_result() -> None:
    x = torch.randn(1, 256, 16)
    base = mapped(x, (16, 16), ToMA(0.5)).reduce(x)
    others = [ToMA(0.5, 4), ToMA(0.5, tau=20.0), ToMA(0.5, destinations="representative")]
    others += [ToMA(0.5, tau="hard"), ToMA(0.6)]
    for other in others:
        reduced = mapped(x, (16, 16), other).reduce(x)
        assert reduced.shape != base.shape or (reduced - base).abs().max() > 1e-4, other


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_decides_in_single_and_multiplies_in_its_own(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 64, 16).to(dtype)
    plan, wide = (mapped(each, (8, 8), ToMA(0.5, 4)) for each in (x, x.float()))
    assert torch.equal(plan.dst, wide.dst)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = plan.reduce(x)
        restored = plan.restore(reduced)
    assert reduced.dtype == restored.dtype == dtype
    precision = 4 * torch.finfo(dtype).eps
    expected = wide.restore(wide.reduce(x.float()))
    torch.testing.assert_close(restored.float(), expected, rtol=precision, atol=precision)


def test_nothing_is_drawn() -> None:
    metric = torch.randn(2, 64, 4)
    plans = [ToMA(0.5).plan(metric, (8, 8), draw) for draw in (None, RandomKey(5, "x", None))]
    assert torch.equal(plans[0].reduce(metric), plans[1].reduce(metric))


def test_flops_of_a_site_of_sd20() -> None:
    """GFLOPs: tiles of 8x8 cost little, one region more than the 17.8 that ratio 0.5 saves."""
    tiles, region = ToMA(0.5), ToMA(0.5, 64)
    assert tiles.plan_flops((64, 64), 320) == 2 * 4096 * 64 * 320
    assert tiles.apply_flops((64, 64), 320) == 2 * 2 * 2048 * 64 * 320
    assert round(region.plan_flops((64, 64), 320) / 1e9, 1) == 10.7
    assert round(region.apply_flops((64, 64), 320) / 2e9, 1) == 5.4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 1}, r"^ratio=1: allowed: a number from 0 to below 1"),
        ({"ratio": True}, r"^ratio=True: allowed"),
        ({"ratio": 0.5, "tile": 1}, r"^tile=1: allowed: an integer >= 2"),
        ({"ratio": 0.5, "tile": 8.0}, r"^tile=8\.0: allowed"),
        ({"ratio": 0.5, "tau": 0}, r"^tau=0: allowed: a number above 0, or hard"),
        ({"ratio": 0.5, "tau": "soft"}, r"^tau=soft: allowed"),
        ({"ratio": 0.5, "tau": math.nan}, r"^tau=nan: allowed"),
        ({"ratio": 0.5, "destinations": "random"}, r"^destinations=random: allowed: facility, "),
        ({"ratio": 0.5, "one_map_per_stage": 1}, r"^one_map_per_stage=1: allowed: true or false"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ToMA(**settings)
    assert "\n" not in str(caught.value)


def test_a_ratio_that_removes_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"^ratio=0\.2: allowed: 0, or at least 0\.25 = 1/4"):
        ToMA(0.2, 2).plan(torch.randn(1, 64, 4), (8, 8))
    assert ToMA(0.25, 2).num_kept((8, 8)) == 48
