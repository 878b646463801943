from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.operators import UNCHANGED, KVSelect, SelectReduction
from bigain.operators.selection import STRATEGIES


@pytest.mark.parametrize(
    "operator",
    [
        *(KVSelect(sparsity, strategy) for sparsity in (0.75, 0.3) for strategy in STRATEGIES),
        *(KVSelect(0.6, STRATEGIES[1], score) for score in ("l1_norm", "cosine_neighbors")),
        KVSelect(0.7, score="laplacian_l2", padding="replicate"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_it_is_its_definition(
    slow: SimpleNamespace, operator: KVSelect, grid: tuple[int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(grid[1])
    metric, x = torch.randn(2, 2, grid[0] * grid[1], 6, dtype=dtype).unbind()
    plan = operator.plan(metric, grid)
    sign = 1 if operator.strategy == "low_frequency" else -1
    count = int(len(metric[0]) * (1 - operator.sparsity))
    for b in range(2):
        scores = slow.score(operator.score, metric[b].double().numpy(), *grid, operator.padding)
        kept = sorted(slow.order_of(scores, sign)[:count])
        np.testing.assert_array_equal(plan.reduce(x)[b], x[b, kept])
    assert plan.restore(x) is x


def test_the_bands_are_the_two_ends_of_the_ranking() -> None:
    x = torch.randn(2, 64, 4)
    plans = [KVSelect(0.5, strategy).plan(x, (8, 8)) for strategy in STRATEGIES]
    low, high = (plan.kept for plan in plans if isinstance(plan, SelectReduction))
    for sample in torch.cat([low, high], dim=1).tolist():
        assert sorted(sample) == list(range(64))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_of_equal_scores_the_first_are_kept(strategy: str) -> None:
    plan = KVSelect(0.75, strategy, "l1_norm").plan(torch.ones(1, 36, 2), (6, 6))
    assert isinstance(plan, SelectReduction)
    assert plan.kept.tolist() == [list(range(9))]


def test_sparsity_zero_changes_nothing() -> None:
    assert KVSelect(0.0).plan(torch.randn(1, 36, 3), (6, 6)) is UNCHANGED
    assert KVSelect(0.0).num_kept((6, 6)) == 36


def test_a_sparsity_that_leaves_nothing_is_refused_at_the_first_plan() -> None:
    operator, message = KVSelect(0.95), r"^sparsity=0\.95: allowed: at most 0\.9375"
    with pytest.raises(UserError, match=message):
        operator.plan(torch.randn(1, 16, 3), (4, 4))
    with pytest.raises(UserError, match=message):
        operator.num_kept((4, 4))
    assert operator.num_kept((4, 5)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *[
            ({"sparsity": s}, r"^sparsity=.* a number from 0 to below 1")
            for s in (1.0, -0.1, float("nan"), True, "0.5", None)
        ],
        ({"strategy": "middle"}, r"^strategy=middle: .* low_frequency, high_frequency"),
        ({"score": "sobel"}, r"^score=sobel: "),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        KVSelect(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_selection_copies_and_restores_by_its_owners() -> None:
    x = torch.randn(2, 4, 3)
    kept, assignment = torch.tensor([[0, 3], [1, 2]]), torch.tensor([[0, 1, 1, 1], [0, 0, 1, 0]])
    selection = SelectReduction(kept, assignment)
    assert torch.equal(selection.reduce(x), torch.stack([x[0, [0, 3]], x[1, [1, 2]]]))
    restored = torch.stack([x[0, [0, 3, 3, 3]], x[1, [1, 1, 2, 1]]])
    assert torch.equal(selection.restore(selection.reduce(x)), restored)
    assert SelectReduction(kept).restore(x) is x
    assert repr(selection) == "SelectReduction(2 tokens kept)"


def test_gradients_go_to_the_kept_tokens_only() -> None:
    x = torch.randn(1, 36, 3, requires_grad=True)
    plan = KVSelect(0.75).plan(x, (6, 6))
    assert isinstance(plan, SelectReduction)
    plan.reduce(x).sum().backward()
    assert x.grad is not None
    kept = torch.zeros(36).index_fill(0, plan.kept[0], 1.0)
    assert torch.equal(x.grad, kept[None, :, None].expand(1, 36, 3))
