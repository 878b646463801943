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
    ABM,
    IEKVD,
    LGTM,
    AvgPool,
    CachedAssignment,
    Identity,
    KeyValueReducer,
    KVSelect,
    LinearAlpha,
    MergeReduction,
    Operator,
    RandomKey,
    Reduction,
    SiTo,
    ToDo,
    TokenReducer,
    ToMe,
)
from bigain.operators.recording import Recording

Run = Callable[..., Tensor]


@dataclass(frozen=True)
class Spy(TokenReducer):
    """Keeps every second token (a toy operator), and what it was shown."""

    metrics: list[Tensor] = field(default_factory=list, compare=False)
    draws: list[RandomKey | None] = field(default_factory=list, compare=False)
    grids: list[tuple[int, int]] = field(default_factory=list, compare=False)

    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        self.metrics.append(metric.clone())
        self.draws.append(draw)
        self.grids.append(grid)
        return EverySecond()

    def num_kept(self, grid: tuple[int, int]) -> int:
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


@pytest.mark.parametrize("operator", [ToDo(2), AvgPool(2), IEKVD(3, 0.9), KVSelect()], ids=repr)
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


@pytest.mark.parametrize(("name", "kind"), [("dit", Spy), ("dit", KeySpy), ("unet", KeySpy)])
def test_other_plans_are_made_on_what_enters_the_attention(
    request: pytest.FixtureRequest, run: Run, name: str, kind: type[Spy]
) -> None:
    model, spy = request.getfixturevalue(f"tiny_{name}"), kind()
    record = Record(first_block(model).attn1)
    run(model)
    with bigain.apply(model, spy):
        run(model)
    assert torch.equal(spy.metrics[0], record.inputs[0]["hidden_states"])


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


@pytest.mark.parametrize("name", ["dit", "pixart"])
def test_transformers_give_their_timesteps_to_the_draw(
    request: pytest.FixtureRequest, run: Run, name: str
) -> None:
    model, spy = request.getfixturevalue(f"tiny_{name}"), Spy()
    with bigain.apply(model, spy, seed=3):
        if name == "pixart":
            run_pixart(model)
        else:
            run(model, timesteps=torch.tensor([0, 300, 600]))
    draw = spy.draws[0]
    assert draw is not None
    assert draw.timesteps is not None
    assert draw.timesteps.tolist() == [0, 300, 600]
    assert (draw.seed, draw.site) == (3, "transformer_blocks.0")


@pytest.mark.parametrize("size", [(8, 12), (7, 10)])
def test_the_grid_follows_the_sample(tiny_unet: nn.Module, run: Run, size: tuple[int, int]) -> None:
    spy = Spy()
    with bigain.apply(tiny_unet, spy, sites=bigain.SiteSelection(levels=(0, 1))):
        output = run(tiny_unet, size=size)
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert spy.grids == [size, half, half, half, size, size]
    assert output.shape[-2:] == size


EVERY: list[Operator] = [
    *(ToMe(0.6), LGTM(0.6), CachedAssignment(0.6), ABM(0.6), SiTo(0.6)),
    *(ToDo(2), AvgPool(3), IEKVD(3, 0.9), KVSelect(), KVSelect(0.4, "high_frequency")),
]


@pytest.mark.parametrize("operator", EVERY, ids=repr)
def test_odd_and_oblong_samples_work(tiny_unet: nn.Module, run: Run, operator: Operator) -> None:
    with bigain.apply(tiny_unet, operator) as report:
        assert run(tiny_unet, size=(9, 13)).isfinite().all()
    assert report.sites[0].grid == (9, 13)
    assert report.sites[0].after == operator.num_kept((9, 13))


@pytest.mark.parametrize("operator", [*EVERY, IEKVD(2, LinearAlpha(0.8, 1.2))], ids=repr)
def test_a_sample_gets_the_same_alone_and_among_other_timesteps(
    tiny_model: nn.Module, run: Run, operator: Operator
) -> None:
    with bigain.apply(tiny_model, operator):
        together = run(tiny_model, batch=4)
        alone = [run(tiny_model, batch=4, part=slice(b, b + 1)) for b in range(4)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-5, atol=1e-6)


NOTHING: list[Operator] = [
    *(Identity(), ToMe(0), CachedAssignment(0), ABM(0), SiTo(0), ToDo(1), IEKVD(1), KVSelect(0)),
]


@pytest.mark.parametrize("operator", NOTHING, ids=repr)
def test_with_nothing_to_do_outputs_are_those_of_the_bare_model_bit_for_bit(
    tiny_model: nn.Module, run: Run, operator: Operator
) -> None:
    bare = run(tiny_model)
    with bigain.apply(tiny_model, operator) as report:
        assert torch.equal(run(tiny_model), bare)
    assert all(site.calls == 1 for site in report.sites)
    assert all(site.before == site.after == 64 for site in report.sites)
    assert torch.equal(run(tiny_model), bare)
    if not isinstance(operator, KeyValueReducer):
        sites = bigain.SiteSelection(scope="self+mlp")
        with bigain.apply(tiny_model, operator, sites=sites) as report:
            assert torch.equal(run(tiny_model), bare)
        assert all(site.calls == 1 and site.after == 64 for site in report.sites)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_models_of_other_precision_work(
    tiny_model: nn.Module, run: Run, dtype: torch.dtype
) -> None:
    model = tiny_model.to(dtype)
    for operator in EVERY:
        with bigain.apply(model, operator):
            output = run(model, dtype=dtype)
        assert output.dtype == dtype
        assert output.isfinite().all()


@pytest.mark.parametrize("operator", [ToMe(0.6), LGTM(0.6), SiTo(0.6), IEKVD(3, 0.9)], ids=repr)
def test_inference_mode_works_and_leaves_nothing_behind(
    tiny_model: nn.Module, run: Run, operator: Operator
) -> None:
    with bigain.apply(tiny_model, operator):
        with torch.inference_mode():
            first = run(tiny_model)
        assert torch.equal(run(tiny_model), first)


@pytest.mark.parametrize("operator", EVERY, ids=repr)
def test_not_a_number_in_a_sample_stays_in_that_sample(
    tiny_unet: Any, run: Run, operator: Operator
) -> None:
    def spoil(module: nn.Module, args: tuple[Tensor]) -> Tensor:
        del module
        sample = args[0].clone()
        sample[1, :, 3, 4] = float("nan")
        return sample

    tiny_unet.conv_in.register_forward_pre_hook(spoil)
    with bigain.apply(tiny_unet, operator):
        output = run(tiny_unet)
    assert output[1].isnan().all()
    assert output[[0, 2]].isfinite().all()


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
        pytest.raises(UserError, match=r"^site=down_blocks.0.* outside a forward"),
    ):
        first_block(tiny_unet)(torch.randn(1, 64, 8), encoder_hidden_states=torch.randn(1, 3, 6))


# Scopes: one plan per block, for each module that the scope names.


@pytest.fixture
def tiny_pixart() -> nn.Module:
    """Three blocks with self-attention, cross-attention to text and MLP on 8x8 tokens."""
    from diffusers import PixArtTransformer2DModel  # noqa: PLC0415 - most tests need no diffusers

    torch.manual_seed(0)
    model: nn.Module = PixArtTransformer2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=2,
        patch_size=2,
        num_layers=3,
        num_attention_heads=2,
        attention_head_dim=6,
        cross_attention_dim=12,
        caption_channels=5,
        norm_num_groups=4,
        use_additional_conditions=False,
    )
    return model.eval()


def run_pixart(model: Any, batch: int = 3, **inputs: Any) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    sample = torch.randn(batch, 1, 16, 16, generator=generator)
    text = torch.randn(batch, 4, 5, generator=generator)
    times = torch.arange(batch) * 300
    conditions = {"resolution": None, "aspect_ratio": None}
    with torch.no_grad():
        output: Tensor = model(
            sample, text, timestep=times, added_cond_kwargs=conditions, **inputs
        ).sample
    return output


def by_hand(block: Any, call: dict[str, Any], operator: Operator, scope: tuple[str, ...]) -> Tensor:
    """The block's output from its own modules, with an explicit reduction around each."""
    x: Tensor = call["hidden_states"]
    text: Any = {"encoder_hidden_states": call.get("encoder_hidden_states")}
    gates: list[Any] = [1, 1]
    shift, scale = 0, 0
    single = block.norm_type == "ada_norm_single"
    if block.norm_type == "ada_norm_zero":
        normed, gates[0], shift, scale, gates[1] = block.norm1(
            x, call["timestep"], call["class_labels"], hidden_dtype=x.dtype
        )
        gates = [gate[:, None] for gate in gates]
        shift, scale = shift[:, None], scale[:, None]
    elif single:
        table = block.scale_shift_table[None] + call["timestep"].reshape(len(x), 6, -1)
        first_shift, first_scale, gates[0], shift, scale, gates[1] = table.chunk(6, dim=1)
        normed = block.norm1(x) * (1 + first_scale) + first_shift
    else:
        normed = block.norm1(x)
    metric = x if block.norm_type == "layer_norm" else normed
    if isinstance(operator, KeyValueReducer):
        kept = operator.plan(normed, (8, 8)).reduce(normed)
        x = x + gates[0] * block.attn1(normed, encoder_hidden_states=kept)
    else:
        x = x + gates[0] * around(block.attn1, "self", normed, operator, metric, scope)
    if block.attn2 is not None:
        normed = x if single else block.norm2(x)
        x = x + around(block.attn2, "cross", normed, operator, metric, scope, **text)
    normed = (block.norm2 if single else block.norm3)(x) * (1 + scale) + shift
    output: Tensor = x + gates[1] * around(block.ff, "mlp", normed, operator, metric, scope)
    return output


def around(
    module: Any,
    part: str,
    x: Tensor,
    operator: Operator,
    metric: Tensor,
    scope: tuple[str, ...],
    **context: Tensor,
) -> Tensor:
    if part not in scope or isinstance(operator, KeyValueReducer):
        output: Tensor = module(x, **context)
        return output
    plan = operator.plan(metric, (8, 8))
    return plan.restore(module(plan.reduce(x), **context))


SCOPES = ["self", "self+cross", "self+mlp", "self+cross+mlp"]
REDUCERS: list[Operator] = [
    *(ToMe(0.5, random=False), LGTM(0.6), ABM(0.6), SiTo(0.6, noise_alpha=0.0)),
]
BY_HAND: list[tuple[str, Operator, str]] = [("unet", LGTM(0.6), scope) for scope in SCOPES]
BY_HAND += [("unet", operator, "self+cross+mlp") for operator in REDUCERS if operator != LGTM(0.6)]
BY_HAND += [("dit", operator, "self+mlp") for operator in REDUCERS]
BY_HAND += [("pixart", LGTM(0.6), scope) for scope in SCOPES]
BY_HAND += [(name, KVSelect(0.6), "self") for name in ("unet", "dit", "pixart")]
BY_HAND += [(name, IEKVD(2, 0.9), "self") for name in ("unet", "dit", "pixart")]


@pytest.mark.parametrize(("name", "operator", "scope"), BY_HAND, ids=str)
def test_a_block_is_what_its_modules_give_with_an_explicit_reduction(
    request: pytest.FixtureRequest, run: Run, name: str, operator: Operator, scope: str
) -> None:
    model: Any = request.getfixturevalue(f"tiny_{name}")
    block = first_block(model)
    record = Record(block)
    with bigain.apply(model, operator, sites=bigain.SiteSelection(scope=scope)):
        (run_pixart if name == "pixart" else run)(model)
    with torch.no_grad():
        expected = by_hand(block, record.inputs[0], operator, tuple(scope.split("+")))
        bare = by_hand(block, record.inputs[0], Identity(), ())
    torch.testing.assert_close(record.outputs[0], expected, rtol=1e-5, atol=1e-5)
    assert (record.outputs[0] - bare).abs().max() > 1e-3


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", ["unet", "pixart"])
def test_one_plan_serves_every_module_of_a_block(
    request: pytest.FixtureRequest, run: Run, name: str, scope: str
) -> None:
    model, spy = request.getfixturevalue(f"tiny_{name}"), Spy()
    block = first_block(model)
    with bigain.apply(model, spy, sites=bigain.SiteSelection(scope=scope)) as report:
        seen = {part: Record(block.get_submodule(path)) for part, path in PARTS.items()}
        (run_pixart if name == "pixart" else run)(model)
    blocks = {site.site.name for site in report.sites}
    assert len(spy.draws) == len(blocks)
    assert len(report.sites) == len(blocks) * len(scope.split("+"))
    for part, record in seen.items():
        (call,) = record.inputs
        assert call["hidden_states"].shape[1] == (32 if part in scope.split("+") else 64)
    assert seen["cross"].inputs[0]["encoder_hidden_states"].shape[1] in (3, 4)
    assert all(site.calls == 1 and site.after == 32 for site in report.sites)


PARTS = {"self": "attn1", "cross": "attn2", "mlp": "ff"}


@pytest.mark.parametrize("operator", [LGTM(0.5), ToDo(2)], ids=repr)
def test_pixart_takes_a_mask_of_text_but_none_of_image_tokens(
    tiny_pixart: nn.Module, operator: Operator
) -> None:
    with bigain.apply(tiny_pixart, operator):
        run_pixart(tiny_pixart, encoder_attention_mask=torch.ones(3, 4))
        with pytest.raises(UserError, match=r"^attention_mask: is not supported"):
            run_pixart(tiny_pixart, attention_mask=torch.ones(3, 64))


def test_a_chunked_mlp_is_refused(tiny_unet: Any, run: Run) -> None:
    first_block(tiny_unet).set_chunk_feed_forward(32, 1)
    with (
        bigain.apply(tiny_unet, LGTM(0.5), sites=bigain.SiteSelection(scope="self+mlp")),
        pytest.raises(UserError, match=r"^scope=self\+mlp: .* without chunked feed-forward"),
    ):
        run(tiny_unet)
    with bigain.apply(tiny_unet, LGTM(0.5)):
        run(tiny_unet)


# Cached assignment: one map per stage, grid and forward.


@dataclass(frozen=True)
class SharedRecording(Recording):
    """Remembers the plans of an operator that shares them."""

    shared_in_stage = True


@pytest.mark.parametrize(
    ("levels", "planning"),
    [
        ((0,), ["down_blocks.0.attentions.0", "up_blocks.1.attentions.0"]),
        (
            (0, 1),
            [
                *("down_blocks.0.attentions.0", "down_blocks.1.attentions.0"),
                *("up_blocks.0.attentions.0", "up_blocks.1.attentions.0"),
            ],
        ),
    ],
)
def test_the_first_site_of_a_stage_and_level_plans_for_the_others_in_each_forward(
    tiny_unet: nn.Module, run: Run, levels: tuple[int, ...], planning: list[str]
) -> None:
    sites, spy = bigain.SiteSelection(levels=levels), SharedRecording(CachedAssignment(0.6))
    expected = [f"{place}.transformer_blocks.0" for place in planning]
    with bigain.apply(tiny_unet, spy, sites=sites) as report:
        for forward in (1, 2):
            run(tiny_unet, timesteps=torch.tensor(forward))
            assert [site for site, _, _ in spy.calls] == expected * forward
    assert len({id(reduction) for _, _, reduction in spy.calls}) == 2 * len(expected)
    assert all(site.calls == 2 for site in report.sites)


def test_a_shared_map_merges_the_values_of_each_site_afresh(tiny_unet: Any, run: Run) -> None:
    spy = SharedRecording(CachedAssignment(0.6))
    blocks = [attention.transformer_blocks[0] for attention in tiny_unet.up_blocks[1].attentions]
    inputs = [Record(block) for block in blocks]
    with bigain.apply(tiny_unet, spy):
        attentions = [Record(block.attn1) for block in blocks]
        run(tiny_unet)
    _, metric, plan = spy.calls[1]
    assert torch.equal(metric, inputs[0].inputs[0]["hidden_states"])
    for block, outer, inner in zip(blocks, inputs, attentions, strict=True):
        with torch.no_grad():
            normed = block.norm1(outer.inputs[0]["hidden_states"])
        assert torch.equal(inner.inputs[0]["hidden_states"], plan.reduce(normed))


def test_no_map_survives_its_forward(tiny_unet: nn.Module, run: Run) -> None:
    """A forward among others is the same as a forward alone."""
    with bigain.apply(tiny_unet, CachedAssignment(0.6)):
        alone = run(tiny_unet)
    with bigain.apply(tiny_unet, CachedAssignment(0.6)):
        run(tiny_unet, batch=5, size=(6, 10), timesteps=torch.tensor(4))
        assert torch.equal(run(tiny_unet), alone)


def test_a_flat_transformer_is_one_stage(tiny_dit: nn.Module, run: Run) -> None:
    spy = SharedRecording(CachedAssignment(0.6))
    with bigain.apply(tiny_dit, spy, sites=bigain.SiteSelection(blocks=(1, 2, 3))):
        run(tiny_dit)
    assert [site for site, _, _ in spy.calls] == ["transformer_blocks.1"]


@pytest.mark.parametrize(
    "times", [torch.tensor([0, 0, 0]), torch.tensor([0.0, 0.0, 0.0]), torch.tensor([40, 2, 999])]
)
def test_the_final_step_is_the_bare_model_when_asked_to(
    tiny_model: nn.Module, run: Run, times: Tensor
) -> None:
    bare = run(tiny_model, timesteps=times)
    with bigain.apply(tiny_model, ToDo(2, skip_final_step=True)) as report:
        output = run(tiny_model, timesteps=times)
    assert torch.equal(output, bare) is bool((times == 0).all())
    assert report.sites[0].after == (64 if (times == 0).all() else 16)


@pytest.mark.parametrize("operator", [LGTM(0.5), ToDo(2)])
def test_an_attn1_that_is_given_text_is_refused(tiny_unet: nn.Module, operator: Operator) -> None:
    attention: Any = tiny_unet.get_submodule(
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    )
    with (
        bigain.apply(tiny_unet, operator),
        pytest.raises(UserError, match=r"^encoder_hidden_states: .*allowed: .* self-attention"),
    ):
        attention(torch.randn(1, 64, 8), encoder_hidden_states=torch.randn(1, 3, 8))


# What attention processors really do.


@pytest.mark.parametrize("operator", [ToDo(2), AvgPool(2), IEKVD(2, 0.9), KVSelect()], ids=repr)
def test_a_processor_that_ignores_the_reduced_tokens_is_refused(
    tiny_unet: Any, run: Run, operator: Operator
) -> None:
    """Perturbed attention guidance takes keys from all tokens, so nothing would change."""
    from diffusers.models.attention_processor import (  # noqa: PLC0415 - most tests need none
        PAGIdentitySelfAttnProcessor2_0,
    )

    with bigain.apply(tiny_unet, operator) as report:
        reduced = run(tiny_unet, batch=2)
        usual = dict(tiny_unet.attn_processors)
        own = {name: p for name, p in usual.items() if name.endswith("attn1.processor")}
        tiny_unet.set_attn_processor(
            {**usual, **dict.fromkeys(own, PAGIdentitySelfAttnProcessor2_0())}
        )
        with pytest.raises(
            UserError, match=r"^operator=.*PAGIdentity.*down_blocks.* from 64 tokens, not .* 16 "
        ) as told:
            run(tiny_unet, batch=2)
        assert "\n" not in str(told.value)
        tiny_unet.set_attn_processor(usual)
        assert torch.equal(run(tiny_unet, batch=2), reduced)
    assert report.forwards == 2


def test_perturbed_guidance_merges_but_claims_no_flops(tiny_unet: Any, run: Run) -> None:
    from diffusers.models.attention_processor import (  # noqa: PLC0415 - most tests need none
        PAGIdentitySelfAttnProcessor2_0,
    )

    for name, module in tiny_unet.named_modules():
        if name.endswith("attn1"):
            module.set_processor(PAGIdentitySelfAttnProcessor2_0())
    bare = run(tiny_unet, batch=2)
    with bigain.apply(tiny_unet, LGTM(0.5)) as report:
        assert not torch.equal(run(tiny_unet, batch=2), bare)
    assert {(site.before, site.after, site.calls) for site in report.sites} == {(64, 32, 1)}
    assert report.flops_saved is None


def test_projections_fused_while_an_operator_is_applied_are_refused(
    tiny_unet: Any, run: Run
) -> None:
    with bigain.apply(tiny_unet, ToDo(2)):
        reduced = run(tiny_unet)
        tiny_unet.fuse_qkv_projections()
        with pytest.raises(UserError, match=r"^operator=ToDo.*unfuse_qkv_projections"):
            run(tiny_unet)
        tiny_unet.unfuse_qkv_projections()
        assert torch.equal(run(tiny_unet), reduced)


def test_projections_exchanged_while_an_operator_is_applied_are_refused(
    tiny_unet: Any, run: Run
) -> None:
    attention = first_block(tiny_unet).attn1
    with bigain.apply(tiny_unet, ToDo(2)):
        expected = run(tiny_unet)
        layer = attention.to_k
        attention.to_k = nn.Sequential(layer)  # as LoRA puts a module around it
        assert torch.equal(run(tiny_unet), expected)
        attention.to_k = nn.Linear(8, 8, bias=False)
        with pytest.raises(
            UserError, match=r"^operator=ToDo.*did not call the to_k .* apply again"
        ):
            run(tiny_unet)


def test_an_attention_replaced_while_an_operator_is_applied_is_refused(
    tiny_unet: Any, run: Run
) -> None:
    """Its MLP has no plan in this forward, and must not use that of the last one."""
    block = first_block(tiny_unet)
    with bigain.apply(tiny_unet, LGTM(0.5), sites=bigain.SiteSelection(scope="self+mlp")):
        run(tiny_unet)
        block.attn1 = first_block(tiny_unet).attn1.__class__(8, heads=4, dim_head=2)
        with pytest.raises(UserError, match=r"^site=down_blocks\.0.*attn1 was not called"):
            run(tiny_unet)


@pytest.fixture
def image_prompt_unet() -> Any:
    """The tiny U-Net with an IP-Adapter: text and image embeddings reach cross-attention."""
    from diffusers import UNet2DConditionModel  # noqa: PLC0415 - most tests need no diffusers
    from diffusers.models.attention_processor import (  # noqa: PLC0415
        IPAdapterAttnProcessor2_0,
    )
    from diffusers.models.embeddings import (  # noqa: PLC0415
        ImageProjection,
        MultiIPAdapterImageProjection,
    )

    torch.manual_seed(0)
    model: Any = UNet2DConditionModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=2,
    )
    projection = ImageProjection(image_embed_dim=5, cross_attention_dim=6, num_image_text_embeds=2)
    model.encoder_hid_proj = MultiIPAdapterImageProjection([projection])
    model.config["encoder_hid_dim_type"] = "ip_image_proj"
    model.register_to_config(encoder_hid_dim_type="ip_image_proj")
    for name, module in model.named_modules():
        if name.endswith("attn2"):
            module.set_processor(
                IPAdapterAttnProcessor2_0(8, cross_attention_dim=6, num_tokens=(2,), scale=0.7)
            )
    return model.eval()


def run_with_image_prompt(model: Any, **named: Any) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    sample = torch.randn(2, 2, 8, 8, generator=generator)
    text = torch.randn(2, 3, 6, generator=generator)
    images = {"image_embeds": [torch.randn(2, 1, 5, generator=generator)]}
    with torch.no_grad():
        output: Tensor = model(
            sample, 40, encoder_hidden_states=text, added_cond_kwargs=images, **named
        ).sample
    return output


@pytest.mark.parametrize("scope", ["self", "self+cross", "self+cross+mlp"])
def test_an_image_prompt_adapter_works(image_prompt_unet: Any, scope: str) -> None:
    bare = run_with_image_prompt(image_prompt_unet)
    sites = bigain.SiteSelection(scope=scope)
    with bigain.apply(image_prompt_unet, LGTM(0.5), sites=sites) as report:
        merged = run_with_image_prompt(image_prompt_unet)
    assert (merged - bare).abs().max() > 1e-6
    assert all((site.after, site.calls) == (32, 1) for site in report.sites)
    assert (report.flops_saved is None) is (scope != "self")
    # The merge by hand of the first cross-attention: reduced queries, text and images whole.
    block = first_block(image_prompt_unet)
    record = Record(block)
    with bigain.apply(image_prompt_unet, LGTM(0.5), sites=sites):
        run_with_image_prompt(image_prompt_unet)
    with torch.no_grad():
        expected = by_hand(block, record.inputs[0], LGTM(0.5), tuple(scope.split("+")))
    torch.testing.assert_close(record.outputs[0], expected, rtol=1e-5, atol=1e-6)


def test_a_mask_of_an_image_prompt_is_refused_where_queries_are_reduced(
    image_prompt_unet: Any,
) -> None:
    masks = {"ip_adapter_masks": [torch.ones(1, 1, 8, 8)]}
    wide = bigain.SiteSelection(scope="self+cross")
    with (
        bigain.apply(image_prompt_unet, LGTM(0.5), sites=wide),
        pytest.raises(UserError, match=r"^ip_adapter_masks: .*scope without cross"),
    ):
        run_with_image_prompt(image_prompt_unet, cross_attention_kwargs=masks)


@pytest.fixture
def tiny_sana() -> Any:
    """Two blocks of linear attention, with convolutions in the MLP, on 8x8 tokens."""
    from diffusers import SanaTransformer2DModel  # noqa: PLC0415 - most tests need no diffusers

    torch.manual_seed(0)
    return SanaTransformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=2,
        out_channels=2,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=6,
        num_cross_attention_heads=2,
        cross_attention_head_dim=6,
        cross_attention_dim=12,
        caption_channels=5,
    ).eval()


def run_sana(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    sample = torch.randn(2, 2, 8, 8, generator=generator)
    text = torch.randn(2, 4, 5, generator=generator)
    with torch.no_grad():
        output: Tensor = model(sample, text, timestep=torch.tensor([3, 400])).sample
    return output


@pytest.mark.parametrize("operator", [LGTM(0.5), ToDo(2)], ids=repr)
def test_linear_attention_is_reduced_but_claims_no_saving_of_soft_max_attention(
    tiny_sana: Any, operator: Operator
) -> None:
    bare = run_sana(tiny_sana)
    with bigain.apply(tiny_sana, operator) as report:
        assert not torch.equal(run_sana(tiny_sana), bare)
    (site,) = report.sites
    assert (site.before, site.after, site.calls) == (64, operator.num_kept((8, 8)), 1)
    assert report.flops_saved is None


def test_an_mlp_with_convolutions_is_refused_by_name(tiny_sana: Any) -> None:
    with pytest.raises(UserError, match=r"^scope=self\+mlp: .*GLUMBConv.* Conv2d.*without mlp"):
        bigain.apply(tiny_sana, LGTM(0.5), sites=bigain.SiteSelection(scope="self+mlp"))


def test_draws_per_forward_are_made_anew_for_other_inputs_and_repeat_for_equal_ones(
    tiny_model: nn.Module, run: Run
) -> None:
    """Sample, timesteps and conditions of the forward decide; each site has its own draw."""
    spy = Recording(ToMe(0.5, draws="per_forward"))
    with bigain.apply(tiny_model, spy) as report:
        for time in (500, 500, 501):
            run(tiny_model, batch=4, timesteps=torch.tensor([time] * 4))
        run(tiny_model, batch=4, timesteps=torch.tensor([500] * 4), part=slice(0, 2))
    dst = [plan.dst[0] for _, _, plan in spy.calls if isinstance(plan, MergeReduction)]
    sites = len(report.sites)
    first, same, later, half = (dst[i * sites] for i in range(4))
    assert torch.equal(first, same)
    assert not torch.equal(first, later)
    assert not torch.equal(first, half)
    assert sites == 1 or not torch.equal(dst[0], dst[1])


def test_draws_per_forward_follow_the_conditions_and_not_how_they_are_passed(
    tiny_unet: nn.Module,
) -> None:
    sample, times, text = torch.randn(2, 2, 8, 8), torch.tensor([5, 9]), torch.randn(2, 3, 6)
    spy = Recording(ToMe(0.5, draws="per_forward"))
    with bigain.apply(tiny_unet, spy) as report, torch.no_grad():
        tiny_unet(sample, times, encoder_hidden_states=text)
        tiny_unet(sample, encoder_hidden_states=text, timestep=times)
        tiny_unet(sample, times, encoder_hidden_states=text + 1)
    dst = [plan.dst[0] for _, _, plan in spy.calls if isinstance(plan, MergeReduction)]
    first, same, other = dst[:: len(report.sites)]
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
