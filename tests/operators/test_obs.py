"""Optimal brain surgeon against closed forms, a transcription in numpy, and plain removal."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bigain.operators.obs import (
    DAMPING,
    damped_inverse,
    group_errors,
    prune_heads,
    prune_units,
    remove_group,
)


def random_layer(seed: int, out: int = 5, inputs: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, inputs that are correlated, and H."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(out, inputs, generator=generator, dtype=torch.float64)
    mixing = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
    x = torch.randn(200, inputs, generator=generator, dtype=torch.float64) @ mixing
    return w, x, 2 * x.T @ x / len(x)


def transcribed(
    w: np.ndarray, h: np.ndarray, heads: int, remove: int
) -> tuple[np.ndarray, list[int]]:
    """One head after the other, with the inverse of the remaining H computed anew each time."""
    size = w.shape[1] // heads
    kept, w = list(range(heads)), w.copy()
    h = h + DAMPING * h.diagonal().mean() * np.eye(len(h))
    for _ in range(remove):
        columns = [j for g in kept for j in range(g * size, (g + 1) * size)]
        inverse = np.linalg.inv(h[np.ix_(columns, columns)])
        errors = []
        for place in range(len(kept)):
            own = slice(place * size, (place + 1) * size)
            block = np.linalg.inv(inverse[own, own])
            rows = w[:, columns][:, own]
            errors.append(sum(row @ block @ row for row in rows))
        place = int(np.argmin(errors))
        own = slice(place * size, (place + 1) * size)
        gain = np.linalg.inv(inverse[own, own]) @ inverse[own]
        w[:, columns] -= w[:, columns][:, own] @ gain
        kept.pop(place)
    return w[:, [j for g in kept for j in range(g * size, (g + 1) * size)]], kept


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("remove", [0, 1, 3])
def test_heads_are_those_of_the_transcription(seed: int, remove: int) -> None:
    w, _, h = random_layer(seed)
    left, kept = prune_heads(w, h, 4, remove)
    wanted, wanted_kept = transcribed(w.numpy(), h.numpy(), 4, remove)
    assert kept == wanted_kept
    assert left.numpy() == pytest.approx(wanted, abs=1e-8)
    if not remove:
        assert torch.equal(left, w)


def test_units_are_heads_of_one_column_where_they_go_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bigain.operators.obs.SMALLEST_CHUNK", 1)
    w, _, h = random_layer(5)
    left, kept = prune_units(w, h, 1)
    heads, numbers = prune_heads(w, h, 12, 1)
    assert kept == numbers
    torch.testing.assert_close(left, heads)


def one_unit_after_the_other(
    w: np.ndarray, h: np.ndarray, remove: int
) -> tuple[np.ndarray, list[int], list[int]]:
    """Chunks of half of what is left to remove, at least 64; also the sizes of the chunks.

    The errors are those at the start of a chunk.  The inverse of what is left of H is computed anew
    for every chunk and every unit.
    """
    w, h, sizes = w.copy(), h.copy(), []
    zero = h.diagonal() == 0
    h += 0.01 * h.diagonal().mean() * np.eye(len(h))
    h[zero, zero] = 1
    w[:, zero] = 0
    left = list(range(len(h)))
    while remove:
        sizes.append(min(remove, max(64, remove // 2)))
        remove -= sizes[-1]
        inverse = np.linalg.inv(h[np.ix_(left, left)])
        errors = (w[:, left] ** 2).sum(axis=0) / inverse.diagonal()
        for unit in [left[place] for place in errors.argsort()[: sizes[-1]]]:
            inverse = np.linalg.inv(h[np.ix_(left, left)])
            place = left.index(unit)
            w[:, left] -= np.outer(w[:, unit], inverse[place] / inverse[place, place])
            left.pop(place)
    return w[:, left], left, sizes


@pytest.mark.parametrize("seed", range(3))
def test_units_are_those_of_the_transcription_over_several_chunks(seed: int) -> None:
    w, x, _ = random_layer(seed, inputs=250)
    x[:, 17 * seed] = 0
    h = 2 * x.T @ x / len(x)
    left, kept = prune_units(w, h, 215)
    wanted, wanted_kept, sizes = one_unit_after_the_other(w.numpy(), h.numpy(), 215)
    assert sizes == [107, 64, 44]
    assert kept == wanted_kept
    assert left.numpy() == pytest.approx(wanted, abs=1e-8)
    # Had all of them gone by the errors of the first chunk, other units would have stayed.
    errors = w.square().sum(dim=0) / damped_inverse(h).diagonal()
    assert kept != sorted(errors.argsort()[215:].tolist())


def test_identity_curvature_orders_by_norm_and_compensates_nothing() -> None:
    w, _, _ = random_layer(1)
    left, kept = prune_units(w, torch.eye(12, dtype=torch.float64), 5)
    norms = w.square().sum(dim=0)
    assert kept == sorted(norms.argsort(descending=True)[:7].tolist())
    torch.testing.assert_close(left, w[:, kept])


@pytest.mark.parametrize("r", [-0.7, 0.0, 0.4, 0.95])
def test_two_correlated_inputs(r: float) -> None:
    """H = [[1, r], [r, 1]]: without the first column W_2 + r W_1 is left, error W_1^2 (1 - r^2)."""
    w = torch.tensor([[0.8, -1.5]], dtype=torch.float64)
    inverse = torch.linalg.inv(torch.tensor([[1, r], [r, 1]], dtype=torch.float64))
    errors = group_errors(w, inverse, torch.tensor([[0], [1]]))
    assert errors.tolist() == pytest.approx([0.64 * (1 - r**2), 2.25 * (1 - r**2)])
    left, downdated = remove_group(w, inverse, torch.tensor([0]))
    assert left.tolist()[0] == pytest.approx([0, -1.5 + r * 0.8])
    assert downdated.tolist() == [[0, 0], [0, pytest.approx(1)]]


def test_a_duplicated_head_goes_first_and_costs_nothing() -> None:
    w, x, _ = random_layer(2, inputs=9)
    x = torch.cat([x, x[:, 3:6]], dim=1)
    w = torch.cat([w, w[:, :3]], dim=1)
    h = 2 * x.T @ x / len(x)
    left, kept = prune_heads(w, h, 4, 1)
    assert kept in ([0, 2, 3], [0, 1, 2])
    columns = [j for g in kept for j in range(3 * g, 3 * g + 3)]
    difference = x @ w.T - x[:, columns] @ left.T
    assert float(difference.square().mean() / (x @ w.T).square().mean()) < 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_compensation_is_never_worse_than_plain_removal(seed: int) -> None:
    w, x, h = random_layer(seed)
    # Without damping the compensation is the least-squares solution; with it nearly so.
    for left, kept, size in (
        (*prune_heads(w, h, 4, 2), 3),
        (*prune_units(w, h, 6), 1),
    ):
        columns = [j for g in kept for j in range(size * g, size * (g + 1))]
        full = x @ w.T
        own = (full - x[:, columns] @ left.T).square().sum()
        plain = (full - x[:, columns] @ w[:, columns].T).square().sum()
        assert own <= plain
        assert own < 0.9 * plain


def test_permuted_heads_give_permuted_results() -> None:
    w, _, h = random_layer(3)
    order = torch.tensor([2, 0, 3, 1])
    columns = (3 * order[:, None] + torch.arange(3)).flatten()
    left, kept = prune_heads(w, h, 4, 2)
    other, numbers = prune_heads(w[:, columns], h[columns][:, columns], 4, 2)
    assert sorted(order[numbers].tolist()) == kept
    by_head = dict(zip(kept, left.split(3, dim=1), strict=True))
    for head, own in zip(order[numbers].tolist(), other.split(3, dim=1), strict=True):
        torch.testing.assert_close(own, by_head[head], rtol=1e-8, atol=1e-8)


def test_an_input_that_is_always_zero_goes_first() -> None:
    w, x, _ = random_layer(4)
    x[:, 7] = 0
    h = 2 * x.T @ x / len(x)
    assert torch.isfinite(damped_inverse(h)).all()
    left, kept = prune_units(w, h, 1)
    assert kept == [j for j in range(12) if j != 7]
    torch.testing.assert_close(left, w[:, kept], rtol=1e-9, atol=1e-9)


def test_chunks_shrink_and_end_where_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigain.operators.obs.SMALLEST_CHUNK", 2)
    w, _, h = random_layer(6)
    for remove in range(12):
        left, kept = prune_units(w, h, remove)
        assert left.shape == (5, 12 - remove)
        assert len(kept) == 12 - remove
