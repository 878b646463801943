from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import bigain.operators.random_key
from bigain.errors import UserError
from bigain.operators.random_key import RandomKey

KINDS = ["integers", "normals"]


def rows(kind: str, timesteps: Tensor | None, batch: int, seed: int = 0, site: str = "a") -> Tensor:
    draw, like = RandomKey(seed, site, timesteps), torch.empty(batch, 1)
    return draw.integers(64, 4, like) if kind == "integers" else draw.normals(64, like)


def forget() -> None:
    """Draws are remembered; purity is about those that are not."""
    bigain.operators.random_key._integers.cache_clear()
    bigain.operators.random_key._normals.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(st.lists(st.integers(0, 999), min_size=1, max_size=9))
def test_a_row_depends_on_its_own_timestep_only(kind: str, timesteps: list[int]) -> None:
    together = rows(kind, torch.tensor(timesteps), len(timesteps))
    forget()
    for row, timestep in zip(together, timesteps, strict=True):
        assert torch.equal(row, rows(kind, torch.tensor([timestep]), 1)[0])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(st.lists(st.integers(0, 999), min_size=2, max_size=6, unique=True), st.randoms())
def test_the_order_of_calls_does_not_matter(kind: str, times: list[int], shuffle: Random) -> None:
    forget()
    first = {time: rows(kind, torch.tensor(time), 1) for time in times}
    forget()
    shuffle.shuffle(times)
    for time in times:
        assert torch.equal(rows(kind, torch.tensor(time), 1), first[time])


def test_the_draw_is_the_same_on_every_machine() -> None:
    draw, like = RandomKey(3, "transformer_blocks.1", torch.tensor(500)), torch.empty(1, 1)
    assert draw.integers(12, 4, like)[0].tolist() == [2, 2, 1, 1, 2, 3, 3, 2, 0, 0, 1, 0]
    expected = torch.tensor([-0.2181, 0.1568, 1.4919, 0.0890])
    torch.testing.assert_close(draw.normals(4, like)[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", [{"seed": 1}, {"site": "b"}])
def test_seed_and_site_change_the_draw(kind: str, other: dict[str, str | int]) -> None:
    t = torch.tensor([7])
    assert not torch.equal(rows(kind, t, 1), rows(kind, t, 1, **other))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", [torch.tensor([8]), torch.tensor([7.5]), None])
def test_the_timestep_changes_the_draw(kind: str, other: Tensor | None) -> None:
    assert not torch.equal(rows(kind, torch.tensor([7]), 1), rows(kind, other, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("timesteps", [None, torch.tensor([7])])
def test_the_meta_device_gives_shapes_only(kind: str, timesteps: Tensor | None) -> None:
    like = torch.empty(3, 1, device="meta")
    for times in (timesteps, None if timesteps is None else timesteps.to("meta")):
        draw = RandomKey(timesteps=times)
        drawn = draw.integers(64, 4, like) if kind == "integers" else draw.normals(64, like)
        assert drawn.device.type == "meta"
        assert drawn.shape == (3, 64)
        assert drawn.dtype == (torch.int64 if kind == "integers" else torch.float32)


def test_torchs_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = RandomKey(11, "untouched", None).integers(8, 4, torch.empty(1, 1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(first, RandomKey(11, "untouched", None).integers(8, 4, torch.empty(1, 1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "timesteps",
    [torch.tensor(25), torch.tensor([25]), torch.tensor([25.0] * 3), torch.tensor(25.0)],
)
def test_one_timestep_serves_the_batch_in_any_form(kind: str, timesteps: Tensor) -> None:
    drawn = rows(kind, timesteps, 3)
    assert drawn.shape == (3, 64)
    assert torch.equal(drawn, rows(kind, torch.tensor([25, 25, 25]), 3))


@pytest.mark.parametrize("kind", KINDS)
def test_without_time_all_rows_are_one_draw(kind: str) -> None:
    drawn = rows(kind, None, 4)
    assert drawn.shape == (4, 64)
    assert (drawn == drawn[:1]).all()


def test_values_are_uniform_over_the_range() -> None:
    drawn = RandomKey(0, "x", torch.arange(500)).integers(64, 4, torch.empty(500, 1))
    shares = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    assert len(shares) == 4
    assert (shares - 0.25).abs().max() < 0.01


def test_normals_are_normal() -> None:
    drawn = RandomKey(0, "x", torch.arange(500)).normals(64, torch.empty(500, 1))
    assert drawn.mean().abs() < 0.02
    assert (drawn.std() - 1).abs() < 0.02
    assert ((drawn.abs() < 1).float().mean() - 0.683).abs() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_number_of_timesteps_is_refused(kind: str) -> None:
    with pytest.raises(UserError, match=r"^timesteps=2 values: .*one per sample: 3"):
        rows(kind, torch.tensor([1, 2]), 3)


@pytest.mark.parametrize("timesteps", [None, torch.tensor([7])])
@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_first_made_in_inference_mode_serves_training(
    kind: str, timesteps: Tensor | None
) -> None:
    forget()
    with torch.inference_mode():
        drawn = rows(kind, timesteps, 1)
    assert not rows(kind, timesteps, 1).is_inference()
    forget()
    assert torch.equal(drawn, rows(kind, timesteps, 1))


@pytest.mark.parametrize("kind", ["integers", "normals"])
def test_a_timestep_counts_in_single_precision_whatever_it_comes_in(kind: str) -> None:
    """A sampler's 978.6 in double precision, or as a number that became a tensor, is one time."""
    single, double = (torch.tensor([978.6], dtype=t) for t in (torch.float32, torch.float64))
    assert torch.equal(rows(kind, single, 1), rows(kind, double, 1))
    whole = [torch.tensor([500], dtype=t) for t in (torch.int32, torch.int64, torch.float64)]
    drawn = [rows(kind, each, 1) for each in whole]
    assert all(torch.equal(drawn[0], each) for each in drawn)
    assert not torch.equal(drawn[0], rows(kind, single, 1))


def test_normals_are_single_precision_whatever_the_default() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert rows("normals", torch.tensor([123]), 1, site="default").dtype == torch.float32
    finally:
        torch.set_default_dtype(before)


def per_forward(inputs: tuple[Tensor, ...], seed: int = 0, site: str = "a") -> Tensor:
    like = torch.empty(4, 1)
    return (
        RandomKey(seed, site, torch.tensor([1, 2, 3, 4]), inputs).per_forward(like).normals(9, like)
    )


def test_a_draw_per_forward_is_one_for_the_whole_batch_and_follows_its_inputs() -> None:
    sample, times = torch.randn(4, 2, 3, 3), torch.tensor([5, 6, 7, 8])
    first = per_forward((sample, times))
    assert (first == first[:1]).all()
    forget()
    assert torch.equal(first, per_forward((times.clone(), sample.clone())))
    other = sample.clone()
    other[3, 1, 2, 2] += 1e-6
    for inputs in ((other, times), (sample, times + 1), (sample.half(), times), (sample,), ()):
        assert not torch.equal(first, per_forward(inputs))
    assert not torch.equal(first, per_forward((sample, times), seed=1))
    assert not torch.equal(first, per_forward((sample, times), site="b"))


def test_a_draw_per_forward_takes_any_layout_and_type() -> None:
    wide = torch.arange(24.0).reshape(4, 6)
    assert torch.equal(per_forward((wide.t().contiguous().t(),)), per_forward((wide,)))
    for dtype in (torch.bfloat16, torch.bool, torch.int64):
        assert per_forward((wide.to(dtype), wide.to(dtype)[0, 0])).shape == (4, 9)
    like = torch.empty(2, 1, device="meta")
    assert RandomKey(inputs=(like,)).per_forward(like).integers(5, 4, like).shape == (2, 5)


def test_timesteps_on_the_cpu_spare_the_device() -> None:
    """The values on the device are never looked at: those of the meta device do not exist."""
    times, like = torch.tensor([5.0, 978.6, 5.0]), torch.empty(3, 1)
    there = RandomKey(3, "a", times.to("meta"), on_cpu=times)
    here = RandomKey(3, "a", times)
    assert torch.equal(there.integers(7, 4, like), here.integers(7, 4, like))
    assert torch.equal(there.normals(7, like), here.normals(7, like))


def per_sample(kind: str, sample: Tensor, times: Tensor | None, **key: Any) -> Tensor:
    like = torch.empty(len(sample), 1)
    drawing = RandomKey(**{"site": "a", "timesteps": times, "sample": sample, **key})
    drawing = drawing.drawing("per_sample", like)
    return drawing.integers(64, 4, like) if kind == "integers" else drawing.normals(64, like)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(st.permutations(range(6)), st.integers(1, 7))
def test_a_draw_per_sample_depends_on_its_own_row_and_timestep_only(
    kind: str, order: list[int], size: int
) -> None:
    sample, times = torch.randn(6, 2, 3, 3), torch.tensor([5, 5, 978.6, 5, 0, 5])
    sample[3], sample[5] = sample[0], sample[2]
    whole = per_sample(kind, sample, times)
    forget()
    parts = [
        per_sample(kind, sample[part], times[part]) for part in torch.tensor(order).split(size)
    ]
    assert torch.equal(torch.cat(parts), whole[order])
    assert torch.equal(whole[0], whole[3]), "equal rows, equal timesteps"
    for a, b in ((0, 1), (2, 5), (0, 4)):
        assert not torch.equal(whole[a], whole[b])


def test_a_draw_per_sample_follows_seed_site_bits_and_type() -> None:
    sample, times = torch.randn(2, 2, 3, 3), torch.tensor([5, 6])
    first = per_sample("normals", sample, times)
    other = sample.clone()
    other[1, 1, 2, 2] = torch.nextafter(other[1, 1, 2, 2], torch.tensor(9.0))
    changed = per_sample("normals", other, times)
    assert torch.equal(changed[0], first[0])
    assert not torch.equal(changed[1], first[1])
    for drawn in (
        per_sample("normals", sample, times, seed=1),
        per_sample("normals", sample, times, site="b"),
        per_sample("normals", sample.bfloat16(), times),
        per_sample("normals", sample, None),
        RandomKey(0, "a", times).normals(64, torch.empty(2, 1)),
    ):
        assert not (drawn == first).all(dim=1).any()
    striped = sample.to(memory_format=torch.channels_last)
    assert torch.equal(per_sample("normals", striped, times, on_cpu=times.double()), first)
    like = torch.empty(2, 1, device="meta")
    shown = RandomKey(sample=like, timesteps=times.to("meta")).per_sample(like)
    assert shown.integers(5, 4, like).shape == (2, 5)


@pytest.mark.parametrize("rows", [None, 2])
def test_a_draw_per_sample_needs_a_row_for_each_sample(rows: int | None) -> None:
    sample = None if rows is None else torch.randn(rows, 2)
    with pytest.raises(UserError, match=rf"^draws=per_sample: .* {rows or 0} rows; allowed: .*3"):
        RandomKey(sample=sample).drawing("per_sample", torch.empty(3, 1))
    one = RandomKey(sample=torch.randn(1, 2)).per_sample(torch.empty(3, 1))
    drawn = one.normals(5, torch.empty(3, 1))
    assert (drawn == drawn[:1]).all()
