import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from bigain.errors import UserError
from bigain.metrics import manifold
from bigain.metrics.manifold import precision_recall

FloatArray = npt.NDArray[np.float64]


def sample(seed: int, n: int, d: int = 8, shift: float = 0.0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def test_by_hand_on_a_line() -> None:
    """k = 1.  Real 0, 1, 5: balls [-1, 1], [0, 2], [1, 9].  Generated 2, 20: balls of 18."""
    real, generated = np.array([[0.0], [1.0], [5.0]]), np.array([[2.0], [20.0]])
    inside, covered = precision_recall(generated, real, neighbours=1)
    assert inside.tolist() == [True, False]
    assert covered.tolist() == [True, True, True]


@pytest.mark.parametrize("shift", [0.0, 0.7, 1.5])
def test_it_is_torch_fidelitys_number(shift: float) -> None:
    x, y = sample(0, 200, shift=shift), sample(1, 260)
    theirs = prc_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        prc_neighborhood=3,
        prc_batch_size=64,
        verbose=False,
        save_cpu_ram=False,
    )
    inside, covered = precision_recall(x, y)
    assert inside.mean() == pytest.approx(theirs["precision"], abs=1e-6)
    assert covered.mean() == pytest.approx(theirs["recall"], abs=1e-6)
    assert 0 < inside.mean() < 1


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sample(0, 90, shift=0.5), sample(1, 70)
    whole = precision_recall(x, y)
    monkeypatch.setattr(manifold, "_BLOCK", 16)
    parts = precision_recall(x, y)
    assert [a.tolist() for a in whole] == [b.tolist() for b in parts]


def test_a_set_is_inside_itself_even_where_images_repeat() -> None:
    """Balls around images with three copies have radius 0; rounding must not push them out."""
    rows = np.repeat(sample(0, 20, shift=1e4), 5, axis=0)
    inside, covered = precision_recall(rows, rows)
    assert inside.all()
    assert covered.all()


def test_one_mode_alone_is_precise_and_recalls_little() -> None:
    real = np.concatenate([sample(0, 100), sample(1, 100, shift=20.0)])
    inside, covered = precision_recall(sample(2, 100), real)
    assert inside.mean() > 0.7
    assert covered[:100].mean() > 0.7
    assert not covered[100:].any()


@pytest.mark.parametrize("sizes", [(3, 50), (50, 3)])
def test_too_few_images_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"n=3: .* at least 4 images on each side"):
        precision_recall(sample(0, sizes[0]), sample(1, sizes[1]))


def test_other_features_and_nan_are_refused() -> None:
    with pytest.raises(UserError, match="features: 8 of one side and 5 of the other"):
        precision_recall(sample(0, 20), sample(1, 20, d=5))
    broken = sample(0, 20)
    broken[3] = np.inf
    with pytest.raises(UserError, match="position 3"):
        precision_recall(broken, sample(1, 20))
