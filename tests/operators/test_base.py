"""What all operators promise, reductions that change nothing, and hybrids."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import bigain.operators
from bigain.errors import UserError
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    UNCHANGED,
    AvgPool,
    ByStage,
    CachedAssignment,
    Compression,
    Identity,
    KVSelect,
    LinearAlpha,
    Operator,
    RandomKey,
    Reduction,
    SiTo,
    ToDo,
    ToMA,
    ToMe,
)
from bigain.operators.base import Unchanged

MERGES: list[Operator] = [
    ToMe(0.6),
    ToMe(0.7, (4, 4)),
    LGTM(0.6),
    LGTM(0.75, score="cosine_neighbors"),
    LGTM(0.5, destinations="as_released", protect_ratio=0.2),
    LGTM(0.6, padding="replicate"),
    LGTM(0.6, destinations="representative"),
    CachedAssignment(0.6),
    ABM(0.6),
    ABM(0.4, (3, 2), aggregate="mean"),
    SiTo(0.6),
    SiTo(0.75, noise_alpha=0.0),
]
KEYS: list[Operator] = [
    ToDo(2),
    AvgPool(2),
    IEKVD(2, 0.9),
    IEKVD(3, 0.3, "window"),
    KVSelect(),
    KVSelect(0.4, "high_frequency"),
]
TIMED: list[Operator] = [IEKVD(2, LinearAlpha(0.8, 1.2)), ToDo(2, skip_final_step=True)]
MAPS: list[Operator] = [ToMA(0.5), ToMA(0.6, 3, "hard"), ToMA(0.5, 4, 30.0, "representative")]
"""Their reductions are products with matrices of single precision."""
ALL: list[Operator] = [Identity(), *MERGES, *KEYS]
EVERY: list[Operator] = [*ALL, *MAPS, ToMe(0.6, average="mlerp")]
NOTHING_TO_DO: list[Operator] = [
    Identity(),
    *(ToMe(0), LGTM(0.0), CachedAssignment(0), ABM(0), SiTo(0)),
    *(ToMe(0.02), LGTM(0.02), CachedAssignment(0.02), ABM(0.02), SiTo(0.02)),
    *(ToDo(1), AvgPool(1), IEKVD(1, 0.5), IEKVD(1, LinearAlpha(0.8, 1.2))),
    KVSelect(0.0),
    KVSelect(0, "high_frequency"),
]
SHOWN = {
    ToMe(0.7): "ToMe(ratio=0.7, cell=(2, 2), average='mean', random=True, draws='paired')",
    LGTM(0.5): "LGTM(ratio=0.5, cell=(2, 2), average='mean', score='laplacian_l1', "
    "destinations='eq7', protect_ratio=0.0, padding='zero')",
    CachedAssignment(
        0.5
    ): "CachedAssignment(ratio=0.5, cell=(2, 2), average='mean', score='laplacian_l1', "
    "destinations='eq7', protect_ratio=0.0, padding='zero')",
    ABM(0.5): "ABM(ratio=0.5, cell=(2, 2), score='laplacian_l1', aggregate='max', padding='zero')",
    SiTo(0.5): "SiTo(ratio=0.5, cell=(2, 2), sim_beta=1.0, noise_alpha=0.1, draws='paired')",
    ToDo(2): "ToDo(factor=2, skip_final_step=False)",
    IEKVD(2, LinearAlpha(0.8, 1.2)): "IEKVD(factor=2, skip_final_step=False, "
    "alpha=LinearAlpha(start=0.8, end=1.2), align='reference')",
    ToMA(0.5): "ToMA(ratio=0.5, tile=8, tau=1000.0, destinations='facility', "
    "one_map_per_stage=False)",
    KVSelect(): "KVSelect(sparsity=0.75, strategy='low_frequency', score='laplacian_l1', "
    "padding='zero')",
}
SIZES = [(4, 4), (5, 7), (8, 6), (13, 11), (17, 33)]


def weights_of(plan: Reduction, batch: int, tokens: int) -> Tensor:
    """(B, N', N): how much of each token is in each place; a reduction is a linear map."""
    return plan.reduce(torch.eye(tokens, dtype=torch.float64).expand(batch, -1, -1))


def assignment_of(plan: Reduction, batch: int, kept: int) -> Tensor:
    """(B, N): the place that each token's output comes from."""
    places = torch.arange(kept, dtype=torch.float64)[None, :, None].expand(batch, -1, -1)
    return plan.restore(places.contiguous()).squeeze(-1).long()


cases = given(
    st.integers(4, 33).flatmap(lambda h: st.tuples(st.just(h), st.integers(4, 17))),
    st.integers(0, 9999),
)


@pytest.mark.parametrize("operator", ALL, ids=repr)
@settings(max_examples=5)
@cases
def test_every_place_is_a_convex_mean_of_tokens(
    operator: Operator, grid: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    tokens = grid[0] * grid[1]
    x = torch.randn(2, tokens, 5)
    plan = operator.plan(x, grid)
    reduced, weights = plan.reduce(x), weights_of(plan, 2, tokens)
    assert reduced.shape == (2, operator.num_kept(grid), 5)
    assert weights.shape == (2, operator.num_kept(grid), tokens)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]).double())
    torch.testing.assert_close(reduced.double(), weights @ x.double(), rtol=1e-5, atol=1e-6)
    assert (reduced <= x.amax(dim=1, keepdim=True) + 1e-6).all()
    assert (reduced >= x.amin(dim=1, keepdim=True) - 1e-6).all()


@pytest.mark.parametrize("operator", MERGES, ids=repr)
@settings(max_examples=5)
@cases
def test_every_token_is_owned_once_and_what_is_alone_comes_back_to_the_bit(
    operator: Operator, grid: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    tokens, kept = grid[0] * grid[1], operator.num_kept(grid)
    x = torch.randn(2, tokens, 5)
    plan = operator.plan(x, grid)
    assignment, weights = assignment_of(plan, 2, kept), weights_of(plan, 2, tokens)
    restored = plan.restore(plan.reduce(x))
    for sample in range(2):
        assert set(assignment[sample].tolist()) == set(range(kept))
        single = (weights[sample] == 1).nonzero()
        places, alone = single.unbind(dim=1)
        assert torch.equal(assignment[sample, alone], places)
        assert torch.equal(restored[sample, alone], x[sample, alone])
        assert len(alone) >= kept - len(slow_cells(operator, grid))
    assert (restored <= x.amax(dim=1, keepdim=True) + 1e-6).all()
    assert (restored >= x.amin(dim=1, keepdim=True) - 1e-6).all()


def slow_cells(operator: Operator, grid: tuple[int, int]) -> range:
    """At most one place per cell holds several tokens."""
    rows, columns = operator.cell  # type: ignore[attr-defined]
    return range((grid[0] // rows) * (grid[1] // columns))


@pytest.mark.parametrize("operator", [*EVERY, *TIMED], ids=repr)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_sample_is_treated_the_same_alone_and_in_a_batch(operator: Operator, batch: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 63, 8)
    times = torch.tensor([3, 999, 3, 40, 500, 1])
    together = operator.plan(x, (9, 7), RandomKey(1, "s", times)).reduce(x)
    for start in range(0, 6, batch):
        part = slice(start, start + batch)
        alone = operator.plan(x[part].clone(), (9, 7), RandomKey(1, "s", times[part])).reduce(
            x[part]
        )
        assert torch.equal(alone, together[part])


@pytest.mark.parametrize("operator", [*EVERY, *TIMED], ids=repr)
@settings(max_examples=4)
@given(st.permutations(range(5)), st.sampled_from(SIZES), st.integers(0, 9999))
def test_permuting_the_batch_permutes_the_result(
    operator: Operator, order: list[int], grid: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    x, times = torch.randn(5, grid[0] * grid[1], 4), torch.tensor([9, 8, 7, 6, 5])
    plan = operator.plan(x, grid, RandomKey(timesteps=times))
    permuted = operator.plan(x[order], grid, RandomKey(timesteps=times[order]))
    straight, other = plan.reduce(x), permuted.reduce(x[order])
    assert torch.equal(other, straight[order])
    assert torch.equal(permuted.restore(other), plan.restore(straight)[order])


@pytest.mark.parametrize("operator", NOTHING_TO_DO, ids=repr)
def test_with_nothing_to_do_the_plan_says_so(operator: Operator) -> None:
    x = torch.randn(2, 36, 4)
    assert operator.plan(x, (6, 6)) is UNCHANGED
    assert operator.num_kept((6, 6)) == 36
    assert operator.plan_flops((6, 6), 4) == 0


DTYPES = [torch.float16, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("operator", ALL, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_precision_is_kept_and_decides_as_its_wide_copy(
    operator: Operator, dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 36, 8).to(dtype)
    plan = operator.plan(x, (6, 6))
    reduced = plan.reduce(x)
    assert reduced.dtype == plan.restore(reduced).dtype == dtype
    wide = x if dtype == torch.float64 else x.float()
    expected = operator.plan(wide, (6, 6)).reduce(wide)
    assert torch.equal(reduced, expected.to(dtype))


@pytest.mark.parametrize("operator", EVERY, ids=repr)
def test_inference_mode_gives_the_same(operator: Operator) -> None:
    x = torch.randn(2, 36, 8)
    expected = operator.plan(x, (6, 6)).reduce(x)
    with torch.inference_mode():
        assert torch.equal(operator.plan(x, (6, 6)).reduce(x), expected)


@pytest.mark.parametrize("operator", EVERY, ids=repr)
def test_a_sample_of_nothing_but_nan_stays_so(operator: Operator) -> None:
    x = torch.randn(2, 64, 8)
    x[0] = float("nan")
    reduced = operator.plan(x, (8, 8)).reduce(x)
    assert reduced[0].isnan().all()
    assert reduced[1].isfinite().all()


@pytest.mark.parametrize("operator", [Identity(), *MERGES, *MAPS], ids=repr)
@settings(max_examples=8)
@given(st.integers(0, 63), st.integers(0, 99))
def test_a_token_that_is_not_a_number_comes_out_as_such(
    operator: Operator, token: int, seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(3, 64, 8)
    x[1, token, 3] = float("nan")
    plan = operator.plan(x, (8, 8))
    restored = plan.restore(plan.reduce(x))
    assert restored[1].isnan().any()
    assert restored[1, token].isnan().any()
    assert restored[[0, 2]].isfinite().all()


@pytest.mark.parametrize("operator", KEYS, ids=repr)
@settings(max_examples=8)
@given(st.integers(0, 63), st.integers(0, 99))
def test_a_query_that_is_not_a_number_comes_out_as_such(
    operator: Operator, token: int, seed: int
) -> None:
    """The token may be among those without keys and values; it is a query in any case."""
    torch.manual_seed(seed)
    x = torch.randn(3, 64, 8)
    x[1, token] = float("nan")
    plan = operator.plan(x, (8, 8))
    reduced = plan.reduce(x)
    output = plan.restore(torch.softmax(x @ reduced.transpose(1, 2), dim=-1) @ reduced)
    assert output[1, token].isnan().all()
    assert output[[0, 2]].isfinite().all()


@pytest.mark.parametrize("operator", EVERY, ids=repr)
def test_the_grid_must_fit_the_tensor(operator: Operator) -> None:
    with pytest.raises(UserError, match="grid=5x7: has 35 tokens, but the tensor has 36"):
        operator.plan(torch.randn(1, 36, 4), (5, 7))


@pytest.mark.parametrize("operator", EVERY, ids=repr)
def test_operators_are_immutable_values(operator: Operator) -> None:
    assert dataclasses.is_dataclass(operator)
    copy = dataclasses.replace(operator)
    assert copy == operator
    assert hash(copy) == hash(operator)
    for setting in dataclasses.fields(operator):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(operator, setting.name, None)


@pytest.mark.parametrize("operator", [*EVERY, TIMED[0]], ids=repr)
@pytest.mark.parametrize(("grid", "channels"), [((9, 7), 48), ((33, 17), 1)], ids=str)
def test_planning_costs_what_torch_counts(
    operator: Operator, grid: tuple[int, int], channels: int
) -> None:
    metric = torch.empty(1, grid[0] * grid[1], channels, device="meta")
    with FlopCounterMode(display=False) as counter:
        plan = operator.plan(metric, grid, RandomKey(timesteps=torch.tensor([5])))
        reduced = plan.reduce(metric)
        plan.restore(reduced)
    closed = operator.plan_flops(grid, channels) + operator.apply_flops(grid, channels)
    assert closed == counter.get_total_flops()
    assert reduced.shape == (1, operator.num_kept(grid), channels)
    assert reduced.device.type == "meta"


def test_everything_exported_exists() -> None:
    assert all(hasattr(bigain.operators, name) for name in bigain.operators.__all__)


def test_unchanged_returns_the_very_tensor() -> None:
    x = torch.randn(2, 6, 3)
    assert UNCHANGED.reduce(x) is x
    assert UNCHANGED.restore(x) is x
    assert isinstance(UNCHANGED, Unchanged)
    assert repr(UNCHANGED) == "Unchanged()"


@pytest.mark.parametrize("part", ["lgtm", LGTM, None, ByStage(Identity(), Identity())])
def test_its_parts_are_operators(part: Operator) -> None:
    with pytest.raises(UserError, match=r"^encoder=.*: must be an operator object") as caught:
        ByStage(part, Identity())
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"^decoder=.*: must be an operator object"):
        ByStage(Identity(), part)


def test_each_stage_has_its_operator() -> None:
    both = ByStage(encoder=LGTM(0.5), decoder=IEKVD(2))
    assert both.for_stage("encoder") is both.encoder
    assert both.for_stage("decoder") is both.decoder
    for stage in ("mid", "transformer", ""):
        assert both.for_stage(stage) is None
    for stage in ("encoder", "mid", "decoder", "transformer"):
        assert both.encoder.for_stage(stage) is both.encoder
    assert isinstance(both, Compression)
    assert not isinstance(both, Operator)
    assert both == ByStage(LGTM(0.5), IEKVD(2)) != ByStage(IEKVD(2), LGTM(0.5))
    assert hash(both) == hash(dataclasses.replace(both))
    assert repr(both) == f"ByStage(encoder={both.encoder!r}, decoder={both.decoder!r})"
    with pytest.raises(dataclasses.FrozenInstanceError):
        both.encoder = ToMe(0.5)  # type: ignore[misc]


@pytest.mark.parametrize(("operator", "shown"), SHOWN.items(), ids=list(SHOWN.values()))
def test_repr_shows_the_settings(operator: Operator, shown: str) -> None:
    assert repr(operator) == shown


@pytest.mark.parametrize("operator", [LGTM(0.6), CachedAssignment(0.6), ABM(0.6)], ids=repr)
def test_merging_by_a_score_ignores_the_draw(operator: Operator) -> None:
    metric = torch.randn(2, 64, 4)
    plans = [operator.plan(metric, (8, 8), draw) for draw in (None, RandomKey(5, "x", None))]
    assert torch.equal(plans[0].reduce(metric), plans[1].reduce(metric))
