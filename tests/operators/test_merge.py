"""ToMe, L-GTM and cached assignment against slow transcriptions and tomesd."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tomesd.merge import bipartite_soft_matching_random2d

from bigain.errors import UserError
from bigain.operators import (
    LGTM,
    SCORES,
    UNCHANGED,
    BipartiteMerge,
    CachedAssignment,
    Identity,
    MergeReduction,
    RandomKey,
    SiTo,
    ToDo,
    ToMe,
)
from bigain.operators.matching import assign_tokens
from bigain.operators.merge import Choice

MERGES = [ToMe, LGTM]


@dataclass(frozen=True)
class LastOfCell(BipartiteMerge):
    """A merge that differs in the choice of destinations only."""

    def choose(self, metric: torch.Tensor, grid: tuple[int, int], draw: RandomKey) -> Choice:
        del draw
        tokens = torch.arange(grid[0] * grid[1]).view(grid)
        last = tokens[self.cell[0] - 1 :: self.cell[0], self.cell[1] - 1 :: self.cell[1]]
        return Choice(last.reshape(1, -1).expand(len(metric), -1))


@settings(max_examples=40)
@given(
    st.integers(2, 33),
    st.integers(2, 17),
    st.floats(0, 0.75),
    st.sampled_from(MERGES),
    st.integers(0, 999),
)
def test_int_of_n_times_ratio_tokens_are_removed(
    h: int, w: int, ratio: float, kind: type[ToMe] | type[LGTM], seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, h * w, 4)
    removed = min(int(h * w * ratio), h * w - (h // 2) * (w // 2))
    operator = kind(ratio)
    reduced = operator.plan(x, (h, w)).reduce(x)
    assert reduced.shape[1] == operator.num_kept((h, w)) == h * w - removed
    assert operator.plan(x, (h, w)) is UNCHANGED or removed


@pytest.mark.parametrize("kind", MERGES)
def test_the_clamp_leaves_the_destinations_alone(kind: type[ToMe] | type[LGTM]) -> None:
    x = torch.randn(3, 64, 4)
    plan = kind(0.75).plan(x, (8, 8))
    assert isinstance(plan, MergeReduction)
    assert plan.tokens == 16
    places = plan.assignment.gather(1, plan.dst)
    assert torch.equal(places, torch.arange(16).expand(3, -1))


@pytest.mark.parametrize("kind", MERGES)
def test_larger_cells_allow_larger_ratios(kind: type[ToMe] | type[LGTM]) -> None:
    with pytest.raises(UserError, match=r"ratio=0.9: .*0.75"):
        kind(0.9)
    assert kind(0.9, cell=(4, 4)).num_kept((64, 64)) == 4096 - int(4096 * 0.9)


def test_leftover_tokens_are_sources() -> None:
    plan = ToMe(0.5).plan(torch.randn(1, 15, 3), (3, 5))
    assert isinstance(plan, MergeReduction)
    border = {4, 9, 10, 11, 12, 13, 14}
    assert not border & set(plan.dst[0].tolist())


def test_a_cell_that_does_not_fit_is_refused_at_the_first_plan() -> None:
    operator = ToMe(0.5, cell=(4, 4))
    with pytest.raises(UserError, match=r"cell=\[4,4\]: allowed: sides of at most 3 and 8"):
        operator.plan(torch.randn(1, 24, 3), (3, 8))
    with pytest.raises(UserError, match=r"cell=\[4,4\]"):
        operator.num_kept((3, 8))


def test_a_new_choice_of_destinations_is_all_that_a_new_merge_needs() -> None:
    x = torch.randn(2, 36, 4)
    plan = LastOfCell(0.7).plan(x, (6, 6))
    assert isinstance(plan, MergeReduction)
    assert plan.dst[0].tolist() == [7, 9, 11, 19, 21, 23, 31, 33, 35]
    assert plan.reduce(x).shape == (2, 36 - 25, 4)


def test_no_gradient_goes_into_the_decisions() -> None:
    metric = torch.randn(1, 36, 4, requires_grad=True)
    plan = LGTM(0.5).plan(metric, (6, 6))
    assert not plan.reduce(torch.randn(1, 36, 4)).requires_grad
    assert plan.reduce(metric).requires_grad


def a_reduction(batch: int, tokens: int, count: int, removed: int, seed: int = 0) -> MergeReduction:
    torch.manual_seed(seed)
    dst = torch.stack([torch.randperm(tokens)[:count] for _ in range(batch)])
    metric = torch.randn(batch, tokens, 3, dtype=torch.float64)
    return MergeReduction(assign_tokens(metric, dst, removed), tokens - removed, dst)


sizes = st.tuples(
    st.integers(1, 4), st.integers(4, 30), st.integers(0, 10), st.integers(0, 999)
).map(lambda s: (s[0], s[1], max(1, s[1] // 4), min(s[2], s[1] - max(1, s[1] // 4)), s[3]))


@settings(max_examples=40)
@given(sizes)
def test_reduce_and_restore_are_their_definitions(
    slow: SimpleNamespace, size: tuple[int, int, int, int, int]
) -> None:
    batch, tokens, count, removed, seed = size
    torch.manual_seed(seed)
    metric = torch.randn(batch, tokens, 3, dtype=torch.float64)
    dst = torch.stack([torch.randperm(tokens)[:count] for _ in range(batch)])
    reduction = MergeReduction(assign_tokens(metric, dst, removed), tokens - removed, dst)
    x = torch.randn(batch, tokens, 5, dtype=torch.float64)
    reduced = reduction.reduce(x)
    y = torch.randn_like(reduced)
    restored = reduction.restore(y)
    for b in range(batch):
        expected = slow.merge(metric[b].numpy(), dst[b].tolist(), removed)
        np.testing.assert_allclose(reduced[b], expected.reduce(x[b].numpy()), rtol=1e-12)
        np.testing.assert_array_equal(restored[b], expected.restore(y[b].numpy()))


@settings(max_examples=25)
@given(sizes)
def test_merging_is_a_convex_combination_and_keeps_the_sum(
    size: tuple[int, int, int, int, int],
) -> None:
    reduction = a_reduction(*size)
    x = torch.randn(size[0], size[1], 4, dtype=torch.float64)
    reduced = reduction.reduce(x)
    assert reduced.max() <= x.max() + 1e-12
    assert reduced.min() >= x.min() - 1e-12
    total = (reduced * reduction.counts[..., None]).sum(dim=1)
    torch.testing.assert_close(total, x.sum(dim=1))


def test_a_plan_of_one_sample_serves_any_batch() -> None:
    reduction = a_reduction(1, 16, 4, 8)
    x = torch.randn(5, 16, 3)
    together = reduction.reduce(x)
    assert together.shape == (5, 8, 3)
    assert repr(reduction) == "MergeReduction(16 -> 8 tokens)"
    for b in range(5):
        assert torch.equal(reduction.reduce(x[b : b + 1])[0], together[b])
        assert torch.equal(
            reduction.restore(together[b : b + 1])[0], reduction.restore(together)[b]
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    tokens = 3000
    assignment = torch.zeros(1, tokens, dtype=torch.int64)
    reduction = MergeReduction(assignment, 1, torch.zeros(1, 1, dtype=torch.int64))
    reduced = reduction.reduce(torch.full((1, tokens, 2), 0.7).to(dtype))
    assert reduced.dtype == dtype
    assert torch.equal(reduced, torch.full((1, 1, 2), 0.7).to(dtype))


def test_non_contiguous_input_is_fine() -> None:
    reduction = a_reduction(2, 16, 4, 8)
    x = torch.randn(2, 5, 16).transpose(1, 2)
    assert torch.equal(reduction.reduce(x), reduction.reduce(x.contiguous()))


def test_gradients_flow_through_both_directions() -> None:
    reduction = a_reduction(1, 8, 2, 4)
    x = torch.randn(1, 8, 3, requires_grad=True, dtype=torch.float64)
    reduction.restore(reduction.reduce(x)).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.ones_like(x))


SHAPES = [(16, 16, 48), (8, 12, 32), (13, 9, 16), (32, 32, 64), (5, 5, 8), (33, 17, 32)]
CASES = [(*shape, ratio) for shape in SHAPES for ratio in (0.1, 0.5, 0.7, 0.75)]
CASES += [(64, 64, 32, 0.7)]


@pytest.mark.parametrize(("h", "w", "channels", "ratio"), CASES)
def test_without_randomness_it_equals_tomesd(h: int, w: int, channels: int, ratio: float) -> None:
    torch.manual_seed(h * w)
    metric, x = torch.randn(2, 3, h * w, channels).unbind(0)
    removed = int(h * w * ratio)
    merge, unmerge = bipartite_soft_matching_random2d(metric, w, h, 2, 2, removed, no_rand=True)
    plan = ToMe(ratio, random=False).plan(metric, (h, w))
    ours, theirs = plan.reduce(x), merge(x)
    assert ours.shape == theirs.shape
    # Same merged sets: the orders of the kept tokens differ, the restored maps must not.
    labels = torch.arange(float(theirs.shape[1]))[None, :, None].expand(3, -1, 1)
    their_assignment = unmerge(labels.contiguous()).squeeze(-1).long()
    assert isinstance(plan, MergeReduction)
    for mine, other in zip(plan.assignment.tolist(), their_assignment.tolist(), strict=True):
        pairs = set(zip(mine, other, strict=True))
        assert len(pairs) == len(set(mine)) == len(set(other))
    torch.testing.assert_close(plan.restore(ours), unmerge(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("random", "ratio"), [(True, 0.2), (True, 0.7), (False, 0.7)])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_it_is_its_definition(
    slow: SimpleNamespace,
    grid: tuple[int, int],
    ratio: float,
    random: bool,
    dtype: torch.dtype,
    close: float,
) -> None:
    torch.manual_seed(grid[1])
    metric, x = torch.randn(2, 3, grid[0] * grid[1], 6, dtype=dtype).unbind()
    draw = RandomKey(4, "site", torch.tensor([10, 20, 30]))
    plan = ToMe(ratio, random=random).plan(metric, grid, draw)
    cells = slow.cells(*grid, 2, 2)
    positions = draw.integers(len(cells), 4, metric).tolist()
    reduced = plan.reduce(x)
    for b in range(3):
        dst = [
            cell[position if random else 0]
            for cell, position in zip(cells, positions[b], strict=True)
        ]
        expected = slow.merge(metric[b].double().numpy(), dst, int(len(metric[b]) * ratio))
        merged = expected.reduce(x[b].double().numpy())
        np.testing.assert_allclose(reduced[b], merged, close, close)
        np.testing.assert_allclose(plan.restore(reduced)[b], expected.restore(merged), close, close)


def assignment(metric: torch.Tensor, draw: RandomKey | None) -> torch.Tensor:
    plan = ToMe(0.6).plan(metric, (8, 8), draw)
    assert isinstance(plan, MergeReduction)
    return plan.dst


def test_all_classes_of_an_image_share_their_destinations() -> None:
    draw = RandomKey(0, "s", torch.tensor([125] * 10))
    chosen = assignment(torch.randn(10, 64, 4), draw)
    assert (chosen == chosen[:1]).all()


def test_destinations_follow_the_draw_and_nothing_else() -> None:
    alone = assignment(torch.randn(1, 64, 4), RandomKey(0, "s", torch.tensor([125])))
    odd = assignment(torch.randn(3, 64, 4), RandomKey(0, "s", torch.tensor([5, 125, 999])))
    assert torch.equal(alone[0], odd[1])
    for other in (RandomKey(1, "s", torch.tensor(125)), RandomKey(0, "r", torch.tensor(125)), None):
        assert not torch.equal(alone, assignment(torch.randn(1, 64, 4), other))


def test_random_is_a_switch() -> None:
    with pytest.raises(UserError, match=r"^random=1: allowed: true or false"):
        ToMe(0.5, random=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("ratio", "cell"), [(0.2, (2, 2)), (0.6, (3, 2)), (0.9, (4, 4))])
def test_it_is_its_definition_of_lgtm(
    slow: SimpleNamespace,
    grid: tuple[int, int],
    ratio: float,
    cell: tuple[int, int],
    dtype: torch.dtype,
) -> None:
    check(slow, LGTM(ratio, cell), grid, dtype)


@pytest.mark.parametrize("score", list(SCORES))
@pytest.mark.parametrize("small", [(7, 5)], ids=str)
def test_it_is_its_definition_with_every_score(
    slow: SimpleNamespace, small: tuple[int, int], score: str
) -> None:
    check(slow, LGTM(0.6, score=score), small, torch.float64)


def check(slow: SimpleNamespace, operator: LGTM, grid: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(grid[0])
    metric, x = torch.randn(2, 2, grid[0] * grid[1], 6, dtype=dtype).unbind()
    plan = operator.plan(metric, grid)
    reduced = plan.reduce(x)
    cells = slow.cells(*grid, *operator.cell)
    removed = int(len(metric[0]) * operator.ratio)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    for b in range(2):
        scores = slow.score(operator.score, metric[b].double().numpy(), *grid, operator.padding)
        if operator.destinations == "eq7":
            dst = slow.lowest_of_each_cell(scores, cells)
        else:
            dst = slow.as_released(scores, *grid, *operator.cell)
        protected = slow.order_of(scores, -1)[: int(len(scores) * operator.protect_ratio)]
        expected = slow.merge(metric[b].double().numpy(), dst, removed, protected)
        merged = expected.reduce(x[b].double().numpy())
        np.testing.assert_allclose(reduced[b], merged, tolerance, tolerance)
        np.testing.assert_allclose(
            plan.restore(reduced)[b], expected.restore(merged), tolerance, tolerance
        )


@pytest.mark.parametrize("kind", [LGTM, CachedAssignment])
@pytest.mark.parametrize(
    ("ratio", "cell", "settings"),
    [
        (0.6, (2, 2), {"destinations": "as_released"}),
        (0.6, (3, 2), {"destinations": "as_released", "score": "l1_norm"}),
        (0.5, (2, 2), {"protect_ratio": 0.25}),
        (0.2, (2, 2), {"protect_ratio": 0.4, "destinations": "as_released"}),
        (0.6, (2, 2), {"padding": "replicate"}),
        (0.5, (3, 2), {"padding": "replicate", "score": "laplacian_l2", "protect_ratio": 0.1}),
    ],
    ids=str,
)
def test_it_is_its_definition_with_further_settings(
    slow: SimpleNamespace,
    grid: tuple[int, int],
    kind: type[LGTM],
    ratio: float,
    cell: tuple[int, int],
    settings: dict[str, Any],
) -> None:
    check(slow, kind(ratio, cell, **settings), grid, torch.float64)


def test_protected_tokens_keep_their_own_output() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 256, 8)
    scores = SCORES["laplacian_l1"](x, (16, 16))
    top = scores.argsort(dim=-1, descending=True)[:, :64]
    merged = {}
    for protect_ratio in (0.0, 0.25):
        plan = LGTM(0.5, protect_ratio=protect_ratio).plan(x, (16, 16))
        assert isinstance(plan, MergeReduction)
        assert plan.tokens == 128
        alone = ~(plan.assignment[:, :, None] == plan.assignment[:, None]).sum(-1).gt(1)
        is_dst = torch.zeros_like(alone).scatter_(1, plan.dst, value=True)
        merged[protect_ratio] = int((~alone & ~is_dst).gather(1, top).sum())
    assert merged[0.0] > 0
    assert merged[0.25] == 0


def test_what_is_protected_leaves_room_for_what_is_merged() -> None:
    assert LGTM(0.65, protect_ratio=0.1).num_kept((16, 16)) == 256 - int(256 * 0.65)
    for ratio, cell, protected, top in (
        (0.7, (2, 2), 0.1, "0.05 = 1 - 1/4 - ratio, with ratio=0.7 and cell=2x2"),
        (0.75, (2, 2), 0.01, "0 to 0 "),
        (0.7, (4, 4), 0.24, "0 to 0.2375 "),
        (0.5, (2, 2), -0.1, "0 to 0.25 "),
        (0.5, (2, 2), True, "0 to 0.25 "),
    ):
        with pytest.raises(UserError) as caught:
            LGTM(ratio, cell, protect_ratio=protected)
        assert str(caught.value).startswith(f"protect_ratio={protected}: allowed: a number")
        assert top in str(caught.value)
    with pytest.raises(UserError, match=r"^destinations=released: allowed: eq7, as_released"):
        LGTM(0.5, destinations="released")


def test_single_precision_decides_as_double() -> None:
    torch.manual_seed(3)
    metric = torch.randn(4, 256, 48)
    single, double = (LGTM(0.7).plan(m, (16, 16)) for m in (metric, metric.double()))
    assert isinstance(single, MergeReduction)
    assert isinstance(double, MergeReduction)
    assert torch.equal(single.assignment, double.assignment)


def test_an_edge_is_never_a_destination() -> None:
    image = torch.zeros(1, 8, 8, 3)
    image[:, 3:5, 3:5] = 1.0
    image[:, 3, 3] = 5.0
    plan = LGTM(0.5).plan(image.flatten(1, 2), (8, 8))
    assert isinstance(plan, MergeReduction)
    assert 3 * 8 + 3 not in plan.dst[0].tolist()


def test_a_flat_image_takes_the_first_token_of_inner_cells() -> None:
    plan = LGTM(0.5).plan(torch.full((1, 64, 5), 0.37), (8, 8))
    assert isinstance(plan, MergeReduction)
    inner = [plan.dst[0].tolist()[cell] for cell in (5, 6, 9, 10)]
    assert inner == [18, 20, 34, 36]


def test_the_score_is_checked_at_once() -> None:
    with pytest.raises(UserError, match=r"^score=sobel: allowed.*laplacian_l1"):
        LGTM(0.5, score="sobel")


@pytest.mark.parametrize("cell", [(2, 2), (3, 2)])
def test_the_map_of_one_site_merges_the_tensor_of_another(
    slow: SimpleNamespace, grid: tuple[int, int], cell: tuple[int, int]
) -> None:
    first, second = torch.randn(2, 2, grid[0] * grid[1], 6, dtype=torch.float64).unbind()
    plan = CachedAssignment(0.6, cell).plan(first, grid)
    reduced = plan.reduce(second)
    for b in range(2):
        scores = slow.score("laplacian_l1", first[b].numpy(), *grid)
        dst = slow.lowest_of_each_cell(scores, slow.cells(*grid, *cell))
        expected = slow.merge(first[b].numpy(), dst, int(len(first[b]) * 0.6))
        merged = expected.reduce(second[b].numpy())
        np.testing.assert_allclose(reduced[b], merged, rtol=1e-11)
        np.testing.assert_allclose(plan.restore(reduced)[b], expected.restore(merged), rtol=1e-11)


@pytest.mark.parametrize("score", ["laplacian_l1", "cosine_neighbors"])
def test_its_map_is_that_of_lgtm(score: str) -> None:
    x = torch.randn(2, 63, 8)
    ours, theirs = (kind(0.6, score=score).plan(x, (9, 7)) for kind in (CachedAssignment, LGTM))
    assert torch.equal(ours.reduce(x), theirs.reduce(x))
    assert CachedAssignment(0.6).num_kept((9, 7)) == LGTM(0.6).num_kept((9, 7))
    assert CachedAssignment(0.6).plan_flops((9, 7), 8) == LGTM(0.6).plan_flops((9, 7), 8)


def test_it_alone_is_shared_in_a_stage() -> None:
    assert CachedAssignment(0.6).shared_in_stage
    assert CachedAssignment(0.6) != LGTM(0.6)
    others = [Identity(), LGTM(0.6), ToMe(0.6), SiTo(0.6), ToDo(2)]
    assert not any(operator.shared_in_stage for operator in others)


def test_draws_per_forward_are_one_map_for_the_batch_and_top_left_for_odd_ones() -> None:
    """As the released code draws; the destinations of paired draws differ by timestep."""
    x, times = torch.randn(4, 64, 6), torch.tensor([5, 125, 500, 999])
    paired, released = ToMe(0.6), ToMe(0.6, draws="per_forward")
    dst = {
        operator: operator.choose(x, (8, 8), RandomKey(0, "s", times, (x,))).dst
        for operator in (paired, released)
    }
    assert (dst[released] == dst[released][:1]).all()
    assert not (dst[paired] == dst[paired][:1]).all()
    again = released.choose(x, (8, 8), RandomKey(0, "s", times, (x + 1,))).dst
    assert not torch.equal(again, dst[released])
    odd = released.choose(x[:3], (8, 8), RandomKey(0, "s", times[:3], (x[:3],))).dst
    assert torch.equal(odd, ToMe(0.6, random=False).choose(x[:3], (8, 8), RandomKey()).dst)


def test_draws_per_forward_need_something_to_draw() -> None:
    for make in (
        lambda: ToMe(0.5, random=False, draws="per_forward"),
        lambda: SiTo(0.5, noise_alpha=0, draws="per_forward"),
    ):
        with pytest.raises(UserError, match=r"^draws=per_forward: allowed: paired; with "):
            make()
    with pytest.raises(UserError, match=r"^draws=each: allowed: paired, per_sample, per_forward"):
        ToMe(0.5, draws="each")
