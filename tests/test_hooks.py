from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bigain
from bigain.errors import UserError
from bigain.operators import (
    IEKVD,
    LGTM,
    AvgPool,
    Draw,
    Identity,
    KeyValueReducer,
    LinearAlpha,
    Operator,
    Reduction,
    ToDo,
    TokenReducer,
    ToMe,
)

Run = Callable[..., Tensor]


@dataclass(frozen=True)
class Spy(TokenReducer):
    """Keeps every second token (a toy operator), and what it was shown."""

    metrics: list[Tensor] = field(default_factory=list, compare=False)
    draws: list[Draw | None] = field(default_factory=list, compare=False)
    grids: list[tuple[int, int]] = field(default_factory=list, compare=False)

    def plan(self, metric: Tensor, grid: tuple[int, int], draw: Draw | None = None) -> Reduction:
        self.metrics.append(metric.clone())
        self.draws.append(draw)
        self.grids.append(grid)
        return EverySecond()

    def kept(self, grid: tuple[int, int]) -> int:
        return (grid[0] * grid[1] + 1) // 2


class KeySpy(Spy, KeyValueReducer):
    """The same for keys and values."""


class EverySecond(Reduction):
    """Drops odd tokens; each gets the output of its left neighbour (keys: nothing to restore)."""

    def reduce(self, x: Tensor) -> Tensor:
        self.tokens = x.shape[1]
        return x[:, ::2]

    def restore(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(2, dim=1)[:, : self.tokens]


class Record:
    """Inputs and outputs of a module, as a hook that runs after those of the operator."""

    def __init__(self, module: nn.Module) -> None:
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[Tensor] = []
        module.register_forward_pre_hook(self.before, with_kwargs=True)
        module.register_forward_hook(self.after)

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        names = ("hidden_states", "encoder_hidden_states")
        self.inputs.append({**dict(zip(names, args, strict=False)), **kwargs})

    def after(self, module: nn.Module, args: object, output: Tensor) -> None:
        del module, args
        self.outputs.append(output)


def first_block(model: Any) -> Any:
    if hasattr(model, "down_blocks"):
        return model.down_blocks[0].attentions[0].transformer_blocks[0]
    return model.transformer_blocks[0]


def attend(attention: Any, x: Tensor, context: Tensor) -> Tensor:
    """Multi-head attention written out from the module's weights."""
    q, k, v = attention.to_q(x), attention.to_k(context), attention.to_v(context)
    q, k, v = (t.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for t in (q, k, v))
    weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
    output: Tensor = attention.to_out[0]((weights @ v).transpose(1, 2).flatten(2))
    return output


def test_merging_attends_on_the_reduced_tokens_and_restores(tiny_dit: Any, run: Run) -> None:
    plain = Record(first_block(tiny_dit).attn1)
    run(tiny_dit)
    x = plain.inputs[0]["hidden_states"]
    operator = LGTM(0.5)
    with bigain.apply(tiny_dit, operator):
        run(tiny_dit)
        seen = Record(first_block(tiny_dit).attn1)
        run(tiny_dit)
    plan = operator.plan(x, (8, 8))
    assert torch.equal(seen.inputs[0]["hidden_states"], plan.reduce(x))
    with torch.no_grad():
        reduced = plan.reduce(x)
        expected = plan.restore(attend(first_block(tiny_dit).attn1, reduced, reduced))
    torch.testing.assert_close(seen.outputs[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("operator", [ToDo(2), AvgPool(2), IEKVD(3, 0.9)], ids=repr)
def test_downsampling_keeps_queries_and_reduces_keys(
    tiny_model: Any, run: Run, operator: Operator
) -> None:
    plain = Record(first_block(tiny_model).attn1)
    run(tiny_model)
    x = plain.inputs[0]["hidden_states"]
    with bigain.apply(tiny_model, operator):
        seen = Record(first_block(tiny_model).attn1)
        run(tiny_model)
    reduced = operator.plan(x, (8, 8)).reduce(x)
    assert torch.equal(seen.inputs[0]["hidden_states"], x)
    assert torch.equal(seen.inputs[0]["encoder_hidden_states"], reduced)
    with torch.no_grad():
        expected = attend(first_block(tiny_model).attn1, x, reduced)
    torch.testing.assert_close(seen.outputs[0], expected, rtol=1e-4, atol=1e-6)


def test_unet_merges_match_on_the_tokens_before_the_norm(tiny_unet: Any, run: Run) -> None:
    block, spy = first_block(tiny_unet), Spy()
    record = Record(block)
    with bigain.apply(tiny_unet, spy):
        attention = Record(block.attn1)
        run(tiny_unet)
    before_norm = record.inputs[0]["hidden_states"]
    assert torch.equal(spy.metrics[0], before_norm)
    normed = F.layer_norm(before_norm, (8,), block.norm1.weight, block.norm1.bias)
    torch.testing.assert_close(attention.inputs[0]["hidden_states"], normed[:, ::2])


def test_dit_merges_match_on_what_enters_the_attention(tiny_dit: Any, run: Run) -> None:
    record, spy = Record(first_block(tiny_dit).attn1), Spy()
    run(tiny_dit)
    with bigain.apply(tiny_dit, spy):
        run(tiny_dit)
    assert torch.equal(spy.metrics[0], record.inputs[0]["hidden_states"])


def test_key_reducers_plan_on_what_enters_the_attention(tiny_unet: Any, run: Run) -> None:
    record, spy = Record(first_block(tiny_unet).attn1), KeySpy()
    with bigain.apply(tiny_unet, spy):
        run(tiny_unet)
    assert torch.equal(spy.metrics[0], record.inputs[0]["hidden_states"])


@pytest.mark.parametrize(
    "timesteps", [40, 40.0, torch.tensor(40), torch.tensor([40]), torch.tensor([40, 1, 999])]
)
def test_the_draw_has_seed_site_and_timesteps(
    tiny_unet: nn.Module, run: Run, timesteps: Tensor | float
) -> None:
    spy = Spy()
    with bigain.apply(tiny_unet, spy, seed=5):
        run(tiny_unet, timesteps=timesteps)
    draw = spy.draws[0]
    assert draw is not None
    assert (draw.seed, draw.site) == (5, "down_blocks.0.attentions.0.transformer_blocks.0")
    times = draw.per_sample_timesteps(3)
    assert times is not None
    expected = [40, 1, 999] if torch.as_tensor(timesteps).numel() == 3 else [40] * 3
    assert times.tolist() == expected
    assert len({draw.site for draw in spy.draws if draw}) == 3


def test_dit_timesteps_reach_the_draw(tiny_dit: nn.Module, run: Run) -> None:
    spy = Spy()
    with bigain.apply(tiny_dit, spy):
        run(tiny_dit, timesteps=torch.tensor([1, 2, 3]))
    assert spy.draws[0] is not None
    assert spy.draws[0].timesteps is not None
    assert spy.draws[0].timesteps.tolist() == [1, 2, 3]


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (7, 10), (16, 6)])
def test_the_grid_follows_the_sample(tiny_unet: nn.Module, run: Run, size: tuple[int, int]) -> None:
    spy = Spy()
    with bigain.apply(tiny_unet, spy, sites=bigain.SiteSelection(levels=(0, 1))):
        output = run(tiny_unet, size=size)
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert spy.grids == [size, half, half, half, size, size]
    assert output.shape[-2:] == size


@pytest.mark.parametrize("operator", [ToMe(0.6), LGTM(0.6), ToDo(2), IEKVD(3, 0.9)], ids=repr)
def test_odd_and_oblong_samples_work(tiny_unet: nn.Module, run: Run, operator: Operator) -> None:
    with bigain.apply(tiny_unet, operator) as report:
        assert run(tiny_unet, size=(9, 13)).isfinite().all()
    assert report.sites[0].grid == (9, 13)
    assert report.sites[0].after == operator.kept((9, 13))


MIXED = [ToMe(0.6), LGTM(0.6), ToDo(2), AvgPool(3), IEKVD(2, LinearAlpha(0.8, 1.2))]


@pytest.mark.parametrize("operator", MIXED, ids=repr)
def test_a_sample_gets_the_same_alone_and_among_other_timesteps(
    tiny_model: nn.Module, run: Run, operator: Operator
) -> None:
    with bigain.apply(tiny_model, operator):
        together = run(tiny_model, batch=4)
        alone = [run(tiny_model, batch=4, part=slice(b, b + 1)) for b in range(4)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-5, atol=1e-6)


def test_guidance_batches_share_their_draw(tiny_unet: nn.Module, run: Run) -> None:
    spy = Spy()
    with bigain.apply(tiny_unet, spy):
        run(tiny_unet, batch=6, timesteps=torch.tensor(500))
    draw = spy.draws[0]
    assert draw is not None
    rows = draw.integers(16, 4, torch.empty(6, 1))
    assert (rows == rows[:1]).all()


def test_cross_attention_and_mlp_see_all_tokens(tiny_unet: Any, run: Run) -> None:
    block = first_block(tiny_unet)
    cross, mlp = Record(block.attn2), Record(block.ff)
    with bigain.apply(tiny_unet, LGTM(0.7)):
        run(tiny_unet)
    assert cross.inputs[0]["hidden_states"].shape[1] == 64
    assert cross.inputs[0]["encoder_hidden_states"].shape[1] == 3
    assert mlp.inputs[0]["hidden_states"].shape[1] == 64


@pytest.mark.parametrize("operator", [Identity(), ToMe(0), LGTM(0), ToDo(1), IEKVD(1)], ids=repr)
def test_with_nothing_to_do_outputs_are_those_of_the_bare_model_bit_for_bit(
    tiny_model: nn.Module, run: Run, operator: Operator
) -> None:
    bare = run(tiny_model)
    with bigain.apply(tiny_model, operator) as report:
        assert torch.equal(run(tiny_model), bare)
    assert all(site.calls == 1 for site in report.sites)
    assert all(site.before == site.after == 64 for site in report.sites)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_work(tiny_dit: nn.Module, run: Run, dtype: torch.dtype) -> None:
    model = tiny_dit.to(dtype)
    for operator in (ToMe(0.6), LGTM(0.6), IEKVD(2, 0.9)):
        with bigain.apply(model, operator):
            output = run(model, dtype=dtype)
        assert output.dtype == dtype
        assert output.isfinite().all()


def test_inference_mode_works_and_leaves_nothing_behind(tiny_model: nn.Module, run: Run) -> None:
    with bigain.apply(tiny_model, LGTM(0.6)):
        with torch.inference_mode():
            first = run(tiny_model)
        assert torch.equal(run(tiny_model), first)


def test_not_a_number_stays_not_a_number(tiny_unet: Any, run: Run) -> None:
    tiny_unet.conv_in.weight.data[:] = float("nan")
    for operator in (ToMe(0.6), LGTM(0.6), ToDo(2), AvgPool(2), IEKVD(2, 0.9)):
        with bigain.apply(tiny_unet, operator):
            assert run(tiny_unet).isnan().all()


def test_training_with_recomputed_blocks_works(tiny_dit: Any) -> None:
    tiny_dit.train()
    sample, labels = torch.randn(2, 1, 16, 16), torch.tensor([10, 10])
    gradients = []
    for recompute in (False, True):
        if recompute:
            tiny_dit.enable_gradient_checkpointing()
        tiny_dit.zero_grad()
        with bigain.apply(tiny_dit, LGTM(0.5)):
            output = tiny_dit(sample, timestep=torch.tensor([3, 9]), class_labels=labels).sample
            output.square().mean().backward()
        gradients.append(tiny_dit.transformer_blocks[0].attn1.to_q.weight.grad.clone())
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_mask_over_image_tokens_is_refused(tiny_unet: Any) -> None:
    context, mask = torch.randn(1, 3, 6), torch.ones(1, 64)
    with (
        bigain.apply(tiny_unet, LGTM(0.5)),
        pytest.raises(UserError, match=r"^attention_mask: is not supported"),
    ):
        tiny_unet(torch.randn(1, 2, 8, 8), 5, encoder_hidden_states=context, attention_mask=mask)


def test_a_block_called_on_its_own_is_refused(tiny_unet: Any) -> None:
    with (
        bigain.apply(tiny_unet, LGTM(0.5)),
        pytest.raises(UserError, match=r"^site=down_blocks.0.* outside of a forward"),
    ):
        first_block(tiny_unet)(torch.randn(1, 64, 8), encoder_hidden_states=torch.randn(1, 3, 6))


def test_arguments_by_name_are_understood(tiny_unet: Any, run: Run) -> None:
    spy = Spy()
    with bigain.apply(tiny_unet, spy), torch.no_grad():
        tiny_unet(
            encoder_hidden_states=torch.randn(1, 3, 6), timestep=8, sample=torch.randn(1, 2, 8, 8)
        )
    assert spy.grids[0] == (8, 8)
    assert spy.draws[0] is not None
    assert spy.draws[0].timesteps is not None
    assert spy.draws[0].timesteps.item() == 8
