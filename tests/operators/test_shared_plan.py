"""One plan for all rows of a group: the mean of their metric tensors decides."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

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
    KeyValueReducer,
    KVSelect,
    MapReduction,
    MergeReduction,
    Operator,
    RandomKey,
    Reduction,
    SelectReduction,
    SharedPlan,
    SiTo,
    ToDo,
    TokenReducer,
    ToMA,
    ToMe,
)
from bigain.operators.recording import Recorder
from bigain.operators.shared_plan import equal_rows

GROUPS = ((0, 3), (1, 2, 5), (4,))
NUMBER = torch.tensor([0, 1, 1, 0, 2, 1])
TIMES = torch.tensor([5, 700, 40])[NUMBER]
OPERATORS: list[Operator] = [
    *(ToMe(0.6), ToMe(0.6, random=False), LGTM(0.6), LGTM(0.5, padding="replicate")),
    *(CachedAssignment(0.6), ABM(0.4), SiTo(0.6), SiTo(0.6, noise_alpha=0.0), KVSelect(0.6)),
    *(KVSelect(0.3, "high_frequency"), ToMe(0.6, draws="per_sample")),
    *(ToMA(0.5, 3), ToMA(0.5, 4, "hard")),
]


def of(operator: Compression) -> Operator:
    acting = operator.for_stage("encoder")
    assert acting is not None
    return acting


def key() -> RandomKey:
    latents = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))[NUMBER]
    return RandomKey(3, "site", TIMES, sample=latents, groups=GROUPS)


def parts(plan: Reduction) -> list[Tensor]:
    if isinstance(plan, MergeReduction):
        return [plan.assignment, plan.dst]
    if isinstance(plan, MapReduction):
        return [each for part in plan.tiles for each in (part.dst, part.weights)]
    assert isinstance(plan, SelectReduction)
    return [plan.kept] if plan.assignment is None else [plan.kept, plan.assignment]


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_the_plan_of_a_group_is_that_of_its_mean(operator: Operator, grid: tuple[int, int]) -> None:
    """Loop over the groups; each is planned alone, so nothing else in the batch matters."""
    torch.manual_seed(grid[0])
    metric = torch.randn(6, grid[0] * grid[1], 6, dtype=torch.float64)
    found, draw = of(SharedPlan(operator)).plan(metric, grid, key()), key()
    assert draw.sample is not None
    for rows in GROUPS:
        mean = sum((metric[row] for row in rows), torch.zeros(())) / len(rows)
        first = slice(rows[0], rows[0] + 1)
        own = RandomKey(3, "site", TIMES[first], sample=draw.sample[first])
        expected = operator.plan(mean[None], grid, own)
        for row in rows:
            for a, b in zip(parts(found), parts(expected), strict=True):
                torch.testing.assert_close(a[row], b[0])
    x = torch.randn(6, grid[0] * grid[1], 3, dtype=torch.float64)
    assert found.reduce(x).shape == (6, operator.num_kept(grid), 3)
    each = operator.plan(metric, grid, RandomKey(3, "site", TIMES, sample=draw.sample))
    assert not all(map(torch.equal, parts(found), parts(each)))


def test_a_merge_by_the_mean_is_its_definition(
    slow: SimpleNamespace, grid: tuple[int, int]
) -> None:
    torch.manual_seed(grid[1])
    metric, x = torch.randn(2, 6, grid[0] * grid[1], 6, dtype=torch.float64).unbind()
    plan = of(SharedPlan(LGTM(0.6))).plan(metric, grid, key())
    reduced = plan.reduce(x)
    for rows in GROUPS:
        mean = np.mean([metric[row].numpy() for row in rows], axis=0)
        scores = slow.score("laplacian_l1", mean, *grid)
        dst = slow.lowest_of_each_cell(scores, slow.cells(*grid, 2, 2))
        expected = slow.merge(mean, dst, int(len(mean) * 0.6), [])
        for row in rows:
            merged = expected.reduce(x[row].numpy())
            np.testing.assert_allclose(reduced[row], merged, 1e-11, 1e-11)
            restored = plan.restore(reduced)[row]
            np.testing.assert_allclose(restored, expected.restore(merged), 1e-11, 1e-11)


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_equal_rows_have_the_plan_that_each_has_alone(
    operator: Operator, dtype: torch.dtype
) -> None:
    metric = torch.randn(3, 64, 6).to(dtype)[NUMBER]
    shared = of(SharedPlan(operator)).plan(metric, (8, 8), key())
    each = operator.plan(metric, (8, 8), key())
    assert all(map(torch.equal, parts(shared), parts(each)))


def test_a_group_has_the_same_bits_in_any_batch() -> None:
    metric = torch.randn(6, 64, 48)
    whole = of(SharedPlan(LGTM(0.6))).plan(metric, (8, 8), key())
    for rows in GROUPS:
        alone = RandomKey(3, "site", TIMES[list(rows)], groups=(tuple(range(len(rows))),))
        own = of(SharedPlan(LGTM(0.6))).plan(metric[list(rows)], (8, 8), alone)
        for a, b in zip(parts(whole), parts(own), strict=True):
            assert torch.equal(a[list(rows)], b)


def test_without_groups_each_row_has_its_own_plan() -> None:
    metric = torch.randn(3, 64, 6)
    for draw in (None, RandomKey()):
        shared = of(SharedPlan(LGTM(0.6))).plan(metric, (8, 8), draw)
        assert all(map(torch.equal, parts(shared), parts(LGTM(0.6).plan(metric, (8, 8)))))
    none = of(SharedPlan(LGTM(0.0))).plan(metric[NUMBER], (8, 8), key())
    assert none is UNCHANGED


def test_the_kind_and_the_settings_of_the_operator_stay() -> None:
    shared = SharedPlan(ByStage(LGTM(0.7), IEKVD(2)))
    encoder, decoder = (shared.for_stage(stage) for stage in ("encoder", "decoder"))
    assert isinstance(encoder, TokenReducer)
    assert encoder.planner == LGTM(0.7)
    assert encoder.plans_for_groups
    assert (decoder, shared.for_stage("mid")) == (IEKVD(2), None)
    keys = of(SharedPlan(KVSelect()))
    assert isinstance(keys, KeyValueReducer)
    assert keys.num_kept((8, 8)) == KVSelect().num_kept((8, 8))
    assert keys.plan_flops((8, 8), 4) == KVSelect().plan_flops((8, 8), 4)
    assert of(SharedPlan(CachedAssignment(0.5))).shared_in_stage
    recorded = of(Recorder(SharedPlan(CachedAssignment(0.5))))
    assert recorded.plans_for_groups
    assert recorded.shared_in_stage
    assert not of(Recorder(LGTM(0.5))).plans_for_groups
    assert SharedPlan(LGTM(0.5)) == SharedPlan(LGTM(0.5)) != SharedPlan(LGTM(0.6))


@pytest.mark.parametrize(
    "operator", [Identity(), ToDo(2), AvgPool(2), IEKVD(2, 0.9), ByStage(ToDo(2), AvgPool(2))]
)
def test_an_operator_that_does_not_look_at_tokens_is_refused(operator: Compression) -> None:
    with pytest.raises(UserError, match=r"^plan=shared: allowed: each_class, because .* anyway$"):
        SharedPlan(operator)


@pytest.mark.parametrize("kind", [ToMe, SiTo])
def test_draws_per_forward_are_refused(kind: type[ToMe | SiTo]) -> None:
    with pytest.raises(UserError, match=r"^plan=shared: allowed: each_class, because .*per_forw"):
        SharedPlan(kind(0.5, draws="per_forward"))


class Halves(Reduction):
    """Somebody's own plan."""

    def reduce(self, x: Tensor) -> Tensor:
        return x[:, ::2]

    def restore(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(2, dim=1)


@dataclass(frozen=True)
class Own(TokenReducer):
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        del metric, grid, draw
        return Halves()

    def num_kept(self, grid: tuple[int, int]) -> int:
        return grid[0] * grid[1] // 2


def test_a_plan_of_ones_own_must_say_what_a_row_of_it_is() -> None:
    with pytest.raises(UserError, match=r"^plan=shared: Halves has no method for_rows; allowed"):
        of(SharedPlan(Own())).plan(torch.randn(6, 64, 2), (8, 8), key())


def test_equal_rows_are_found_wherever_they_are() -> None:
    latents = torch.randn(3, 2, 4, 4)[NUMBER]
    assert equal_rows(latents, TIMES) == GROUPS
    assert equal_rows(latents, torch.tensor(5)) == GROUPS
    assert equal_rows(latents, torch.tensor([5.5])) == GROUPS
    assert equal_rows(latents.bfloat16().to(memory_format=torch.channels_last), TIMES) == GROUPS
    assert equal_rows(latents, torch.arange(6)) == tuple((row,) for row in range(6))
    other = latents.clone()
    other[5, 1, 3, 3] = torch.nextafter(other[5, 1, 3, 3], torch.tensor(9.0))
    assert equal_rows(other, TIMES) == ((0, 3), (1, 2), (4,), (5,))
    for few in (latents[:1], latents[:2].to("meta")):
        assert equal_rows(few, TIMES) == tuple((row,) for row in range(len(few)))
