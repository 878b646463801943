import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.draw import Draw

CPU = torch.device("cpu")


def rows(timesteps: Tensor | None, batch: int, seed: int = 0, site: str = "a") -> Tensor:
    return Draw(seed, site, timesteps).integers(64, 4, torch.empty(batch, 1))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 999), min_size=1, max_size=9))
def test_a_row_depends_on_its_own_timestep_only(timesteps: list[int]) -> None:
    together = rows(torch.tensor(timesteps), len(timesteps))
    for row, timestep in zip(together, timesteps, strict=True):
        assert torch.equal(row, rows(torch.tensor([timestep]), 1)[0])


def test_the_draw_is_a_pure_function() -> None:
    assert torch.equal(rows(torch.tensor(5), 2), rows(torch.tensor(5), 2))


def test_the_draw_is_the_same_on_every_machine() -> None:
    drawn = Draw(3, "transformer_blocks.1", torch.tensor(500)).integers(12, 4, torch.empty(1, 1))
    assert drawn[0].tolist() == [2, 2, 1, 1, 2, 3, 3, 2, 0, 0, 1, 0]


@pytest.mark.parametrize("other", [{"seed": 1}, {"site": "b"}])
def test_seed_and_site_change_the_draw(other: dict[str, str | int]) -> None:
    t = torch.tensor([7])
    assert not torch.equal(rows(t, 1), rows(t, 1, **other))  # type: ignore[arg-type]


def test_the_timestep_changes_the_draw() -> None:
    assert not torch.equal(rows(torch.tensor([7]), 1), rows(torch.tensor([8]), 1))


def test_torchs_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = Draw(11, "untouched", None).integers(8, 4, torch.empty(1, 1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(first, Draw(11, "untouched", None).integers(8, 4, torch.empty(1, 1)))


@pytest.mark.parametrize(
    "timesteps",
    [torch.tensor(25), torch.tensor([25]), torch.tensor([25.0] * 3), torch.tensor(25.0)],
)
def test_one_timestep_serves_the_batch_in_any_form(timesteps: Tensor) -> None:
    drawn = rows(timesteps, 3)
    assert drawn.shape == (3, 64)
    assert torch.equal(drawn, rows(torch.tensor([25, 25, 25]), 3))


def test_without_time_all_rows_are_one_draw() -> None:
    drawn = rows(None, 4)
    assert drawn.shape == (4, 64)
    assert (drawn == drawn[:1]).all()


def test_values_are_uniform_over_the_range() -> None:
    drawn = Draw(0, "x", torch.arange(500)).integers(64, 4, torch.empty(500, 1))
    shares = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    assert len(shares) == 4
    assert (shares - 0.25).abs().max() < 0.01


def test_a_wrong_number_of_timesteps_is_refused() -> None:
    with pytest.raises(UserError, match=r"^timesteps=2 values: .*one per sample: 3"):
        rows(torch.tensor([1, 2]), 3)


def test_per_sample_timesteps_are_expanded() -> None:
    expanded = Draw(timesteps=torch.tensor(9)).per_sample_timesteps(3)
    assert expanded is not None
    assert expanded.tolist() == [9, 9, 9]
    assert Draw().per_sample_timesteps(3) is None


def test_a_draw_first_made_in_inference_mode_serves_training() -> None:
    draw = Draw(99, "cached", None)
    with torch.inference_mode():
        draw.integers(4, 2, torch.empty(1, 1))
    assert not draw.integers(4, 2, torch.empty(1, 1)).is_inference()
