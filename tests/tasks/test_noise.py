import torch
from hypothesis import given
from hypothesis import strategies as st

from bigain.tasks.batches import keyed_noise


def test_same_key_same_noise_whatever_was_drawn_before() -> None:
    alone = keyed_noise(0, "classification", 7, 125, shape=(1, 4, 8, 8))
    torch.manual_seed(3)
    torch.randn(100)
    keyed_noise(0, "classification", 8, 125, shape=(1, 4, 8, 8))
    assert torch.equal(alone, keyed_noise(0, "classification", 7, 125, shape=(1, 4, 8, 8)))


def test_pinned_values_do_not_change_between_versions() -> None:
    noise = keyed_noise(0, "classification", 0, 125, shape=(4,))
    expected = torch.tensor([-0.5884734, -0.1740858, -0.2978525, -1.2730286])
    assert torch.allclose(noise, expected, atol=1e-7)


@given(
    st.tuples(st.integers(0, 5), st.integers(0, 99), st.integers(0, 999)),
    st.tuples(st.integers(0, 5), st.integers(0, 99), st.integers(0, 999)),
)
def test_any_other_key_gives_other_noise(a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
    equal = torch.equal(keyed_noise(*a, shape=(16,)), keyed_noise(*b, shape=(16,)))
    assert equal == (a == b)


def test_key_parts_are_not_run_together() -> None:
    assert not torch.equal(keyed_noise(0, 1, 23, shape=(16,)), keyed_noise(0, 12, 3, shape=(16,)))


def test_noise_is_standard_normal_across_keys_and_elements() -> None:
    noise = torch.stack([keyed_noise(0, i, shape=(1024,)) for i in range(400)])
    n = noise.numel()
    assert abs(float(noise.mean())) < 4 / n**0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / n) ** 0.5
    between = torch.corrcoef(noise[:20]).fill_diagonal_(0).abs().max()
    assert float(between) < 5 / 1024**0.5
