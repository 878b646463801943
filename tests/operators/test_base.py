import dataclasses

import pytest
import torch

import bigain.operators
from bigain.errors import UserError
from bigain.operators import (
    IEKVD,
    LGTM,
    UNCHANGED,
    AvgPool,
    Draw,
    Identity,
    KeyValueReducer,
    Operator,
    ToDo,
    TokenReducer,
    ToMe,
)

ALL: list[Operator] = [Identity(), ToMe(0.6), LGTM(0.6), ToDo(2), AvgPool(2), IEKVD(2, 0.9)]
NOTHING_TO_DO: list[Operator] = [
    Identity(),
    ToMe(0),
    LGTM(0.0),
    ToMe(0.02),
    ToDo(1),
    AvgPool(1),
    IEKVD(1, 0.5),
]


@pytest.mark.parametrize("operator", ALL, ids=repr)
@pytest.mark.parametrize("grid", [(4, 4), (6, 7), (13, 9)], ids=str)
def test_the_reduced_length_is_what_kept_promises(
    operator: Operator, grid: tuple[int, int]
) -> None:
    x = torch.randn(2, grid[0] * grid[1], 5)
    assert operator.plan(x, grid).reduce(x).shape == (2, operator.kept(grid), 5)


@pytest.mark.parametrize("operator", ALL, ids=repr)
def test_restored_length_is_that_of_the_attention_output(operator: Operator) -> None:
    x = torch.randn(2, 36, 5)
    plan = operator.plan(x, (6, 6))
    output = x if isinstance(operator, KeyValueReducer) else plan.reduce(x)
    assert plan.restore(output).shape == x.shape


@pytest.mark.parametrize("operator", ALL, ids=repr)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_sample_is_treated_the_same_alone_and_in_a_batch(operator: Operator, batch: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 63, 8)
    times = torch.tensor([3, 999, 3, 40, 500, 0])
    together = operator.plan(x, (9, 7), Draw(1, "s", times)).reduce(x)
    for start in range(0, 6, batch):
        part = slice(start, start + batch)
        alone = operator.plan(x[part].clone(), (9, 7), Draw(1, "s", times[part])).reduce(x[part])
        assert torch.equal(alone, together[part])


@pytest.mark.parametrize("operator", ALL, ids=repr)
def test_permuting_the_batch_permutes_the_result(operator: Operator) -> None:
    x, times = torch.randn(5, 30, 4), torch.tensor([9, 8, 7, 6, 5])
    order = torch.tensor([3, 0, 4, 1, 2])
    straight = operator.plan(x, (5, 6), Draw(timesteps=times)).reduce(x)
    permuted = operator.plan(x[order], (5, 6), Draw(timesteps=times[order])).reduce(x[order])
    assert torch.equal(permuted, straight[order])


@pytest.mark.parametrize("operator", NOTHING_TO_DO, ids=repr)
def test_with_nothing_to_do_the_plan_says_so(operator: Operator) -> None:
    x = torch.randn(2, 36, 4)
    assert operator.plan(x, (6, 6)) is UNCHANGED
    assert operator.kept((6, 6)) == 36


@pytest.mark.parametrize("operator", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_kept(operator: Operator, dtype: torch.dtype) -> None:
    x = torch.randn(2, 36, 8).to(dtype)
    plan = operator.plan(x, (6, 6))
    assert plan.restore(plan.reduce(x)).dtype == dtype


@pytest.mark.parametrize("operator", ALL, ids=repr)
def test_inference_mode_gives_the_same(operator: Operator) -> None:
    x = torch.randn(2, 36, 8)
    expected = operator.plan(x, (6, 6)).reduce(x)
    with torch.inference_mode():
        assert torch.equal(operator.plan(x, (6, 6)).reduce(x), expected)


@pytest.mark.parametrize("operator", ALL, ids=repr)
def test_not_a_number_comes_out_as_such(operator: Operator) -> None:
    x = torch.randn(2, 36, 8)
    x[0] = float("nan")
    reduced = operator.plan(x, (6, 6)).reduce(x)
    assert reduced[0].isnan().all()
    assert reduced[1].isfinite().all()


@pytest.mark.parametrize("operator", ALL, ids=repr)
def test_the_grid_must_fit_the_tensor(operator: Operator) -> None:
    with pytest.raises(UserError, match="grid=5x7: has 35 tokens, but the tensor has 36"):
        operator.plan(torch.randn(1, 36, 4), (5, 7))


@pytest.mark.parametrize("operator", ALL, ids=repr)
def test_operators_are_immutable_values(operator: Operator) -> None:
    assert dataclasses.is_dataclass(operator)
    copy = dataclasses.replace(operator)
    assert copy == operator
    assert hash(copy) == hash(operator)
    for setting in dataclasses.fields(operator):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(operator, setting.name, None)


def test_kinds() -> None:
    assert all(isinstance(operator, TokenReducer) for operator in ALL[:3])
    assert all(isinstance(operator, KeyValueReducer) for operator in ALL[3:])


def test_everything_exported_exists() -> None:
    assert all(hasattr(bigain.operators, name) for name in bigain.operators.__all__)
